"""The verb on the command line: exit codes, JSON, the page, refusals."""

from __future__ import annotations

import json
import re

import pytest

from trainer_readers import READERS
from trainer_sets import SMALL, plant, sound_set
from v2t_eval.cli import main


def run(capsys, folder, *args, trainer="musubi"):
    sets = [word for each in SMALL[trainer] for word in ("--set", each)]
    code = main(
        ["check-set", str(folder), "--for", trainer, *sets, "--encoder", "none", "--workers", "1", *map(str, args)]
    )
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    return sound_set(tmp_path_factory.mktemp("sound") / "clips", 5)


@pytest.mark.slow
def test_a_sound_set_ends_in_0_and_one_with_a_fault_in_3(sound, tmp_path, capsys):
    code, text, _ = run(capsys, sound)
    assert code == 0 and "5 of 5 clips fit musubi-tuner" in text and "30c658c4f4b0" in text
    paths = plant(folder := sound_set(tmp_path / "clips", 5), ["no_caption", "too_short"])
    code, text, _ = run(capsys, folder)
    assert code == 3 and "NO_CAPTION" in text and "TOO_SHORT" in text and "5 of 7 clips" in text
    code, text, _ = run(capsys, folder, "--json")
    tree = json.loads(text)
    assert code == 3 and (tree["clips"], tree["taken"], tree["codes"]) == (7, 5, {"NO_CAPTION": 1, "TOO_SHORT": 1})
    (row,) = (row for row in tree["rows"] if row["path"] == paths["too_short"])
    assert (row["outcome"], row["frames"], row["kept_s"], row["lost_s"]) == ("dropped", 0, 0.0, 1.0)
    (row,) = (row for row in tree["rows"] if row["path"] == "clip001.mp4")
    assert (row["outcome"], row["buckets"], row["frames"], row["kept_s"]) == ("taken", [[320, 192]], 17, 1.0625)


@pytest.mark.slow
def test_a_note_alone_is_no_failure(sound, tmp_path, capsys):
    plant(folder := sound_set(tmp_path / "clips", 6), ["portrait"])
    code, text, _ = run(capsys, folder)
    assert code == 0 and "OTHER_ORIENTATION" in text


@pytest.mark.slow
def test_the_page_has_a_row_a_clip_and_is_not_overwritten(sound, tmp_path, capsys):
    plant(folder := sound_set(tmp_path / "clips", 5), ["refused"])
    code, _, err = run(capsys, folder, "-o", tmp_path / "out")
    page = (tmp_path / "out/report.html").read_text()
    assert code == 3 and "report.html" in err
    assert all(f"clip00{n}.mp4" in page for n in range(5)) and "REFUSAL" in page and "sorry" in page
    assert len(re.findall(r"<video|data-clip|class=\"strip", page)) > 0
    assert json.loads((tmp_path / "out/check.json").read_text())["clips"] == 6
    assert run(capsys, folder, "-o", tmp_path / "out")[0] == 2
    assert run(capsys, folder, "-o", tmp_path / "out", "--overwrite")[0] == 3


@pytest.mark.slow
def test_a_set_is_written_and_read_back(tmp_path, capsys):
    plant(folder := sound_set(tmp_path / "clips", 3), ["wrong_fps", "refused"])
    code, text, _ = run(capsys, folder, "--write", tmp_path / "set", "--json")
    written = json.loads(text)["written"]
    assert code == 3 and written["clips"] == 4 and list(written["left_out"].values()) == [["REFUSAL"]]
    assert len(READERS["musubi"](tmp_path / "set/musubi")) == 4


@pytest.mark.slow
def test_captions_may_lie_elsewhere(sound, tmp_path, capsys):
    clips, captions = tmp_path / "clips", tmp_path / "captions"
    clips.mkdir(), captions.mkdir()
    for file in sound.iterdir():
        (clips if file.suffix == ".mp4" else captions).joinpath(file.name).write_bytes(file.read_bytes())
    assert run(capsys, clips)[0] == 3
    assert run(capsys, clips, "--captions", captions)[0] == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("args", "code", "text"),
    [
        (["--tokenizer", "no/such/tokenizer"], 5, "tokenizer"),
        (["--encoder", "nosuch:x"], 2, "nosuch"),
    ],
)
def test_a_tokenizer_or_encoder_that_cannot_be_loaded(args, code, text, sound, tmp_path, capsys):
    sound_set(folder := tmp_path / "clips", 16 if "nosuch:x" in args else 1)
    assert main(["check-set", str(folder), "--for", "musubi", "--set", "resolution=[320,192]", *args]) == code
    assert text in capsys.readouterr().err


@pytest.mark.slow
def test_empty_folders_and_folders_within_the_clips(sound, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert run(capsys, tmp_path / "empty")[0] == 4
    assert run(capsys, sound, "-o", sound / "out")[0] == 2
    assert run(capsys, sound, "--write", sound)[0] == 2
    (sound.parent / "lists").mkdir()
    (sound.parent / "lists" / "videos.txt").write_text("clip000.mp4\nclip001.mp4\n")
    (sound.parent / "lists" / "prompts.txt").write_text("A boat.\n")
    code, _, err = run(capsys, sound, "--captions", sound.parent / "lists", trainer="finetrainers")
    assert code == 2 and "CAPTIONS" in err and "2 lines" in err
