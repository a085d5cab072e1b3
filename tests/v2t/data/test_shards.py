"""Shards of WebDataset: each sample once a pass however work is divided, bad ones replaced, unsafe tars refused."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest

from cineloop.errors import ItemError, UsageError
from cineloop.training.loader import spans, stream
from small_clips import noise
from small_clips import write as write_clip
from tiny_captioner import tiny_captioner
from v2t import train
from v2t.data import shards
from v2t.data.manifest_clips import read_clips
from v2t.data.shards import ShardSource, read_shards


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> bytes:
    return write_clip(noise(fps=6), tmp_path_factory.mktemp("video") / "clip.mp4").read_bytes()


def write(path: Path, members: dict[str, bytes], **changes) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            for key, value in changes.items():
                setattr(member, key, value)
            tar.addfile(member, io.BytesIO(data))
    return path


def fill(folder: Path, sizes: list[int], video: bytes) -> list[Path]:
    """Shards of so many samples; sample k of shard n says "n k"."""
    return [
        write(folder / f"{n:06}.tar", {f"{k:06}{ending}": data for k in range(size)
              for ending, data in ((".mp4", video), (".txt", f"{n} {k}".encode()))})
        for n, size in enumerate(sizes)
    ]  # fmt: skip


@pytest.fixture
def source(tmp_path, video) -> ShardSource:
    fill(tmp_path, [3, 5, 1, 7], video)
    return ShardSource(read_shards([tmp_path]), tiny_captioner()[1], 4, 512)


def test_two_nodes_of_two_workers_see_each_sample_once_a_pass(source):
    """Two epochs of 16 samples in steps of 8, over four processes; a run cut in the middle goes on with the rest."""
    for turn in range(2):
        seen = [[source.place(first + n) for first, count in spans(2 * turn, 2 * turn + 2, 8, 1, rank, 4)
                 for n in range(count)] for rank in range(4)]  # fmt: skip
        assert sorted(place for places in seen for place in places) == list(range(16))
    first, second = (source.order(turn).tolist() for turn in range(2))
    assert first != second
    shard = [int(source.clips[place].path.stem) for place in first]
    assert [n for k, n in enumerate(shard) if not k or shard[k - 1] != n] == list(
        dict.fromkeys(shard)
    )  # shard by shard
    fresh = ShardSource(source.clips, source.processor, 4, 512)
    assert [fresh.place(number) for number in range(19, 32)] == [source.place(number) for number in range(19, 32)]


@pytest.mark.slow
def test_worker_processes_give_the_batches_that_this_process_gives(source):
    plain, ahead = (list(stream(source, [(0, 2), (2, 2), (14, 2)], workers=workers)) for workers in (0, 2))
    for one, two in zip(plain, ahead, strict=True):
        assert one.keys() == two.keys() and all(bool((one[name] == two[name]).all()) for name in one)
        assert one["pixels"].shape[1:] == (4, 32, 32, 3) and one["replaced"].tolist() == [0, 0]
    said = source.processor.tokenizer.decode(plain[0]["input_ids"][0])
    clip = source.clips[source.place(0)]
    assert f"{int(clip.path.stem)} {int(clip.row['id'].split(':')[1])}<|im_end|>" in said


def test_a_bad_sample_is_replaced_by_the_next_of_its_shard_and_counted(tmp_path, video, caplog):
    members = {"a.mp4": b"no video", "a.txt": b"bad", "b.mp4": video, "b.json": b"{", "c.mp4": video, "c.txt": b"good"}
    write(tmp_path / "1.tar", members)
    processor = tiny_captioner()[1]
    skipping = ShardSource(read_shards([tmp_path / "1.tar"]), processor, 0, 512, "skip")
    numbers = {skipping.clips[skipping.place(number)].row["id"][-1]: number for number in range(3)}
    replaced = {key: skipping(number, 1) for key, number in numbers.items()}
    assert {key: batch["replaced"].tolist() for key, batch in replaced.items()} == {"a": [2], "b": [1], "c": [0]}
    assert all("good" in processor.tokenizer.decode(batch["input_ids"][0]) for batch in replaced.values())
    assert "1.tar:a gives way to the next of its shard" in caplog.text
    with pytest.raises(ItemError, match="1.tar:b: its words cannot be read"):
        ShardSource(skipping.clips, processor, 0, 512)(numbers["b"], 1)
    write(tmp_path / "2.tar", {"a.mp4": b"no video", "a.txt": b"bad"})
    with pytest.raises(ItemError, match="no sample of .*2.tar can be read"):
        ShardSource(read_shards([tmp_path / "2.tar"]), processor, 0, 512, "skip")(0, 1)


def test_words_come_from_json_or_text_and_large_members_are_not_read(tmp_path, video, monkeypatch):
    talk = [{"from": "human", "value": "What?"}, {"from": "gpt", "value": "That."}]
    words = json.dumps({"conversations": talk}).encode()
    members = {"x/a.mp4": video, "x/a.json": words, "x/b.json": b'{"caption": "C."}', "x/b.MP4": video,
               "lone.mp4": video, "lone.txt.bak": b"", "c.mp4": video, "c.json": b"{}"}  # fmt: skip
    clips = read_shards([write(tmp_path / "1.tar", members)])
    assert [clip.row["id"] for clip in clips] == ["1.tar:x/a", "1.tar:x/b", "1.tar:c"]
    assert clips[0].words()["conversations"] == talk and clips[1].words()["captions"] == ["C."]
    with pytest.raises(ItemError, match="neither conversations nor a caption"):
        clips[2].words()
    assert clips[1].read(".mp4") == video
    monkeypatch.setattr(shards, "MOST_BYTES", 10)
    with pytest.raises(ItemError, match="at most 10 are read"):
        clips[0].read(".mp4")


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [("/etc/a.mp4", {}, "a path that leaves it"), ("../a.mp4", {}, "a path that leaves it"),
     ("a.mp4", {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd", "size": 0}, "a link or a device"),
     ("a.mp4", {"type": tarfile.LNKTYPE, "linkname": "b", "size": 0}, "a link or a device"),
     ("a.mp4", {"type": tarfile.CHRTYPE, "size": 0}, "a link or a device")],
)  # fmt: skip
def test_unsafe_tars_are_refused(tmp_path, name, changes, message):
    path = write(tmp_path / "1.tar", {name: b"x"}, **changes)
    with pytest.raises(UsageError, match=f"1.tar holds {message}") as caught:
        read_shards([path])
    assert caught.value.code == "SHARD"


def test_cut_off_missing_and_empty_shards_are_named(tmp_path, video):
    (path,) = fill(tmp_path, [2], video)
    path.write_bytes(path.read_bytes()[: len(video) // 2])
    for bad in (path, tmp_path / "none.tar"):
        with pytest.raises(UsageError, match=f"{bad.name} is not a whole tar file"):
            read_shards([bad])
    with pytest.raises(UsageError, match="hold no sample"):
        read_shards([write(tmp_path / "empty.tar", {"a.txt": b"words"})])


def test_a_lance_set_is_refused_with_a_form_that_is_read(tmp_path, source):
    (tmp_path / "clips.lance" / "_versions").mkdir(parents=True)
    for read in (read_shards, read_clips):
        with pytest.raises(UsageError, match="clips.lance is a Lance set .*--write webdataset"):
            read([tmp_path / "clips.lance"])
    with pytest.raises(UsageError, match="is a WebDataset set and no manifest .name it under shards"):
        read_clips([tmp_path])


def test_a_changed_set_of_shards_has_another_identity(source, tmp_path, video):
    (tmp_path / "000002.tar").unlink()
    assert ShardSource(read_shards([tmp_path]), source.processor, 4, 512).identity != source.identity


@pytest.mark.slow
def test_a_captioner_trains_on_shards_in_packed_rows_and_resumes_with_the_same_ones(source, tmp_path, video):
    model, processor = tiny_captioner()
    model.save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    loop = {"steps": 2, "batch_size": 2, "workers": 0, "log_every": 1, "tensorboard": False}
    recipe = {"stage": "instruct", "model": str(tmp_path / "model"), "shards": [str(tmp_path)], "packing": True,
              "on_bad": "skip", "out": str(tmp_path / "run"), "loop": loop,
              "runtime": {"device": "cpu", "precision": "fp32", "threads": 1}}  # fmt: skip
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe))  # JSON is YAML
    assert train.run(tmp_path / "recipe.yaml") == 0
    (row, *_), more = (tmp_path / "run/log.jsonl").read_text().splitlines(), ["loop.steps=3"]
    assert json.loads(row)["replaced"] == 0.0
    write(tmp_path / "9.tar", {"a.mp4": video, "a.txt": b"more"})
    with pytest.raises(UsageError, match="the training data is not that of the checkpoint of step 2"):
        train.run(tmp_path / "recipe.yaml", sets=more, resume=True)
    (tmp_path / "9.tar").unlink()
    assert train.run(tmp_path / "recipe.yaml", sets=more, resume=True) == 0
