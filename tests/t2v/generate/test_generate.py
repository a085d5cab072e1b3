"""Runs of `t2v generate`: prompts, the run folder, resume and kill, failures, contact sheet, gallery."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cineloop.errors import UsageError
from cineloop.manifest import read_manifest
from cineloop.video.frames import Frames
from painting_generator import Fake
from t2v.cli import main
from t2v.generate import run as run_module
from t2v.generate.prompts import plan
from t2v.generate.run import run
from t2v.generate.settings import GenerateConfig
from t2v.generate.sheet import write_sheet
from v2t_eval.core.inputs import read_inputs

ROOT = Path(__file__).resolve().parents[3]
BALL, BOX = "A red ball rolls to the left on the beach.", "A blue box slides to the right in the snow."

ROW = {"id": "i", "path": "clips/a b%23.mp4", "prompt": "p", "seed": 0, "model": "m"}
SHAPE = {"num_frames": 1, "height": 8, "width": 8}


@pytest.fixture
def fake(monkeypatch):
    made = Fake()
    monkeypatch.setattr(run_module, "open_generator", lambda *args, **options: made)
    return made


def rows_of(folder):
    return list(read_manifest(folder / "manifest.jsonl"))


def test_prompts_come_from_arguments_files_manifests_and_stdin(tmp_path, monkeypatch):
    (tmp_path / "lines.txt").write_bytes(b"\xef\xbb\xbf# mine\r\n one \r\n\r\n #two\n")
    rows = [
        {"id": "x", "prompt": "three", "seed": 5, "negative_prompt": "bad", "facts": {"a": 1}},
        {"id": "y", "path": "y.mp4", "captions": {"detailed": ["no"], "short": ["four", "no"]}},
        {"caption": "five"},
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("sïx\n".encode())))
    files = [str(tmp_path / "lines.txt"), str(tmp_path / "rows.jsonl")]
    clips = plan(["zero words", "-"], files, GenerateConfig(seed=7, negative_prompt="ugly"))
    asked = [(c.request.prompt, c.request.seed, c.request.negative_prompt) for c in clips]
    assert asked == [
        ("zero words", 7, "ugly"),
        ("sïx", 7, "ugly"),
        ("one", 7, "ugly"),
        ("three", 5, "bad"),
        ("four", 7, "ugly"),
        ("five", 7, "ugly"),
    ]
    assert [c.id for c in clips[3:5]] == ["x", "y"] and clips[3].facts == {"a": 1}


def test_ids_and_names_stay_and_names_begin_with_the_words_and_the_seed():
    alone = plan([BALL], [], GenerateConfig(num_videos=2))
    among = plan([BOX, BALL], [], GenerateConfig(num_videos=2))
    assert alone == among[2:] and [clip.request.seed for clip in alone] == [0, 1]
    assert len({clip.name for clip in among}) == 4
    assert alone[1].name == f"a-red-ball-rolls-to-the-left-on-the-s1-{alone[1].id[:8]}"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("prompt", "begins"),
    [
        ("../../etc/passwd; rm -rf *", "etc-passwd-rm-rf-s0-"),
        ("Ein Ü-Boot taucht auf", "ein-ü-boot-taucht-auf-s0-"),
        ("红球 滚动", "红球-滚动-s0-"),
        ("… !? \u202e\x00", "s0-"),
        ("x" * 500, "s0-"),
        ("CON", "con-s0-"),
    ],
)
def test_a_prompt_of_any_kind_names_a_file(fake, tmp_path, prompt, begins):
    summary = run([prompt], [], tmp_path, GenerateConfig())
    (row,) = rows_of(tmp_path)
    name = Path(row["path"]).name
    assert summary.made == 1 and name == f"{begins}{row['id'][:8]}.mp4" and len(name.encode()) < 80
    assert (tmp_path / "clips" / name).is_file() and row["prompt"] == prompt.strip()
    assert len(read_inputs(tmp_path).samples) == 1  # what scores reads it


def test_a_clip_of_an_earlier_version_that_is_made_anew_leaves_no_second_file(fake, tmp_path, monkeypatch):
    with monkeypatch.context() as earlier:
        earlier.setattr("t2v.generate.prompts._words", lambda text: "")
        run([BALL], [], tmp_path, GenerateConfig())
    assert run([BALL], [], tmp_path, GenerateConfig()).skipped == 1
    run([BALL], [], tmp_path, GenerateConfig(overwrite=True))
    assert [path.name for path in (tmp_path / "clips").iterdir()] == [Path(rows_of(tmp_path)[0]["path"]).name]


def test_a_given_id_is_kept_and_its_file_is_named_neutrally(tmp_path):
    (tmp_path / "p.jsonl").write_text('{"id": "red-ball", "prompt": "A red ball."}\n')
    one = plan([], [str(tmp_path / "p.jsonl")], GenerateConfig())[0]
    assert one.id == "red-ball" and "ball" not in one.name
    more = plan([], [str(tmp_path / "p.jsonl")], GenerateConfig(num_videos=2, seed=3))
    assert [clip.id for clip in more] == ["red-ball-seed3", "red-ball-seed4"]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('{"id": "x"}', "line 1: expected a 'prompt'"),
        ('{"prompt": ""}', "expected a 'prompt'"),
        ('{"prompt": "  "}', "line 1 is empty"),
        ('{"prompt": "a", "seed": -1}', "seed"),
        ('{"prompt": "a", "seed": true}', "seed"),
        ('{"prompt": "a", "seed": NaN}', "NaN"),
        ('{"prompt": "a", "image": "/etc/x.png"}', "beside"),
        ('{"prompt": "a", "image": "gone.png"}', "no such picture"),
        ('{"prompt": "a"', "JSON"),
        ('{"prompt": "a"}\n[1]', "line 2"),
        ('{"id": "x", "prompt": "a"}\n{"id": "x", "prompt": "b"}', "two different clips"),
    ],
)
def test_bad_rows_are_named(tmp_path, line, told):
    (tmp_path / "p.jsonl").write_text(line + "\n")
    with pytest.raises(UsageError, match=told):
        plan([], [str(tmp_path / "p.jsonl")], GenerateConfig())


def test_no_prompt_and_no_file():
    with pytest.raises(UsageError, match="no prompt given"):
        plan([], [], GenerateConfig())
    with pytest.raises(UsageError, match="cannot read"):
        plan([], ["gone.txt"], GenerateConfig())
    with pytest.raises(UsageError, match="not UTF-8"):
        plan(["caf\udce9"], [], GenerateConfig())


# --- the folder
def test_a_run_leaves_clips_rows_and_papers(fake, tmp_path):
    summary = run([BALL, "strange thing"], [], tmp_path, GenerateConfig(num_videos=2, steps=3))
    assert (summary.asked, summary.made, summary.exit_code) == (4, 4, 0)
    rows = rows_of(tmp_path)
    assert [(row["prompt"], row["seed"]) for row in rows] == [(p, s) for p in (BALL, "strange thing") for s in (0, 1)]
    assert rows[0]["shape"] == {"num_frames": 3, "height": 16, "width": 16} and rows[0]["weights_sha256"] == "a"
    assert rows[0]["settings"]["steps"] == 3 and rows[0]["seconds"] >= 0 and "warnings" not in rows[0]
    assert rows[2]["warnings"] == [{"code": "OUT_OF_DOMAIN", "message": "strange"}]
    assert {path.name for path in (tmp_path / "clips").iterdir()} == {Path(row["path"]).name for row in rows}
    papers = json.loads((tmp_path / "run.json").read_text())
    assert (
        papers["weights_sha256"] == "a"
        and papers["versions"]["numpy"]
        and "steps: 3" in (tmp_path / "config.yaml").read_text()
    )
    assert not (tmp_path / "failures.jsonl").exists()


@pytest.mark.slow
def test_what_is_finished_is_not_made_again(fake, tmp_path):
    run([BALL], [], tmp_path, GenerateConfig())
    before = (tmp_path / "manifest.jsonl").read_bytes()
    again = run([BALL], [], tmp_path, GenerateConfig())
    assert (again.made, again.skipped, fake.loads) == (0, 1, 1) and (tmp_path / "manifest.jsonl").read_bytes() == before
    more = run([BOX, BALL], [], tmp_path, GenerateConfig())
    assert (more.made, more.skipped) == (1, 1)
    assert [row["prompt"] for row in rows_of(tmp_path)] == [BALL, BOX]
    (tmp_path / rows_of(tmp_path)[0]["path"]).unlink()
    assert run([BALL], [], tmp_path, GenerateConfig()).made == 1
    assert len(rows_of(tmp_path)) == 2


@pytest.mark.slow
@pytest.mark.parametrize("change", ["steps", "weights"])
def test_other_settings_want_another_folder_or_overwrite(fake, tmp_path, change):
    run([BALL, BOX], [], tmp_path, GenerateConfig())
    config = GenerateConfig(steps=9) if change == "steps" else GenerateConfig()
    fake.weights = "b" if change == "weights" else "a"
    with pytest.raises(UsageError, match=f"2 clips .*{change}.*→") as caught:
        run([BALL, BOX], [], tmp_path, config)
    assert caught.value.code == "OTHER_SETTINGS"
    over = GenerateConfig(steps=config.steps, overwrite=True)
    assert run([BALL], [], tmp_path, over).made == 1
    rows = rows_of(tmp_path)
    assert len(rows) == 2 and [row["prompt"] for row in rows] == [BALL, BOX]
    assert run([BALL], [], tmp_path, config).skipped == 1


def test_a_foreign_folder_is_left_alone(fake, tmp_path):
    (tmp_path / "manifest.jsonl").write_text('{"id": "a", "path": "a.mp4"}\n')
    with pytest.raises(UsageError, match="already exists"):
        run([BALL], [], tmp_path, GenerateConfig(overwrite=True))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["manifest.jsonl"]


def test_a_dry_run_writes_nothing(fake, tmp_path):
    rows = []
    assert run([BALL], [], tmp_path / "out", GenerateConfig(dry_run=True), emit=rows.append).made == 0
    assert [(row["action"], row["prompt"]) for row in rows] == [("make", BALL)] and not (tmp_path / "out").exists()
    run([BALL], [], tmp_path / "out", GenerateConfig())
    run([BALL, BOX], [], tmp_path / "out", GenerateConfig(dry_run=True), emit=rows.append)
    run([BALL], [], tmp_path / "out", GenerateConfig(dry_run=True, steps=2), emit=rows.append)
    assert [row["action"] for row in rows[1:]] == ["skip", "make", "refuse"] and fake.loads == 1


def test_of_a_batch_only_the_one_at_fault_fails(fake, tmp_path):
    rows = []
    summary = run([BALL, "this fails", BOX], [], tmp_path, GenerateConfig(batch_size=3), emit=rows.append)
    assert (summary.made, summary.exit_code) == (2, 3)
    assert fake.batches == [[BALL, "this fails", BOX], [BALL], ["this fails"], [BOX]]
    (failure,) = [json.loads(line) for line in (tmp_path / "failures.jsonl").read_text().splitlines()]
    assert failure["prompt"] == "this fails" and failure["error"]["code"] == "MODEL_ERROR"
    assert [row["prompt"] for row in rows_of(tmp_path)] == [BALL, BOX] and len(rows) == 3
    assert "1 failed" in (tmp_path / "index.html").read_text()
    fake.generate = lambda requests, settings, on_step=None: [
        Frames.from_pixels(np.zeros((2, 16, 16, 3), np.uint8), 8.0) for _ in requests
    ]
    assert run([BALL, "this fails", BOX], [], tmp_path, GenerateConfig()).made == 1
    assert (
        not (tmp_path / "failures.jsonl").exists() and [row["prompt"] for row in rows_of(tmp_path)][1] == "this fails"
    )


def test_batches_share_a_first_frame(fake, tmp_path):
    from PIL import Image

    for name in ("a.png", "b.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    rows = [{"prompt": f"p{i}", "image": name} for i, name in enumerate(("a.png", "a.png", "b.png"))]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run([], [str(tmp_path / "p.jsonl")], tmp_path / "out", GenerateConfig(batch_size=3))
    assert fake.batches == [["p0", "p1"], ["p2"]]
    row = rows_of(tmp_path / "out")[0]
    assert len(row["image_sha256"]) == 64  # and the run folder holds the picture, so that fidelity to it can be scored
    assert (tmp_path / "out" / row["image"]).read_bytes() == (tmp_path / "a.png").read_bytes()


def test_the_first_interrupt_finishes_the_clips_in_hand(fake, tmp_path):
    plain = Fake.generate

    def interrupted(requests, settings, on_step=None):
        os.kill(os.getpid(), signal.SIGINT)
        return plain(fake, requests, settings, on_step)

    fake.generate = interrupted
    summary = run([f"prompt {i}" for i in range(6)], [], tmp_path, GenerateConfig(batch_size=2))
    assert (summary.made, summary.interrupted, summary.exit_code) == (2, True, 130)
    assert len(rows_of(tmp_path)) == 2 and (tmp_path / "contact_sheet.png").exists()
    del fake.generate
    assert run([f"prompt {i}" for i in range(6)], [], tmp_path, GenerateConfig()).made == 4


KILLED = """
import os, signal, sys, t2v.cli
from t2v.generate.folder import ClipFolder
add, rows = ClipFolder.add, []
def killing(folder, entry):
    add(folder, entry)
    rows.append(entry)
    if len(rows) == 4:
        os.kill(os.getpid(), signal.SIGKILL)
ClipFolder.add = killing
t2v.cli.main(sys.argv[1:])
"""


@pytest.mark.slow
def test_a_kill_loses_nothing_and_leaves_no_half_file(tmp_path):
    (tmp_path / "p.txt").write_text(BALL + "\n" + BOX + "\n")
    tail = ["--prompts", str(tmp_path / "p.txt"), "--generator", "world", "--num-videos", "8", "-q"]
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    died = subprocess.run([sys.executable, "-c", KILLED, "generate", *tail, "-o", str(killed)], cwd=ROOT, check=False)
    assert died.returncode == -signal.SIGKILL
    (killed / "clips" / ".0.tmp.mp4").write_bytes(b"half")  # what a kill in the middle of a write leaves
    finished = rows_of(killed)
    times = {row["path"]: (killed / row["path"]).stat().st_mtime_ns for row in finished}
    assert 4 <= len(finished) < 16
    assert main(["generate", *tail, "-o", str(killed)]) == 0
    assert main(["generate", *tail, "-o", str(whole)]) == 0
    assert all((killed / path).stat().st_mtime_ns == time_ns for path, time_ns in times.items())

    def what(folder):
        rows = [{key: value for key, value in row.items() if key != "seconds"} for row in rows_of(folder)]
        return rows, {path.name: path.read_bytes() for path in (folder / "clips").iterdir()}

    assert what(killed) == what(whole) and len(rows_of(killed)) == 16


class Neighbourly(Fake):
    """A generator whose clips show who they were made with, as those of a network do in their last bits."""

    batch_size = 4

    def generate(self, requests, settings, on_step=None):
        clips = super().generate(requests, settings, on_step)
        shade = sum(9 ** (place % 3) * request.seed for place, request in enumerate(requests)) % 50 + len(requests)
        return [Frames.from_pixels(clip.pixels + np.uint8(shade), 8.0) for clip in clips]


@pytest.mark.slow
@pytest.mark.parametrize("saved", range(10))
def test_a_resumed_run_makes_the_bytes_of_an_uninterrupted_one(tmp_path, monkeypatch, saved):
    """Killed after any number of clips: clips and contact sheet are those of a run that was left alone."""
    monkeypatch.setattr(run_module, "open_generator", lambda *args, **options: Neighbourly())
    prompts, config = [BALL, BOX, "A dog jumps."], GenerateConfig(num_videos=3)

    def kill(row):
        left.pop()
        if not left:
            raise RuntimeError("killed")

    def what(folder):
        clips = {path.name: path.read_bytes() for path in (folder / "clips").iterdir()}
        return clips, (folder / "contact_sheet.png").read_bytes(), [row["id"] for row in rows_of(folder)]

    run(prompts, [], tmp_path / "whole", config)
    left = [None] * saved
    if saved:
        with pytest.raises(RuntimeError, match="killed"):
            run(prompts, [], tmp_path / "killed", config, emit=kill)
    summary = run(prompts, [], tmp_path / "killed", config)
    assert (summary.made, summary.skipped) == (9 - saved, saved)
    assert what(tmp_path / "killed") == what(tmp_path / "whole")
    rows = rows_of(tmp_path / "whole")
    (tmp_path / "killed" / rows[5]["path"]).unlink()  # one that is lost comes back as it was
    assert run(prompts, [], tmp_path / "killed", config).made == 1
    assert what(tmp_path / "killed") == what(tmp_path / "whole")


@pytest.mark.slow
def test_clips_get_new_batches_where_the_old_ones_cannot_be_had(fake, tmp_path):
    run([BALL, BOX], [], tmp_path, GenerateConfig())
    for row in rows_of(tmp_path):
        (tmp_path / row["path"]).unlink()
    assert run([BOX], [], tmp_path, GenerateConfig()).made == 1  # without its neighbour
    run(["A dog jumps.", BALL, BOX], [], tmp_path, GenerateConfig(batch_size=1))  # smaller, as after OUT_OF_MEMORY
    assert fake.batches == [[BALL, BOX], [BOX], ["A dog jumps."], [BALL]]


def test_two_runs_do_not_share_a_folder(fake, tmp_path):
    plain = Fake.generate

    def nested(requests, settings, on_step=None):
        with pytest.raises(UsageError, match="another run holds"):
            run([BOX], [], tmp_path, GenerateConfig())
        return plain(fake, requests, settings, on_step)

    fake.generate = nested
    assert run([BALL], [], tmp_path, GenerateConfig()).made == 1


# --- what a person looks at
def test_the_contact_sheet_shows_frames_of_each_clip_in_order(fake, tmp_path):
    from PIL import Image

    run([f"prompt number {i} {'very ' * 60}long" for i in range(3)], [], tmp_path, GenerateConfig(seed=0, num_videos=1))
    assert np.asarray(Image.open(tmp_path / "contact_sheet.png")).ndim == 3
    colours = []
    for i, colour in enumerate([(220, 30, 30), (30, 200, 30), (30, 30, 220)]):
        pixels = np.zeros((6, 16, 16, 3), np.uint8)
        pixels[:] = colour
        pixels[3:] = 255 - pixels[3:]
        from cineloop.video.encode import encode

        encode(pixels, tmp_path / f"{i}.mp4", fps=6)
        colours.append({**ROW, "path": f"{i}.mp4", "shape": SHAPE})
    write_sheet(colours, tmp_path, tmp_path / "sheet.png")
    sheet = np.asarray(Image.open(tmp_path / "sheet.png").convert("RGB")).astype(int)
    for (y, x), colour in {(60, 60): (220, 30, 30), (60, 700): (30, 200, 30), (210, 60): (30, 30, 220)}.items():
        assert np.abs(sheet[y, x] - colour).max() < 30, (y, x, sheet[y, x])
    assert np.abs(sheet[60, 560] - (35, 225, 225)).max() < 30  # the last frame of the first clip
    write_sheet([], tmp_path, tmp_path / "sheet.png")
    assert not (tmp_path / "sheet.png").exists()
