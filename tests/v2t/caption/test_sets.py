"""Formats written once a run: up to date, whole or as before, and a person's work in them is never lost."""

from __future__ import annotations

import csv
import errno
import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet
import pytest

from cineloop.discovery import discover
from cineloop.errors import MissingDependencyError
from clip_files import clips_in
from coloured_captions import ENV
from full_disk import full_disk
from refusals import refusal, refusal_code
from v2t.caption.outputs import CaptionFolder
from v2t.long.items import WorkItem

SETS = ("jsonl", "csv", "parquet", "two_file", "coco", "videofolder", "webdataset")
FOLDERS = ("two_file", "coco", "videofolder", "webdataset")


def go(source: Path, out: Path, formats: tuple[str, ...], text: str = "A clip", during: bool = False) -> None:
    with CaptionFolder(out, formats) as folder:
        clips = discover([str(source)], exclude=["out/*"])
        folder.register(clips)
        todo = [clip for clip in clips if folder.status(clip, "key") == "new"]
        rows = [{"id": c.id, "path": c.path, "status": "ok", "caption": f"{text} {c.id}."} for c in todo]
        folder.write([WorkItem(c, answer=row) for c, row in zip(todo, rows, strict=True)], "key")
        folder._sets.write(during=during)


def ids(out: Path, name: str) -> list[str]:
    """The clips of a written set, in its order; also checks that its parts agree."""
    if name == "jsonl":
        return [json.loads(line)["id"] for line in (out / "captions.jsonl").read_text().splitlines()]
    if name == "csv":
        return [row["id"] for row in csv.DictReader((out / "captions.csv").read_text().splitlines())]
    if name == "parquet":
        return pyarrow.parquet.read_table(out / "captions.parquet")["id"].to_pylist()
    if name == "two_file":
        videos = (out / name / "videos.txt").read_text().splitlines()
        prompts = (out / name / "prompts.txt").read_text().splitlines()
        assert [Path(v).name for v in videos] == [p.split()[-1].rstrip(".") for p in prompts]
        return [Path(v).name for v in videos]
    if name == "coco":
        images = {i["id"]: i["clip"] for i in json.loads((out / name / "images.json").read_text())["images"]}
        return [images[row["image_id"]] for row in json.loads((out / name / "results.json").read_text())]
    if name == "videofolder":
        rows = [json.loads(line) for line in (out / name / "metadata.jsonl").read_text().splitlines()]
        for row in rows:
            assert (out / name / row["file_name"]).read_text() == f"video of {row['id'].removesuffix('.mp4')}"
        assert len(list((out / name / "videos").iterdir())) == len(rows)
        return [row["id"] for row in rows]
    import tarfile

    with tarfile.open(out / name / "000000.tar") as tar:
        return [json.load(tar.extractfile(m))["id"] for m in tar.getmembers() if m.name.endswith(".json")]


@pytest.mark.slow
def test_every_set_is_up_to_date_whichever_formats_earlier_runs_wrote(tmp_path):
    source, out = clips_in(tmp_path / "clips", "a"), tmp_path / "out"
    go(source, out, SETS)
    go(clips_in(source, "b"), out, ("jsonl",))
    assert ids(out, "csv") == ["a.mp4", "b.mp4"] and ids(out, "webdataset") == ["a.mp4"]
    go(source, out, SETS)
    assert {name: ids(out, name) for name in SETS} == {name: ["a.mp4", "b.mp4"] for name in SETS}
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if ".v2t" not in path.parts}
    go(source, out, SETS)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*") if ".v2t" not in path.parts} == before
    assert not (out / ".v2t" / "making").exists() and not list((out / ".v2t" / "old").iterdir())


def test_videos_are_not_copied_in_the_middle_of_a_run(tmp_path):
    source, out = clips_in(tmp_path / "clips", "a"), tmp_path / "out"
    go(source, out, SETS, during=True)
    assert ids(out, "two_file") == ["a.mp4"] and not (out / "webdataset").exists()
    assert not (out / "videofolder").exists()


@pytest.mark.parametrize("formats", [("txt", "csv", "jsonl"), ("csv", "jsonl")])
def test_edits_in_files_of_the_whole_are_not_read_but_kept_aside(tmp_path, caplog, formats):
    source, out = clips_in(tmp_path / "clips", "a", "b"), tmp_path / "out"
    go(source, out, formats)
    written = {name: (out / name).read_bytes() for name in ("captions.csv", "captions.jsonl")}
    for name, content in written.items():
        (out / name).write_bytes(content.replace(b"A clip a.mp4.", b"My dogs."))
    go(source, out, formats)
    for name, content in written.items():
        stem, suffix = name.split(".")
        assert (out / name).read_bytes() == content
        assert b"My dogs." in (out / f"{stem}.by-hand.{suffix}").read_bytes()
    assert "txt" not in formats or (out / "a.txt").read_text() == "A clip a.mp4.\n"
    assert sum("read only from the .txt files" in message for message in caplog.messages) == 2
    go(source, out, formats)
    assert len(list(out.glob("*.by-hand*"))) == 2


@pytest.mark.parametrize("content", [b"a,b\r\n1,2\r\n", b"{torn\n", b"\0\0\0"])
def test_a_file_in_a_sets_place_is_kept_aside(tmp_path, content):
    source, out = clips_in(tmp_path / "clips", "a"), tmp_path / "out"
    out.mkdir()
    for name in ("captions.csv", "captions.jsonl"):
        (out / name).write_bytes(content)
    go(source, out, ("csv", "jsonl"))
    assert (out / "captions.by-hand.csv").read_bytes() == (out / "captions.by-hand.jsonl").read_bytes() == content
    assert ids(out, "csv") == ids(out, "jsonl") == ["a.mp4"]


def test_every_changed_set_is_put_aside_and_never_overwritten(tmp_path, caplog):
    source, out = clips_in(tmp_path / "clips", "a"), tmp_path / "out"
    go(source, out, SETS)
    (out / "two_file" / "prompts.txt").write_text("My dogs.\n")
    (out / "videofolder" / "metadata.jsonl").write_text("{}\n")
    (out / "captions.parquet").write_bytes(b"mine")
    go(source, out, SETS)
    assert (out / "two_file.by-hand" / "prompts.txt").read_text() == "My dogs.\n"
    assert (out / "videofolder.by-hand" / "metadata.jsonl").read_text() == "{}\n"
    assert (out / "captions.by-hand.parquet").read_bytes() == b"mine"
    assert {name: ids(out, name) for name in SETS} == {name: ["a.mp4"] for name in SETS}
    assert sum("kept as" in message for message in caplog.messages) == 3


def test_a_set_changed_in_the_middle_of_a_run_is_put_aside_too(tmp_path):
    source, out = clips_in(tmp_path / "clips", "a", "b"), tmp_path / "out"
    clips = discover([str(source)])
    with CaptionFolder(out, ("jsonl",)) as folder:
        folder.register(clips)
        for clip in clips:
            row = {"id": clip.id, "path": clip.path, "status": "ok", "caption": "A dog."}
            folder.write([WorkItem(clip, answer=row)], "key")
            folder._sets.write(during=True)
            if clip is clips[0]:
                (out / "captions.jsonl").write_text("mine, written meanwhile\n")
    assert (out / "captions.by-hand.jsonl").read_text() == "mine, written meanwhile\n"
    assert ids(out, "jsonl") == ["a.mp4", "b.mp4"]


def test_what_a_person_puts_beside_ours_stays(tmp_path):
    source, out = clips_in(tmp_path / "clips", "a"), tmp_path / "out"
    go(source, out, SETS)
    for name in FOLDERS:
        (out / name / "README.md").write_text("my card")
        (out / name / "more").mkdir()
        (out / name / "more" / "notes.txt").write_text("my notes")
    go(clips_in(source, "b"), out, SETS)
    for name in FOLDERS:
        assert ids(out, name) == ["a.mp4", "b.mp4"]
        assert (out / name / "README.md").read_text() == "my card"
        assert (out / name / "more" / "notes.txt").read_text() == "my notes"
    assert not list(out.glob("*.by-hand*"))


def test_a_link_in_a_sets_place_is_not_followed(tmp_path):
    source, out, elsewhere = clips_in(tmp_path / "clips", "a"), tmp_path / "out", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "prompts.txt").write_text("mine")
    out.mkdir()
    (out / "two_file").symlink_to(elsewhere)
    (out / "captions.jsonl").symlink_to(elsewhere / "rows.jsonl")
    go(source, out, ("two_file", "jsonl"))
    assert [path.name for path in elsewhere.iterdir()] == ["prompts.txt"]
    assert ids(out, "two_file") == ids(out, "jsonl") == ["a.mp4"]
    assert (elsewhere / "prompts.txt").read_text() == "mine"


def test_our_own_copies_are_not_captioned_again(tmp_path):
    source = clips_in(tmp_path / "clips", "a")
    go(source, source / "out", ("videofolder",))
    with CaptionFolder(source / "out", ("videofolder",)) as folder:
        clips = [clip for clip in discover([str(source / "out" / "videofolder" / "videos")])]
        assert refusal_code(folder.register, clips) == (2, "OWN_COPY")


@pytest.mark.slow
@pytest.mark.parametrize("name", SETS)
def test_a_full_disk_leaves_the_set_of_before(tmp_path, name):
    source, out = clips_in(tmp_path / "clips", "a"), tmp_path / "out"
    go(source, out, (name,))
    go(
        clips_in(source, *(f"c{i:02}" for i in range(40))),
        out,
        (),
        text="".join(map(chr, range(200, 3000))),
        during=True,
    )
    with full_disk(10_000), pytest.raises(MissingDependencyError) as caught:
        go(source, out, (name,))
    assert caught.value.code == "DISK_FULL" and caught.value.exit_code == 5
    assert ids(out, name) == ["a.mp4"] and not (out / ".v2t" / "making").exists()
    go(source, out, (name,))
    assert len(ids(out, name)) == 41


def test_a_disk_that_fails_in_another_way_is_an_environment_error(tmp_path, monkeypatch):
    source, out = clips_in(tmp_path / "clips", "a"), tmp_path / "out"

    def fail(*args):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("v2t.caption.sets.sync_tree", fail)
    assert refusal(go, source, out, ("two_file",)).exit_code == 5


# Run by another Python: forked runs that die at a line of the code that writes sets, at every 5th line in turn.
DRIVER = """
import os, shutil, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from coloured_captions import die_at_line
from tests_sets import SETS, clips_in, go, ids
base = Path(sys.argv[2])
source = clips_in(base / "clips", "a", "b")
go(source, base / "old", SETS)
clips_in(source, "c")
(base / "old" / "coco" / "README.md").write_text("mine")

def run(out, lines):
    child = os.fork()
    if child == 0:
        watched = ("sets.py", "two_file.py", "videofolder.py", "webdataset.py", "coco.py", "jsonl.py", "csv.py")
        moves = ("replace_whole", "sync_tree", "link_or_copy")  # of cineloop.files
        die_at_line(lines, lambda code: os.path.basename(code.co_filename) in watched or code.co_name in moves)
        go(source, out, SETS)
        sys.settrace(None)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

seen = {"old": 0, "new": 0, "away": 0}
lines = 0
while True:
    out = base / "out"
    shutil.copytree(base / "old", out)
    code = run(out, lines)
    for name in SETS:
        try:
            found = ids(out, name)
        except FileNotFoundError:
            assert (out / ".v2t" / "old" / name).is_dir(), (name, lines)
            seen["away"] += 1
            continue
        assert found in (["a.mp4", "b.mp4"], ["a.mp4", "b.mp4", "c.mp4"]), (name, lines, found)
        seen["new" if len(found) == 3 else "old"] += 1
    assert code in (0, -9), code
    go(source, out, SETS)
    assert all(ids(out, name) == ["a.mp4", "b.mp4", "c.mp4"] for name in SETS), lines
    assert not list(out.glob("*by-hand*")) and (out / "coco" / "README.md").read_text() == "mine", lines
    shutil.rmtree(out)
    if code == 0:
        break
    lines += int(sys.argv[3])
print(lines, seen)
"""


@pytest.mark.long
@pytest.mark.slow
def test_killed_at_any_line_a_set_is_whole_and_the_next_run_completes_it(tmp_path):
    (tmp_path / "tests_sets.py").write_text(Path(__file__).read_text(encoding="utf-8"), encoding="utf-8")
    base = tmp_path / "base"
    base.mkdir()
    command = [sys.executable, "-c", DRIVER, str(tmp_path), str(base), "7"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=ENV)
    assert result.returncode == 0, result.stderr[-3000:]
    lines, _, seen = result.stdout.strip().partition(" ")
    assert int(lines) > 500, result.stdout
