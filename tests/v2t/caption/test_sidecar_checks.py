"""Sidecars that were not changed since the last run are not read, and every change is still seen."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from caption_stand_ins import TextPool, rows_of
from caption_stand_ins import go as caption
from clip_files import clips_in
from v2t.caption import job, outputs, sidecar_checks


def go(source: Path, out: Path) -> int:
    """How many clips a run captions."""
    summary, *_ = caption(source, out, format=("txt", "jsonl"))
    return summary.num_captioned


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """Clips and their captions, which a run has compared."""
    monkeypatch.setattr(job, "DecoderPool", TextPool)
    monkeypatch.setattr(sidecar_checks, "_MARGIN_NS", 0)
    monkeypatch.setattr(sidecar_checks, "_WORTH", 1)
    source, out = clips_in(tmp_path / "clips", a="dogs", b="cats", c="cows"), tmp_path / "out"
    go(source, out)
    a_tick_of_the_clock(tmp_path)
    go(source, out)
    a_tick_of_the_clock(tmp_path)
    return source, out


@pytest.fixture
def read(monkeypatch):
    """Names of the sidecars that were read."""
    names: list[str] = []
    read = outputs._read
    monkeypatch.setattr(outputs, "_read", lambda path: names.append(Path(path).name) or read(path))
    return names


def a_tick_of_the_clock(folder: Path) -> None:
    """Wait until the file system dates a change later than those before."""
    probe = folder / "probe"
    probe.touch()
    before = probe.stat().st_ctime_ns
    while probe.stat().st_ctime_ns == before:
        os.utime(probe)


def test_what_was_compared_is_not_read_again(folders, read):
    assert go(*folders) == 0 and read == []


@pytest.mark.parametrize("how", ["written", "with its old date", "replaced by an older file", "deleted"])
def test_every_change_is_seen(folders, read, how, tmp_path):
    source, out = folders
    path, status = out / "a.txt", (out / "a.txt").stat()
    text = "A clip of DOGS.\n" if how == "with its old date" else "Mine.\n"  # as long as before
    if how == "deleted":
        path.unlink()
    elif how == "replaced by an older file":
        (tmp_path / "old.txt").write_text(text)
        os.utime(tmp_path / "old.txt", ns=(10**18, 10**18))
        os.replace(tmp_path / "old.txt", path)
    else:
        path.write_text(text)
        if how == "with its old date":
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert go(source, out) == 0 and set(read) == {"a.txt"}
    assert path.read_text() == ("A clip of dogs.\n" if how == "deleted" else text)
    assert rows_of(out)["a.mp4"]["caption"] == path.read_text().strip()


def test_a_record_whose_file_was_not_written_any_more(folders, read, monkeypatch):
    source, out = folders
    clips_in(source, a="geese, which are no dogs")
    with monkeypatch.context() as patch:  # killed between journal and sidecar
        patch.setattr(outputs.CaptionFolder, "_write_sidecar", lambda *args: True)
        assert go(source, out) == 1
    read.clear()
    assert go(source, out) == 0 and set(read) == {"a.txt"}
    assert "geese" in (out / "a.txt").read_text()


def test_a_copied_folder_is_read_once(folders, read, tmp_path):
    source, out = folders
    (out / "a.txt").write_text("Mine.\n")
    other = shutil.copytree(out, tmp_path / "copy")
    assert go(source, other) == 0 and set(read) == {"a.txt", "b.txt", "c.txt"}
    assert rows_of(other)["a.mp4"]["caption"] == "Mine."


def test_a_clock_that_was_set_back_spares_nothing(folders, read):
    source, out = folders
    place = out / ".v2t" / sidecar_checks.NAME
    row = sidecar_checks.read_json(place)
    place.write_text(sidecar_checks.json.dumps({**row, "at_ns": row["at_ns"] + 3600 * 10**9}))
    assert go(source, out) == 0 and set(read) == {"a.txt", "b.txt", "c.txt"}


@pytest.mark.parametrize("content", [b"", b"\0\0", b"[]", b"{}"])
def test_a_damaged_note_spares_nothing(folders, read, content):
    source, out = folders
    (out / ".v2t" / sidecar_checks.NAME).write_bytes(content)
    assert go(source, out) == 0 and set(read) == {"a.txt", "b.txt", "c.txt"}
