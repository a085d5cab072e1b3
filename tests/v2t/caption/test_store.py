"""Captions on an object store: segments that are only ever created, runs that die and go on, writers that meet."""

from __future__ import annotations

import json
import signal
import threading
from collections import Counter
from pathlib import Path

import pytest

import stand_in_engine
from cineloop import store as stores
from cineloop.cluster.settings import ClusterConfig
from object_store import CAPTIONER, OPTIONS, caption, in_background, journalled, rows_of, wait_for
from v2t.caption import run
from v2t.caption.settings import CaptionConfig
from v2t.cli import main

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("machine")]

NUM_CLIPS = 12


@pytest.fixture(scope="module")
def clips(coloured_clips) -> Path:
    return coloured_clips(NUM_CLIPS, folders=2)


# ---- what a run writes


def test_a_run_writes_one_segment_a_batch_and_the_file_of_the_whole(clips, s3, tmp_path):
    here = tmp_path / "here"
    assert main(["caption", str(clips), "-o", str(here), *OPTIONS]) == 0
    assert caption(clips, f"{s3.url}/captions") == 0
    objects = s3.objects()
    assert set(objects) - {f"captions/.v2t/journal/{n}" for n in s3.segments("captions/.v2t")} == {
        "captions/captions.jsonl", "captions/.v2t/config.yaml", "captions/.v2t/run.json", "captions/.v2t/sets.json",
        "captions/.v2t/create-only",
    }  # fmt: skip
    numbers = s3.segments("captions/.v2t")
    assert numbers == [f"{i + 1:06}.jsonl" for i in range(len(numbers))]
    batches = [data for name, data in objects.items() if "/journal/" in name and b'"kind":"clip"' in data]
    assert len(batches) == NUM_CLIPS / 2 and all(data.count(b'"kind":"clip"') == 2 for data in batches)
    same = [{**row, "seconds": 0} for row in rows_of((here / "captions.jsonl").read_bytes())]
    assert [{**row, "seconds": 0} for row in rows_of(objects["captions/captions.jsonl"])] == same
    written = [key for key in s3.written if "/journal/" in key]
    assert len(written) == len(set(written)) == len([key for key in objects if "/journal/" in key])


def test_a_second_run_does_nothing_and_writes_nothing(clips, s3):
    assert caption(clips, f"{s3.url}/captions") == 0
    before = s3.objects()
    assert caption(clips, f"{s3.url}/captions/") == 0
    assert s3.objects() == before


@pytest.mark.parametrize("prefix", ["", "/a b/ünïcode [1]*?#%20", "/deep/er//double"])
def test_any_prefix(clips, s3, prefix):
    assert caption(clips, s3.url + prefix, "--limit", "2") == 0
    assert caption(clips, s3.url + prefix) == 0
    key = f"{prefix[1:]}/captions.jsonl".lstrip("/")
    assert len(rows_of(s3.objects()[key])) == len(set(journalled(s3, prefix[1:]))) == NUM_CLIPS


def test_input_and_output_on_the_store(clips, s3, tmp_path):
    for path in clips.rglob("*.mp4"):
        s3.put(f"clips/{path.relative_to(clips)}", path.read_bytes())
    assert main(["caption", f"{s3.url}/clips", "-o", f"{s3.url}/clips", *OPTIONS]) == 0
    assert main(["caption", f"{s3.url}/clips", "-o", f"{s3.url}/clips", *OPTIONS]) == 0
    assert Counter(journalled(s3, "clips")).most_common(1)[0][1] == 1
    assert {row["status"] for row in rows_of(s3.objects()["clips/captions.jsonl"])} == {"ok"}


def test_an_uploaded_folder_goes_on_on_the_store(clips, s3, tmp_path):
    here = tmp_path / "here"
    assert main(["caption", str(clips), "-o", str(here), *OPTIONS, "--limit", "6"]) == 0
    for path in here.rglob("*"):
        if path.is_file():
            s3.put(f"captions/{path.relative_to(here)}", path.read_bytes())
    assert caption(clips, f"{s3.url}/captions") == 0
    assert len(rows_of(s3.objects()["captions/captions.jsonl"])) == NUM_CLIPS
    assert len(journalled(s3, "captions")) == NUM_CLIPS - 6


# ---- runs that die, writers that meet


def test_a_killed_run_goes_on(clips, s3, tmp_path):
    url, hold = f"{s3.url}/captions", tmp_path / "hold"
    hold.touch()
    for num_done in (4, 8):  # the batch in hand is the third each time
        process = in_background(clips, url, hold)
        wait_for(lambda num_done=num_done: len(journalled(s3, "captions")) >= num_done, process)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert caption(clips, url) == 0
    ids = journalled(s3, "captions")
    assert len(ids) == len(set(ids)) == NUM_CLIPS  # what was written is never done again
    assert len(rows_of(s3.objects()["captions/captions.jsonl"])) == NUM_CLIPS


def test_two_writers_of_one_name_lose_nothing(s3):
    store = stores.Store(f"{s3.url}/x")
    writers = [stores.Segments(store, ".v2t/journal") for _ in range(2)]

    def write(i: int) -> None:
        for j in range(10):
            writers[i].add(b"%d %d\n" % (i, j))

    threads = [threading.Thread(target=write, args=[i]) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    data = [value for name, value in s3.objects().items() if "journal" in name]
    assert sorted(data) == sorted(b"%d %d\n" % (i, j) for i in range(2) for j in range(10))
    for i in range(2):  # each in the order in which it wrote
        assert [line for line in data if line.startswith(b"%d " % i)] == [b"%d %d\n" % (i, j) for j in range(10)]


def test_two_runs_at_once_give_one_record_each(clips, s3, tmp_path):
    url, hold = f"{s3.url}/captions", tmp_path / "hold"
    hold.touch()
    first = in_background(clips, url, hold)
    wait_for(lambda: len(journalled(s3, "captions")) >= 4, first)
    assert caption(clips, url) == 0  # takes the numbers that the first one expects to take
    hold.unlink()
    assert first.wait() == 0
    numbers = s3.segments("captions/.v2t")
    assert numbers == [f"{i + 1:06}.jsonl" for i in range(len(numbers))]
    ids = Counter(journalled(s3, "captions"))
    assert len(ids) == NUM_CLIPS and set(ids.values()) == {1, 2}
    assert caption(clips, url) == 0
    assert len(rows_of(s3.objects()["captions/captions.jsonl"])) == NUM_CLIPS


def test_shards_status_and_merge(clips, s3, tmp_path, capsys):
    url = f"{s3.url}/captions"

    def status() -> dict:
        capsys.readouterr()
        assert main(["cluster", "status", url, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    assert caption(clips, url, "--shard", "1/2") == 0
    shown = status()
    assert [shard["state"] for shard in shown["shards"]] == ["finished", "waiting"] and shown["clips"] == NUM_CLIPS
    hold = tmp_path / "hold"
    hold.touch()
    process = in_background(clips, url, hold, "--shard", "2/2")
    wait_for(lambda: len(journalled(s3, "captions")) >= 5 + 2, process)
    assert [shard["state"] for shard in status()["shards"]] == ["finished", "running"]
    process.send_signal(signal.SIGTERM)
    hold.unlink()
    assert process.wait() == 130
    assert [shard["state"] for shard in status()["shards"]] == ["finished", "stopped"]
    assert caption(clips, url) == 2 and "UNMERGED" in capsys.readouterr().err
    assert caption(clips, url, "--shard", "2/2") == 0
    assert f"all 2 shards are done; v2t merge {url} joins them" in capsys.readouterr().err
    assert main(["merge", url]) == 0
    assert "12 captioned" in capsys.readouterr().out
    before = s3.objects()
    assert len(rows_of(before["captions/captions.jsonl"])) == NUM_CLIPS
    assert main(["merge", url]) == 0 and s3.objects() == before
    assert main(["merge", url, "-o", str(tmp_path / "here"), "--format", "txt,jsonl"]) == 0
    assert len(list((tmp_path / "here").rglob("*.txt"))) == NUM_CLIPS
    assert s3.objects() == before


# ---- a cluster


def placed(clips: Path, url: str, engine: str):
    sizes = {"decode_workers": "1..2", "model_workers": "1..2"} if engine == "ray" else {}
    cluster = ClusterConfig(engine=engine, **sizes)
    config = CaptionConfig(model="colours", captioner=str(CAPTIONER), batch_size=2, workers=1, cluster=cluster)
    return run.run([str(clips)], url, config)


def test_workers_of_a_cluster_write_segments_of_their_own(clips, engines, s3, tmp_path, monkeypatch):
    assert caption(clips, f"{s3.url}/plain") == 0
    url, written = f"{s3.url}/captions", []
    create = stores.Store.create

    def noted(self, name: str, data: bytes) -> bool:
        written.append(f"{self.url}/{name}")
        return create(self, name, data)

    monkeypatch.setattr(stores.Store, "create", noted)
    assert placed(clips, url, "ray").exit_code == 0 and len(engines) == 1
    theirs = [name for name in written if "/.v2t/ray-" in name]
    assert len(theirs) > NUM_CLIPS / 2 and all("/journal/" in name for name in theirs)
    objects = s3.objects()
    assert not [name for name in objects if "/ray-" in name]  # all that was in them is in the journal of the whole
    same = [{**row, "seconds": 0} for row in rows_of(objects["plain/captions.jsonl"])]
    assert [{**row, "seconds": 0} for row in rows_of(objects["captions/captions.jsonl"])] == same


@pytest.mark.parametrize("engine", ["none", "ray"])
def test_what_a_dead_driver_of_a_cluster_left_is_taken_over(clips, engines, s3, monkeypatch, engine):
    url = f"{s3.url}/captions"
    with monkeypatch.context() as patched, pytest.raises(stand_in_engine.DeadDriver):
        stand_in_engine.die_at(patched, run.CaptionFolder, "write")
        placed(clips, url, "ray")
    answered = set(journalled(s3, "captions"))
    assert answered and [name for name in s3.objects() if "/ray-" in name]
    summary = placed(clips, url, engine)
    assert summary.done_before == len(answered) and summary.num_captioned == NUM_CLIPS - len(answered)
    assert not [name for name in s3.objects() if "/ray-" in name]
    assert len(journalled(s3, "captions")) == len(set(journalled(s3, "captions"))) == NUM_CLIPS
