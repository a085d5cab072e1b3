"""Written sets, read back by readers of their own that apply each trainer's rules; the source as it was."""

from __future__ import annotations

import hashlib
import json
import shutil
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from cineloop.errors import NothingMatchedError, UsageError
from trainer_readers import READERS, decoded
from trainer_sets import SENTENCES, SMALL, plant, sound_set, write_clip
from v2t_eval.clips import store
from v2t_eval.core.executor import ExecutorConfig
from v2t_eval.trainers.check import check_set
from v2t_eval.trainers.rules import load_rules
from v2t_eval.trainers.settings import CheckSetConfig
from v2t_eval.trainers.write import write_fitting

PLAIN = CheckSetConfig(encoder="none")
# Sound footage of many makes: sizes, codecs, rates, an odd size, a varying rate, wide pixels, turned, an own suffix.
FOOTAGE = {
    "a.mp4": {"fps": 30, "num": 50, "size": (360, 640)},
    "b.mkv": {"fps": Fraction(24000, 1001), "num": 40, "size": (270, 480)},
    "c.avi": {"fps": 25, "num": 40, "codec": "mpeg4", "size": (240, 426)},
    "d.webm": {"fps": 12, "num": 30, "codec": "libvpx-vp9", "size": (216, 384)},
    "e.mov": {"fps": 60, "num": 80, "size": (216, 384)},
    "f.mp4": {"fps": 24, "num": 40, "ticks": [*range(20), *range(22, 62, 2)], "size": (216, 384)},
    "g.mp4": {"fps": 24, "num": 40, "pixel": Fraction(4, 3), "size": (270, 360)},
    "h.mp4": {"fps": 24, "num": 40, "turn": 90, "size": (384, 216)},
    "i.Mp4": {"fps": 16, "num": 17, "size": (192, 320)},
    "sub/a.mp4": {"fps": 24, "num": 40, "form": "yuv420p10le", "codec": "libx265", "size": (216, 384)},
}


@pytest.fixture(scope="module")
def footage(tmp_path_factory):
    folder = tmp_path_factory.mktemp("footage") / "clips"
    for number, (name, how) in enumerate(FOOTAGE.items()):
        write_clip(folder / name, seed=number, **how)
        text = SENTENCES[number % len(SENTENCES)] + (" Then it is gone." if number >= len(SENTENCES) else "")
        (folder / name).with_suffix(".txt").write_text(text, "utf-8")
    (folder / "a.mov").write_bytes((folder / "e.mov").read_bytes())  # of one stem with a.mp4, and its captions
    (folder / "z.mp4").write_bytes(b"")
    write_clip(folder / "y.mp4", num=16, fps=16).with_suffix(".txt").write_text("A short one that nobody can mend.")
    return folder


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def written(folder, out, trainer, cache=None, sets=None, **more):
    rules = load_rules(trainer, None, SMALL[trainer] if sets is None else sets)
    checked = check_set(folder, rules, PLAIN, ExecutorConfig(cache=cache))
    return write_fitting(checked, out, trainer, PLAIN, workers=1, **more)


def digest(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.slow
@pytest.mark.parametrize("trainer", sorted(READERS))
def test_every_clip_of_a_written_set_is_usable_by_the_trainers_own_rules(footage, trainer, cache, tmp_path):
    before = digest(footage)
    made = written(footage, tmp_path / "set", trainer, cache, keep=frozenset(("REPEATED_CAPTION",)))
    assert digest(footage) == before
    trained = READERS[trainer](made.place)
    left_out = {path: codes[0] for path, codes in made.left_out.items()}
    # Twelve frames a second become sixteen only by showing some twice; others take the file's own rate.
    slow = {} if trainer in ("ltx2", "finetrainers") else {"d.webm": "FRAMES_REPEATED"}
    assert left_out == slow | {"y.mp4": "TOO_SHORT", "z.mp4": "EMPTY_FILE"}
    assert len(trained) == made.num_clips == len(FOOTAGE) + 1 - len(slow)
    size = (320, 208) if trainer == "diffusion-pipe" else (320, 192)
    if trainer == "ai-toolkit":  # of the clip's own aspect
        assert {count for _, _, (_, _, count) in trained} == {17}
    else:
        assert {bucket for _, _, bucket in trained} == {(*size, 17)}
    texts = {name: text for name, text, _ in trained}
    assert texts["b.mp4"] == SENTENCES[1] and texts["sub_a.mp4"] == (footage / "sub/a.txt").read_text()
    assert sorted(texts) == sorted(
        {*(f"{each}.mp4" for each in "abcefghi"), "a-2.mp4", "sub_a.mp4"}
        | ({"d.mp4"} - {name.replace("webm", "mp4") for name in slow})
    )
    rows = [json.loads(line) for line in (tmp_path / "set" / "left-out.jsonl").read_text().splitlines()]
    assert {row["path"]: row["codes"][0] for row in rows} == left_out


@pytest.mark.slow
def test_a_written_clip_shows_what_the_source_showed_at_that_time(footage, cache, tmp_path):
    """Of a varying rate too: the picture is that of the clip's clock, not of a count."""
    made = written(footage, tmp_path / "set", "musubi", cache, keep=frozenset(("REPEATED_CAPTION",)))
    rows = [json.loads(line) for line in (made.place / "sources.jsonl").read_text().splitlines()]
    files = {row["source"]: row["file"] for row in rows}
    assert len(files) == made.num_clips and files["a.mp4"] != files["a.mov"]
    for name in ("a.mp4", "f.mp4"):
        with av.open(str(footage / name)) as container:
            source = [(frame.time, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
        frames, _, rate = decoded(made.place / files[name])
        height, width = source[0][1].shape[:2]
        part = height * 320 // 192  # of the width, around the middle
        left = (width - part) // 2
        small = [
            cv2.resize(shown[:, left : left + part], (320, 192), interpolation=cv2.INTER_AREA) for _, shown in source
        ]
        for number, frame in enumerate(frames):
            nearest = int(np.argmin([np.abs(frame.astype(int) - each).mean() for each in small]))
            gap = min(abs(at - number / rate) for at, _ in source)
            assert abs(source[nearest][0] - number / rate) <= gap + 1e-3, (name, number)


@pytest.mark.slow
def test_faults_that_cannot_be_mended_are_left_out_unless_they_are_kept(tmp_path):
    folder = sound_set(tmp_path / "clips", 4)
    paths = plant(folder, ["refused", "cut_off", "repeated", "mark", "returns", "empty_caption", "in_subfolder"])
    made = written(folder, tmp_path / "set", "musubi")
    wanted = {
        "refused": "REFUSAL",
        "cut_off": "CUT_OFF",
        "repeated": "REPEATED_CAPTION",
        "empty_caption": "EMPTY_CAPTION",
    }
    twin = {"clip000.mp4": ["REPEATED_CAPTION"]}
    assert made.left_out == {paths[fault]: [code] for fault, code in wanted.items()} | twin
    texts = {name: text for name, text, _ in READERS["musubi"](made.place)}
    assert texts["x_mark.mp4"] == "A drum rolls over the floor of a hall."
    assert texts["x_returns.mp4"] == "A ball rolls over the floor of a hall."
    assert (made.place / "clips" / "x_returns.txt").read_bytes().count(b"\r") == 0
    kept = written(folder, tmp_path / "set", "musubi", keep=frozenset(("REPEATED_CAPTION", "CUT_OFF", "REFUSAL")))
    assert kept.left_out == {paths["empty_caption"]: ["EMPTY_CAPTION"]}


@pytest.mark.slow
def test_the_second_run_cuts_nothing_and_writes_the_same_bytes(tmp_path, monkeypatch):
    folder = sound_set(tmp_path / "clips", 3)
    made = written(folder, tmp_path / "set", "ltx2")
    first = digest(made.place)
    monkeypatch.setattr(store, "submit_cut", lambda *args: pytest.fail("cut twice"))
    assert digest(written(folder, tmp_path / "set", "ltx2").place) == first
    shutil.rmtree(made.place)
    assert digest(written(folder, tmp_path / "set", "ltx2").place) == first


@pytest.mark.slow
def test_a_stopped_run_leaves_no_half_a_set_and_goes_on(tmp_path):
    folder = sound_set(tmp_path / "clips", 4)
    calls = iter([False, False, *[True] * 50])
    with pytest.raises(KeyboardInterrupt):
        written(folder, tmp_path / "set", "musubi", stop=lambda: next(calls))
    cuts = list((tmp_path / "set/.cineloop/cuts").glob("*.mp4"))
    assert len(cuts) == 2 and not (tmp_path / "set/musubi").exists()
    written(folder, tmp_path / "set", "musubi")
    assert len(READERS["musubi"](tmp_path / "set/musubi")) == 4
    assert {path.stat().st_mtime_ns for path in cuts} <= {
        path.stat().st_mtime_ns for path in (tmp_path / "set/.cineloop/cuts").glob("*.mp4")
    }


@pytest.mark.slow
def test_a_folder_of_somebody_else_is_not_replaced(tmp_path):
    folder = sound_set(tmp_path / "clips", 2)
    (tmp_path / "set/musubi").mkdir(parents=True)
    with pytest.raises(UsageError) as caught:
        written(folder, tmp_path / "set", "musubi")
    assert caught.value.code == "EXISTS"


@pytest.mark.slow
def test_several_captions_become_a_list_for_the_trainer_that_draws_among_them(tmp_path):
    folder = sound_set(tmp_path / "clips", 2)
    lists = {f"clip00{n}.mp4": [SENTENCES[n], SENTENCES[n + 2]] for n in (0, 1)}
    (folder / "captions.json").write_text(json.dumps(lists))
    made = written(folder, tmp_path / "set", "diffusion-pipe")
    assert json.loads((made.place / "clips/captions.json").read_text()) == lists
    assert len(READERS["diffusion-pipe"](made.place)) == 4
    one = written(folder, tmp_path / "other", "musubi")
    assert [text for _, text, _ in READERS["musubi"](one.place)] == [SENTENCES[0], SENTENCES[1]]


@pytest.mark.slow
def test_no_clip_that_fits_is_an_error_of_its_own(tmp_path):
    write_clip(tmp_path / "clips/a.mp4", num=5).with_suffix(".txt").write_text("A square crosses the picture.")
    with pytest.raises(NothingMatchedError):
        written(tmp_path / "clips", tmp_path / "set", "musubi")
    assert not (tmp_path / "set").exists()
