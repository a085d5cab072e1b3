"""What `v2t cluster status` reads from journals: counts, states, speed, time left, shards to start again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from cineloop.clip import Clip
from cineloop.errors import EXIT_NOTHING_MATCHED
from cineloop.journal import Journal
from cineloop.lock import FolderLock, me
from v2t.caption.ledger import clip_entry, run_entry
from v2t.caption.merge import merge
from v2t.caption.shards import JOURNAL, LOCK, Shard, shard_of
from v2t.caption.status import duration, status_of
from v2t.cli import main

LISTING = [Clip(f"{i}.mp4", f"{i}.mp4", "") for i in range(40)]


def begin(out: Path, index: int, *, done: int, failed: int = 0, host: str = "", every_s: float = 0.5) -> Shard:
    """A shard's journal: a run that began at second 1000, then a record every half second."""
    shard = Shard(out, f"{index}/4", LISTING)
    shard.state.mkdir(parents=True, exist_ok=True)
    (shard.state / LOCK).touch()
    with Journal(shard.state / JOURNAL) as journal:
        run = run_entry(listed=len(LISTING), clips=len(shard.clips))
        journal.append([{**run, "at": 1000.0, **({"host": host} if host else {})}])
        for number, clip in enumerate(shard.clips[: done + failed], 1):
            record = {"id": clip.id, "path": clip.path, "status": "ok" if number <= done else "failed", "segments": []}
            record |= {"caption": "A clip.", "error": None, "warnings": []}
            journal.append([clip_entry(record, "k", {}, {}, {}, 1000.0 + number * every_s)])
    return shard


@pytest.fixture
def out(tmp_path) -> Path:
    """One shard finished with a failed clip, one that runs, one killed; the fourth was never started."""
    out = tmp_path / "out"
    sizes = [sum(shard_of(clip.id, 4) == index for clip in LISTING) for index in range(1, 5)]
    begin(out, 1, done=sizes[0] - 1, failed=1, host="one").finish()
    begin(out, 2, done=4, host="two")
    killed = begin(out, 3, done=3, host="one")
    (killed.state / LOCK).write_text(json.dumps({**me(), "pid": 2**22 + 1}))
    return out


def test_states_counts_speed_and_time_left(out):
    sizes = [sum(shard_of(clip.id, 4) == index for clip in LISTING) for index in range(1, 5)]
    with FolderLock(out / ".v2t/shard-2-of-4" / LOCK):
        status = status_of(out)
    rows = {row.name: (row.state, row.clips, row.done, row.failed, row.starts, row.node) for row in status.shards}
    assert rows == {
        "1/4": ("finished", sizes[0], sizes[0] - 1, 1, 1, "one"),
        "2/4": ("running", sizes[1], 4, 0, 1, "two"),
        "3/4": ("lost", sizes[2], 3, 0, 1, "one"),
        "4/4": ("waiting", 0, 0, 0, 0, ""),
    }
    assert (status.clips, status.done, status.failed) == (40, sizes[0] - 1 + 4 + 3, 1)
    assert (status.in_hand, status.lost, status.waiting) == (sizes[1] - 4, sizes[2] - 3, sizes[3])
    assert status.per_s == pytest.approx(2.0) and status.left_s == pytest.approx((sizes[1] - 4) / 2.0)
    assert status.retry == [1, 3, 4]
    assert status.nodes["two"] == {"running": 1, "done": 4, "failed": 0, "per_s": 2.0}
    assert status.nodes["one"]["done"] == sizes[0] - 1 + 3


def test_a_run_that_was_started_again_is_as_fast_as_its_last_start(out):
    with Journal(out / ".v2t/shard-2-of-4" / JOURNAL) as journal:
        journal.append([{**run_entry(listed=40, clips=9), "at": 5000.0, "host": "three"}])
    with FolderLock(out / ".v2t/shard-2-of-4" / LOCK):
        (row,) = [row for row in status_of(out).shards if row.state == "running"]
    assert (row.node, row.starts, row.per_s, row.done) == ("three", 2, 0.0, 4)
    assert status_of(out).shards[1].state == "stopped"  # it let go of its lock in order


def test_the_verb_prints_a_table_json_and_the_numbers_for_an_array(out, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    assert main(["cluster", "status", str(out), "--retry"]) == 0
    assert capsys.readouterr().out == "1,2,3,4\n"
    assert main(["cluster", "status", str(out), "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["retry"] == [1, 2, 3, 4] and len(values["shards"]) == 4 and values["left_s"] is None
    assert values["done"] + values["failed"] + values["in_hand"] + values["lost"] + values["waiting"] == 40
    assert main(["cluster", "status", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["shard", "node", "state", "starts", "clips", "done", "failed", "clips/s"]
    assert "lost" in next(line for line in lines if line.startswith("3/4"))
    assert "40 clips:" in lines[-1] and "1 failed" in lines[-1]


def test_what_was_merged_counts_once_and_a_folder_without_a_run_is_refused(out, tmp_path, capsys):
    before = status_of(out)
    merge([out])
    after = status_of(out)
    assert (after.done, after.failed, after.retry) == (before.done, before.failed, before.retry)
    assert main(["cluster", "status", str(tmp_path)]) == EXIT_NOTHING_MATCHED
    assert "error NOTHING_MATCHED: " in capsys.readouterr().err


def test_workers_of_a_cluster_have_what_they_began_and_share_the_rest(tmp_path):
    state = tmp_path / "out/.v2t"
    places = [state / "ray-1/model-1", state / "ray-1/model-2"]
    state.mkdir(parents=True)
    with Journal(state / JOURNAL) as journal:
        journal.append([{**run_entry(listed=40, clips=40), "at": 1000.0}])
    for number, place in enumerate(places):
        place.mkdir(parents=True)
        with Journal(place / JOURNAL) as journal:
            journal.append([{"kind": "run", "at": 1001.0, "host": f"node-{number}", "listed": 0, "clips": 0}])
            journal.append([{"kind": "begun", "ids": [clip.id for clip in LISTING[number * 5 : number * 5 + 5]]}])
            for clip in LISTING[number * 5 : number * 5 + 4]:
                record = {"id": clip.id, "path": clip.path, "status": "ok", "segments": []}
                journal.append([clip_entry(record, "k", {}, {}, {}, 1003.0)])
    (places[1] / LOCK).write_text(json.dumps({**me(), "pid": 2**22 + 1}))
    with FolderLock(places[0] / LOCK):
        status = status_of(tmp_path / "out")
    assert [(row.name, row.state, row.done, row.left) for row in status.shards] == [
        ("ray-1/model-1", "running", 4, 1),
        ("ray-1/model-2", "lost", 4, 1),
    ]
    assert (status.clips, status.done, status.in_hand, status.lost, status.waiting) == (40, 8, 1, 1, 30)
    assert status.per_s == 2.0 and status.left_s == 16.0 and status.retry == []


def test_a_plain_run_is_one_row(out):
    state = out / ".v2t"
    merge([out])
    for place in state.glob("shard-*"):
        shutil.rmtree(place)
    (row,) = status_of(out).shards
    assert (row.name, row.state, row.done + row.failed, row.clips) == (".", "finished", 16, 16)
    with Journal(state / JOURNAL) as journal:
        journal.append([run_entry(listed=40, clips=40)])
    status = status_of(out)
    assert (status.shards[0].state, status.shards[0].left, status.waiting) == ("stopped", 24, 24)


def test_durations():
    assert [duration(s) for s in (40, 119, 720, 11100, 4 * 86400 + 7300)] == ["40 s", "2 min", "12 min", "3 h 5 min",
                                                                              "4 d 2 h"]  # fmt: skip
