"""Formats that hold videos or name them: shards, folders, links, clips that must stay out."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import tarfile
from pathlib import Path

import pytest

from cineloop.discovery import discover
from clip_files import clips_in
from v2t.caption.outputs import CaptionFolder
from v2t.long.items import WorkItem
from v2t.writers import videofolder
from v2t.writers import webdataset as shards


def fill(source: Path, out: Path, captions: dict[str, str], formats: tuple[str, ...] = ("all",)) -> None:
    """Caption the clips of a folder or manifest, as a run does."""
    with CaptionFolder(out, formats) as folder:
        clips = discover([str(source)])
        folder.register(clips)
        results = []
        for clip in clips:
            if clip.id in captions and folder.status(clip, "key") != "done":
                row = {"id": clip.id, "path": clip.path, "status": "ok", "caption": captions[clip.id]}
                if clip.start_s is not None:
                    row |= {"start_s": clip.start_s, "end_s": clip.end_s}
                results.append(WorkItem(clip, answer=row))
        folder.write(results, "key")
        folder.close()


def tree(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".v2t" not in path.parts
    }


@pytest.mark.slow
def test_the_same_clips_make_the_same_bytes(tmp_path):
    captions = {f"{name}.mp4": f"A {name} runs." for name in ("dog", "cat", "owl")}
    source = clips_in(tmp_path / "clips", *captions)
    fill(source, tmp_path / "one", captions)
    for clip_id in reversed(captions):  # in another order, one run each, with other dates
        os.utime(source / clip_id, (1, 1))
        fill(source, tmp_path / "two", {clip_id: captions[clip_id]})
    one, two = tree(tmp_path / "one"), tree(tmp_path / "two")
    one.pop("captions.parquet"), two.pop("captions.parquet")
    assert one == two and len(one) > 12


def test_shards_end_at_their_size_and_at_their_number_of_clips(tmp_path, monkeypatch):
    import webdataset

    captions = {f"c{i}.mp4": f"Clip {i}." for i in range(7)}
    source = clips_in(tmp_path / "clips", *captions)
    monkeypatch.setattr(shards, "SHARD_CLIPS", 3)
    fill(source, tmp_path / "out", captions, ("webdataset",))
    folder = tmp_path / "out" / "webdataset"
    assert [len(tarfile.open(path).getnames()) for path in sorted(folder.glob("*.tar"))] == [9, 9, 3]
    urls = str(folder / "{000000..000002}.tar")
    samples = list(webdataset.WebDataset(urls, shardshuffle=False))
    assert [sample["txt"].decode() for sample in samples] == list(captions.values())
    assert [sample["__key__"] for sample in samples] == [f"{i:06}" for i in range(7)]
    monkeypatch.setattr(shards, "SHARD_BYTES", 1)
    fill(clips_in(source, "d.mp4"), tmp_path / "out", {"d.mp4": "D."}, ("webdataset",))
    assert len(list(folder.glob("*.tar"))) == 8


@pytest.mark.slow
def test_names_that_mislead_readers_do_no_harm(tmp_path):
    from datasets import load_dataset

    names = ["test/a.mp4", "train/b.mkv", "dev_1.mp4", "val.x.y.mp4", "a\nb.mp4", "-c.mp4", "\u202ed.mp4", "\udcff.mp4"]
    source = tmp_path / "clips"
    for name in names:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text("x")
    captions = {clip.id: f"Of {clip.id}." for clip in discover([str(source)])}
    fill(source, tmp_path / "test" / "out", captions)
    folder = tmp_path / "test" / "out" / "videofolder"
    table = load_dataset("videofolder", data_dir=str(folder), cache_dir=str(tmp_path / "c"))
    assert list(table) == ["train"]
    assert dict(zip(table["train"]["id"], table["train"]["text"], strict=True)) == captions
    lines = (tmp_path / "test" / "out" / "two_file" / "videos.txt").read_text(encoding="utf-8").splitlines()
    assert len(lines) == len(names) - 2  # the newline and the byte that is no UTF-8 are left out
    with tarfile.open(tmp_path / "test" / "out" / "webdataset" / "000000.tar") as tar:
        assert len(tar.getnames()) == 3 * len(names)


def test_an_unknown_ending_is_called_mp4():
    assert [videofolder.suffix(Path(name)) for name in ("a.MKV", "a", "a.json", "a.b c", "a.webm")] == [
        ".mkv", ".mp4", ".mp4", ".mp4", ".webm",
    ]  # fmt: skip


@pytest.mark.slow
def test_clips_whose_video_is_not_at_hand_are_left_out_and_named(tmp_path, caplog):
    names = ["a.mp4", "gone.mp4", "other.mp4", "touched.mp4"]
    source, out = clips_in(tmp_path / "clips", *names), tmp_path / "out"
    fill(source, out, dict.fromkeys(names, "A dog."), ("jsonl",))
    (source / "gone.mp4").unlink()
    (source / "other.mp4").write_text("another film")
    (source / "touched.mp4").touch()
    clips_in(source, "new.mp4")
    (source / "part.jsonl").write_text('{"id": "cut", "path": "new.mp4", "start_s": 1, "end_s": 2}\n')
    fill(source / "part.jsonl", out, {"cut": "A part."}, ("webdataset", "videofolder", "two_file", "coco"))
    for name in ("webdataset", "videofolder", "two_file"):
        (message,) = [text for text in caplog.messages if f"not in {name}" in text]
        assert message.startswith("3 captioned clips") and "cut: PART_OF_FILE" in message
    rows = [json.loads(line) for line in open(out / "videofolder" / "metadata.jsonl", encoding="utf-8")]
    assert [row["id"] for row in rows] == ["a.mp4", "touched.mp4"]
    assert len((out / "two_file" / "prompts.txt").read_text().splitlines()) == 2
    assert len(json.loads((out / "coco" / "results.json").read_text())) == 5


@pytest.mark.slow
def test_videos_are_linked_not_copied_where_that_is_possible(tmp_path, monkeypatch):
    source = clips_in(tmp_path / "clips", "a.mp4")
    fill(source, tmp_path / "out", {"a.mp4": "A dog."}, ("videofolder",))
    copy = tmp_path / "out" / "videofolder" / "videos" / "000000.mp4"
    assert copy.samefile(source / "a.mp4")

    def refuse(*args):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    fill(source, tmp_path / "far", {"a.mp4": "A dog."}, ("videofolder",))
    copy = tmp_path / "far" / "videofolder" / "videos" / "000000.mp4"
    assert not copy.samefile(source / "a.mp4") and copy.read_bytes() == b"video of a.mp4"
