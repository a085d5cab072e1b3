"""The output folder by itself: sidecars, records, edits by hand, names, full disks."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from cineloop.discovery import discover
from cineloop.errors import MissingDependencyError, PolicyError
from clip_files import clips_in
from full_disk import full_disk
from v2t.caption.outputs import CaptionFolder
from v2t.long.items import WorkItem


def go(source: Path, out: Path, formats: tuple[str, ...] = ("txt", "jsonl")) -> list[str]:
    """What a run does with an output folder: caption what is new or changed. Returns the ids of those."""
    done = []
    with CaptionFolder(out, formats) as folder:
        clips = discover([str(source)])
        folder.register(clips)
        for clip in clips:
            if folder.status(clip, "settings") in ("new", "changed"):
                row = {"id": clip.id, "path": clip.path, "status": "ok"}
                if clip.end_s is not None:
                    row |= {"start_s": clip.start_s, "end_s": clip.end_s}
                row["caption"] = f"A clip of {Path(clip.file).read_text()}."
                folder.write([WorkItem(clip, answer=row)], "settings")
                done.append(clip.id)
        folder.close()
    return done


def rows_of(out: Path) -> dict[str, dict]:
    rows = [json.loads(line) for line in (out / "captions.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len({row["id"] for row in rows}) == len(rows)
    return {row["id"]: row for row in rows}


def test_the_sidecar_is_where_captions_are_edited(tmp_path):
    source, out = clips_in(tmp_path / "clips", a="dogs", b="cats"), tmp_path / "out"
    go(source, out, ("txt", "vtt", "jsonl", "csv"))
    path = out / "captions.jsonl"
    path.write_text(path.read_text().replace("A clip of dogs.", "From the rows."))
    (out / "a.txt").write_text("From the sidecar.\n")
    (out / "b.vtt").write_text("mine\n")
    for _ in range(2):
        assert go(source, out, ("txt", "vtt", "jsonl", "csv")) == []
        assert rows_of(out)["a.mp4"]["caption"] == "From the sidecar." and rows_of(out)["a.mp4"]["edited"]
        assert "From the sidecar." in (out / "captions.csv").read_text()
        assert "From the sidecar." in (out / "a.vtt").read_text()
        assert (out / "a.txt").read_text() == "From the sidecar.\n"
        assert (out / "b.vtt").read_text() == "mine\n" and (out / "b.txt").read_text() == "A clip of cats.\n"
    assert "From the rows." in (out / "captions.by-hand.jsonl").read_text()


def test_an_edit_is_read_whatever_formats_a_run_asks_for(tmp_path):
    source, out = clips_in(tmp_path / "clips", a="dogs"), tmp_path / "out"
    go(source, out)
    (out / "a.txt").write_text("From the sidecar.\n")
    for _ in range(2):
        assert go(source, out, ("srt", "jsonl")) == []
        assert rows_of(out)["a.mp4"]["caption"] == "From the sidecar."
        assert "From the sidecar." in (out / "a.srt").read_text()
        assert (out / "a.txt").read_text() == "From the sidecar.\n"


def test_formats_of_earlier_runs_follow_an_edit_and_a_new_caption(tmp_path):
    source, out = clips_in(tmp_path / "clips", a="dogs", b="cats", c="cows", d="hens"), tmp_path / "out"
    go(source, out, ("txt", "vtt", "srt", "jsonl", "csv", "coco"))
    (out / "a.txt").write_text("From the sidecar.\n")
    (out / "a.srt").unlink()
    (out / "b.txt").write_text("Mine.\n")
    (out / "b.srt").write_text("mine too\n")
    (out / "coco/results.json").unlink()
    clips_in(source, d="geese, which are no hens")
    for _ in range(2):
        assert go(source, out, ("jsonl",)) in (["d.mp4"], [])
        assert "From the sidecar." in (out / "a.vtt").read_text() and "Mine." in (out / "b.vtt").read_text()
        assert (
            "From the sidecar." in (out / "captions.csv").read_text() and "geese" in (out / "captions.csv").read_text()
        )
        assert (out / "b.srt").read_text() == "mine too\n" and "cows" in (out / "c.vtt").read_text()
        assert not (out / "a.srt").exists() and not (out / "coco/results.json").exists()  # nobody asks for them now
        assert all("geese" in (out / f"d.{name}").read_text() for name in ("txt", "vtt", "srt"))


def test_an_edit_is_read_after_a_run_in_another_format(tmp_path):
    source, out = clips_in(tmp_path / "clips", a="dogs"), tmp_path / "out"
    go(source, out)
    clips_in(source, a="cats, which are not dogs")
    assert go(source, out, ("srt", "jsonl")) == ["a.mp4"]
    (out / "a.txt").write_text("From the sidecar.\n")
    go(source, out, ("srt", "jsonl"))
    assert rows_of(out)["a.mp4"]["caption"] == "From the sidecar."


def test_a_caption_that_lay_there_before_is_taken_over(tmp_path):
    source, out = clips_in(tmp_path / "clips", a="dogs", b="cats"), tmp_path / "out"
    out.mkdir()
    (out / "a.txt").write_bytes(b"Written in 2019.\r\n")
    assert go(source, out) == ["b.mp4"]
    assert (out / "a.txt").read_bytes() == b"Written in 2019.\r\n"
    assert rows_of(out)["a.mp4"]["caption"] == "Written in 2019."


def test_missing_sidecars_and_new_formats_are_made_from_the_journal(tmp_path):
    source, out = clips_in(tmp_path / "clips", a="dogs", b="cats"), tmp_path / "out"
    go(source, out, ("jsonl",))
    assert sorted(p.name for p in out.iterdir()) == [".v2t", "captions.jsonl"]
    assert go(source, out) == []
    (out / "a.txt").unlink()
    (out / "b.txt").write_bytes(b"\0\0\0")  # what a power cut can leave
    (out / "captions.jsonl").unlink()
    assert go(source, out) == []
    assert (out / "a.txt").read_text() == "A clip of dogs.\n" and (out / "b.txt").read_text() == "A clip of cats.\n"
    assert len(rows_of(out)) == 2


def test_names_that_would_share_a_sidecar_keep_their_endings(tmp_path):
    source, out = clips_in(tmp_path / "clips", a="dogs"), tmp_path / "out"
    (source / "a.mkv").write_text("cats")
    go(source, out)
    assert (out / "a.mp4.txt").read_text() == "A clip of dogs.\n"
    assert (out / "a.mkv.txt").read_text() == "A clip of cats.\n"
    (source / "b.mp4").write_text("bees")
    go(source, out)
    (source / "b.mov").write_text("owls")
    assert go(source, out) == ["b.mov"]
    assert (out / "b.txt").read_text() == "A clip of bees.\n" and (out / "b.mov.txt").read_text() == "A clip of owls.\n"


def test_parts_of_one_file_are_clips_of_their_own(tmp_path):
    source, out = clips_in(tmp_path / "clips", sub__a="dogs"), tmp_path / "out"
    lines = [{"id": f"cut{i}", "path": "sub/a.mp4", "start_s": i, "end_s": i + 1.5} for i in range(2)]
    (source / "m.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert go(source / "m.jsonl", out, ("jsonl",)) == ["cut0", "cut1"]
    assert go(source / "m.jsonl", out) == []
    assert sorted(p.name for p in (out / "sub").iterdir()) == ["a_0-1.5.txt", "a_1-2.5.txt"]


def test_a_link_out_of_the_output_folder_is_refused(tmp_path):
    source, out = clips_in(tmp_path / "clips", sub__a="dogs"), tmp_path / "out"
    out.mkdir()
    (tmp_path / "elsewhere").mkdir()
    (out / "sub").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PolicyError):
        go(source, out)
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_folder_that_cannot_be_used_is_an_environment_error(tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(MissingDependencyError) as caught:
        go(clips_in(tmp_path / "clips", a="dogs"), tmp_path / "out")
    assert caught.value.code == "OUTPUT_FOLDER" and caught.value.exit_code == 5


@pytest.mark.parametrize("moment", ["journal", "sidecar", "set"])
def test_a_full_disk_leaves_nothing_torn_and_the_next_run_goes_on(tmp_path, monkeypatch, moment):
    source, out = clips_in(tmp_path / "clips", **{f"c{i}": f"dog {i}" for i in range(6)}), tmp_path / "out"
    target = {"journal": "journal.jsonl", "sidecar": "c4.txt", "set": "captions.jsonl"}[moment]
    with monkeypatch.context() as patch:
        real, calls = os.fsync, []

        def fsync(handle):
            calls.append(os.readlink(f"/proc/self/fd/{handle}"))
            if moment == "journal" and sum(target in name for name in calls) > 3:
                raise OSError(errno.ENOSPC, "No space left on device")
            real(handle)

        def replace(old, new, move=os.replace):
            if Path(new).name == target:
                raise OSError(errno.ENOSPC, "No space left on device")
            move(old, new)

        patch.setattr(os, "fsync", fsync)
        patch.setattr(os, "replace", replace)
        with pytest.raises(MissingDependencyError) as caught:
            go(source, out)
        assert caught.value.code == "DISK_FULL" and caught.value.exit_code == 5
    assert not list(out.rglob(".cineloop-tmp-*"))
    before = {path: path.read_text() for path in out.glob("*.txt")}
    assert all(text == f"A clip of dog {path.stem[1]}.\n" for path, text in before.items())
    again = go(source, out)
    assert len(again) == {"journal": 3, "sidecar": 1, "set": 0}[moment] and len(rows_of(out)) == 6
    assert [(out / f"c{i}.txt").read_text() for i in range(6)] == [f"A clip of dog {i}.\n" for i in range(6)]


def test_a_disk_that_is_truly_full_is_noticed(tmp_path):
    source, out = clips_in(tmp_path / "clips", **{f"c{i:02}": f"dog {i}" for i in range(20)}), tmp_path / "out"
    with full_disk(3000), pytest.raises(MissingDependencyError) as caught:
        go(source, out)
    assert caught.value.code == "DISK_FULL"
    before = len(list(out.glob("*.txt")))
    assert 0 < before < 20
    assert len(go(source, out)) == 20 - before and len(rows_of(out)) == 20


def test_what_a_killed_run_left_unfinished_goes(tmp_path):
    source, out = clips_in(tmp_path / "clips", a__b="x"), tmp_path / "out"
    go(source, out)
    left = [out / place / ".cineloop-tmp-x" for place in (".v2t", ".v2t/strips", "", "a")]
    for path in left:
        path.parent.mkdir(exist_ok=True)
        path.write_text("half")
    go(source, out)
    assert [path for path in left if path.exists()] == []
