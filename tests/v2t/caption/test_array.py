"""The Slurm array that `v2t cluster print` writes, run for real by stand-ins: a drain, a kill, a failed clip, a retry.

Four processes of the bundled captioner caption one folder. One gets the signal that comes before the time limit, and
queues itself again; one is killed; one has a clip that is no video. A second array does what the first left.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

import held_captioner
import slurm_stand_in
from cineloop.journal import Journal
from cineloop.world.scenes.corpus import write_world
from v2t.caption.merge import merge
from v2t.caption.shards import shard_of
from v2t.caption.status import status_of
from v2t.cli import main

NUM_CLIPS, NUM_SHARDS, BATCH = 40, 4, 2
HELD = Path(held_captioner.__file__)
DRAINED, KILLED, BROKEN = 1, 2, 3  # numbers of shards


@pytest.fixture
def clips(tmp_path) -> Path:
    """Copies of four clips of the world, and one file that is no video, in the third shard."""
    write_world(4, 7, "seen", (128, 128), 8, (1.0, 1.5), tmp_path / "world")
    made = sorted((tmp_path / "world").glob("*.mp4"))
    (tmp_path / "clips").mkdir()
    for number in range(NUM_CLIPS):
        shutil.copyfile(made[number % 4], tmp_path / "clips" / f"{number:03}-{number % 4}.mp4")
    broken = next(f"broken-{i}.mp4" for i in range(99) if shard_of(f"broken-{i}.mp4", NUM_SHARDS) == BROKEN)
    (tmp_path / "clips" / broken).write_bytes(b"no video")
    return tmp_path / "clips"


def entries(out: Path, shard: int) -> list[dict]:
    path = out / f".v2t/shard-{shard}-of-{NUM_SHARDS}/journal.jsonl"
    with Journal(path, writable=False) as journal:
        return [entry for entry, _ in journal.replay()]


def records(out: Path, shard: int) -> list[list[str]]:
    """Ids of a shard's records, by its starts."""
    starts: list[list[str]] = []
    for entry in entries(out, shard):
        if entry["kind"] == "run":
            starts.append([])
        elif entry["kind"] == "clip":
            starts[-1].append(entry["record"]["id"])
    return starts


def wait_for(path: Path, sbatch: subprocess.Popen) -> None:
    while not path.exists():
        assert sbatch.poll() is None
        time.sleep(0.01)


def wait_for_text(log: Path, text: str, sbatch: subprocess.Popen) -> None:
    while text not in log.read_text():
        assert sbatch.poll() is None
        time.sleep(0.01)


def ends(env: dict[str, str]) -> dict[int, list[int]]:
    """Exit codes of each task, in order."""
    found: dict[int, list[int]] = {}
    for line in (Path(env["SLURM_STAND_IN"]) / "ends.jsonl").read_text().splitlines():
        end = json.loads(line)
        found.setdefault(end["task"], []).append(end["code"])
    return found


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.xdist_group("machine")
def test_an_array_is_drained_killed_and_retried_and_every_clip_has_one_record(clips, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    out, env = tmp_path / "out", slurm_stand_in.install(tmp_path / "bin")
    state = Path(env["SLURM_STAND_IN"])
    line = "cluster print slurm --nodes 4 --cpus 1 --gpus 0 -- v2t caption clips -o out --format jsonl --workers 1"
    assert main([*line.split(), "--batch-size", str(BATCH), "--captioner", str(HELD)]) == 0
    Path("job.sbatch").write_text(capsys.readouterr().out)
    warning = re.search(r"--signal=B:(\w+)@", Path("job.sbatch").read_text())
    assert warning is not None

    for shard in (DRAINED, KILLED):
        (state / f"hold-{shard}").touch()
    with subprocess.Popen(["sbatch", "job.sbatch"], env=env) as sbatch:
        wait_for(state / f"held-{DRAINED}", sbatch)
        os.kill(int((state / f"task-{DRAINED}").read_text()), signal.Signals[f"SIG{warning[1]}"])
        wait_for(state / f"held-{KILLED}", sbatch)
        lock = out / f".v2t/shard-{KILLED}-of-{NUM_SHARDS}/lock"
        os.kill(json.loads(lock.read_text())["pid"], signal.SIGKILL)
        (state / f"hold-{KILLED}").unlink()
        wait_for_text(state.parent.parent / f"v2t-caption-1_{DRAINED}.log", "stopping after the batch in hand", sbatch)
        (state / f"hold-{DRAINED}").unlink()
        assert sbatch.wait() == 0
    assert ends(env) == {1: [130, 0], 2: [128 + signal.SIGKILL], 3: [3], 4: [0]}
    assert list(map(len, records(out, DRAINED)))[0] == 2 * BATCH  # what was in hand is saved
    assert list(map(len, records(out, KILLED))) == [BATCH]
    status = status_of(out)
    assert [row.state for row in status.shards] == ["finished", "lost", "finished", "finished"]
    assert status.retry == [KILLED, BROKEN] and status.failed == 1
    assert status.lost == NUM_CLIPS + 1 - status.done - status.failed > 0

    shutil.copyfile(next((tmp_path / "world").glob("*.mp4")), next(clips.glob("broken-*.mp4")))
    assert main(["cluster", "status", "out", "--retry"]) == 0
    array = capsys.readouterr().out.strip()
    again = ["sbatch", f"--array={array}", "job.sbatch", "--retry-failed"]
    assert subprocess.run(again, env=env, timeout=600, check=False).returncode == 0
    assert ends(env) == {1: [130, 0], 2: [128 + signal.SIGKILL, 0], 3: [3, 0], 4: [0]}
    assert not status_of(out).retry

    merged = merge([out])
    assert (merged.exit_code, merged.clips, merged.ok, merged.missing) == (0, NUM_CLIPS + 1, NUM_CLIPS + 1, [])
    rows = [json.loads(row) for row in (out / "captions.jsonl").read_text().splitlines()]
    assert sorted(row["id"] for row in rows) == sorted(path.name for path in clips.iterdir())
    for copy in range(4):
        assert len({row["caption"] for row in rows if row["id"].endswith(f"-{copy}.mp4")} - {None}) == 1
    done = Counter(clip_id for shard in range(1, 5) for clip_id in sum(records(out, shard), []))
    twice = [clip_id for clip_id, count in done.items() if count > 1]
    assert [clip_id.split("-")[0] for clip_id in twice] == ["broken"]  # what is saved is never done again

    of_shards = [sum(shard_of(row["id"], NUM_SHARDS) == i + 1 for row in rows) for i in range(NUM_SHARDS)]
    starts = [[count] for count in of_shards]
    starts[DRAINED - 1] = [2 * BATCH, of_shards[DRAINED - 1] - 2 * BATCH]
    starts[KILLED - 1] = [BATCH, of_shards[KILLED - 1] - BATCH]
    starts[BROKEN - 1] = [of_shards[BROKEN - 1], 1]  # the failed clip, once more
    assert [list(map(len, records(out, shard))) for shard in range(1, NUM_SHARDS + 1)] == starts
