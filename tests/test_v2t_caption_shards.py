"""Shards: four processes, one killed; workers that take over; whose is what, and who holds it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cineloop import lease as leases
from cineloop.errors import UsageError
from cineloop.lease import Lease, LeaseLostError, holder
from v2t.caption.inputs import discover
from v2t.caption.merge import merge
from v2t.caption.settings import CaptionConfig
from v2t.caption.shards import Share, are_done, shard_of

NUM_CLIPS = 48

# Runs of the true job, by another Python that imports once and forks for each; captions are read off the pixels. A
# line on its stdin begins a run (clips, out, shard, lease_s, seconds a batch takes, the machine it pretends to be) and
# is answered by a process id; a process id is answered by its exit code.
DRIVER = """
import json, os, sys, time
from concurrent.futures import Future
from pathlib import Path
from cineloop import lock
from v2t.caption import job
from v2t.caption import run as caption
from v2t.captioners import CaptionOutput
from v2t.captioners.abilities import Abilities
from cineloop.video.decode import Request, decode
from cineloop.video.sample import SampleSpec

class Captioner:
    name, revision, spec, frame_size, concurrency = "colour", "1", SampleSpec(num_frames=2), (16, 16), 1
    abilities = Abilities()
    def load(self): pass
    def answer(self, conversations, decoding):
        batch = [conversation[0].videos[0] for conversation in conversations]
        time.sleep(self.batch_s)
        means = [frames.pixels.mean(axis=(0, 1, 2)) for frames in batch]
        return [CaptionOutput(text="It is " + ("red", "green", "blue")[int(m.argmax())] + ".", tokens=3) for m in means]

class Here:
    def __init__(self, num_workers, limits, decoders): pass
    def __enter__(self): return self
    def __exit__(self, *exc): pass
    def submit(self, path, spec, size):
        future = Future()
        future.set_result(decode(os.fsencode(path), Request(spec=spec, size=size)))
        return future

def run(clips, out, shard, lease_s, batch_s, elsewhere):
    if elsewhere:
        lock._machine = lambda: elsewhere
    captioner = Captioner()
    captioner.batch_s = batch_s
    config = caption.CaptionConfig(batch_size=2, workers=1, shard=shard or None, lease_s=lease_s)
    return caption.run([clips], Path(out), config, captioner=captioner).exit_code

job.DecoderPool = Here
decode(os.fsencode(sys.argv[1]), Request(spec=SampleSpec()))
print("ready", flush=True)
for line in sys.stdin:
    words = json.loads(line)
    if isinstance(words, int):
        print(os.waitstatus_to_exitcode(os.waitpid(words, 0)[1]), flush=True)
    elif child := os.fork():
        print(child, flush=True)
    else:
        try:
            code = run(*words)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            code = 99
        os._exit(code)
"""


@pytest.fixture(scope="module")
def clips(coloured_clips) -> Path:
    return coloured_clips(NUM_CLIPS, folders=3)


class Driver:
    """Begins runs and waits for their ends."""

    def __init__(self, process: subprocess.Popen, clips: Path) -> None:
        self.process, self.clips = process, clips
        assert process.stdout is not None and process.stdout.readline() == "ready\n"

    def begin(self, out: Path, shard: str, *, lease_s: float = 60, batch_s: float = 0, elsewhere: str = "") -> int:
        return self._ask([str(self.clips), str(out), shard, lease_s, batch_s, elsewhere])

    def end(self, run: int) -> int:
        return self._ask(run)

    def whole_run(self, out: Path, shard: str, **options) -> int:
        return self.end(self.begin(out, shard, **options))

    def kill(self, run: int) -> None:
        os.kill(run, signal.SIGKILL)
        assert self.end(run) == -signal.SIGKILL

    def _ask(self, words) -> int:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(words) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())


@pytest.fixture(scope="module")
def driver(clips) -> Iterator[Driver]:
    command = [sys.executable, "-c", DRIVER, str(next(clips.rglob("*.mp4")))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Driver(process, clips)
        process.kill()


def lines_of(journal: Path) -> int:
    return journal.read_bytes().count(b'"kind":"clip"') if journal.exists() else 0


def wait_for(condition) -> None:
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.005)


def whole(out: Path) -> tuple[str, dict[str, bytes]]:
    """captions.jsonl without what tells the time, and all sidecars."""
    text = re.sub(r'"seconds": [0-9.e-]+', '"seconds": 0', (out / "captions.jsonl").read_text())
    return text, {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*.txt")}


@pytest.fixture(scope="module")
def single(driver, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("single") / "out"
    assert driver.whole_run(out, "") == 0
    assert len(whole(out)[1]) == NUM_CLIPS and '"seconds": 0' in whole(out)[0]
    return out


def test_four_shards_in_four_processes_one_killed_and_restarted_equal_the_single_run(driver, clips, single, tmp_path):
    out = tmp_path / "out"
    second = out / ".v2t/shard-2-of-4/1/journal.jsonl"
    one, two, three, four = (driver.begin(out, f"{i}/4", batch_s=0.2 if i == 2 else 0) for i in range(1, 5))
    wait_for(lambda: lines_of(second) >= 4)
    driver.kill(two)
    assert [driver.end(run) for run in (one, three, four)] == [0, 0, 0]
    assert not (out / "captions.jsonl").exists()
    early = merge([out])
    assert early.missing == ["2/4 (not finished)"] and early.exit_code == 3 and early.clips < NUM_CLIPS
    done = lines_of(second)
    assert driver.whole_run(out, "2/4") == 0
    group = [clip for clip in discover([str(clips)]) if shard_of(clip.id, 4) == 2]
    assert done + lines_of(out / ".v2t/shard-2-of-4/2/journal.jsonl") == len(group)  # what was done stayed done
    merged = merge([out])
    assert merged.exit_code == 0 and merged.missing == [] and merged.clips == NUM_CLIPS
    assert whole(out) == whole(single)
    before = (out / ".v2t/journal.jsonl").read_bytes()
    assert merge([out]).taken == 0 and (out / ".v2t/journal.jsonl").read_bytes() == before
    assert driver.whole_run(out, "") == 0
    assert (out / ".v2t/journal.jsonl").read_bytes() == before and whole(out) == whole(single)


@pytest.mark.slow
def test_a_worker_takes_over_the_block_of_one_that_died_on_another_machine(driver, single, tmp_path):
    out = tmp_path / "out"
    killed = driver.begin(out, "auto/4", lease_s=1.5, batch_s=0.3, elsewhere="another machine")
    wait_for(lambda: any(lines_of(path) >= 2 for path in out.glob(".v2t/*/1/journal.jsonl")))
    driver.kill(killed)
    assert driver.whole_run(out, "auto/4", lease_s=60) == 0  # the holder's own 1.5 s count
    turns = {place.name: len(list(place.glob("[0-9]*"))) for place in (out / ".v2t").glob("shard-*")}
    assert sorted(turns.values()) == [1, 1, 1, 2]
    assert sum(lines_of(path) for path in out.glob(".v2t/*/*/journal.jsonl")) == NUM_CLIPS  # none twice
    assert merge([out]).exit_code == 0 and whole(out) == whole(single)


def test_workers_share_the_blocks_and_the_last_waits_for_the_others(driver, single, tmp_path):
    out = tmp_path / "out"
    runs = [driver.begin(out, "auto/6", lease_s=4, batch_s=0.02) for _ in range(2)]
    assert [driver.end(run) for run in runs] == [0, 0]
    assert are_done(out, 6) and sum(lines_of(path) for path in out.glob(".v2t/*/*/journal.jsonl")) == NUM_CLIPS
    assert merge([out]).exit_code == 0 and whole(out) == whole(single)


# ---- whose is what


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), unique=True), st.integers(1, 50))
def test_shards_are_disjoint_and_complete(ids, of):
    every = [[clip_id for clip_id in ids if shard_of(clip_id, of) == index] for index in range(1, of + 1)]
    assert sorted(sum(every, [])) == sorted(ids)


def test_the_hash_is_the_same_for_ever():
    # printf 'a/b.mp4' | sha256sum, the first 16 digits as a number, modulo n, plus 1
    assert [shard_of("a/b.mp4", of) for of in (1, 4, 64, 1000)] == [1, 4, 60, 804]
    assert shard_of("größe.mp4", 1000) == 201


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "1/0", "auto/0", "auto/", "a/4", "1/4 ", "-1/4", "1/999999"])
def test_a_share_that_makes_no_sense_is_refused(text):
    with pytest.raises(UsageError, match="2/4"):
        CaptionConfig(shard=text)


def test_settings_that_do_not_go_with_shards_are_refused():
    assert Share.parse("auto") == Share(of=64, index=None) and Share.parse("2/4") == Share(of=4, index=2)
    for options in ({"overwrite_edited": True}, {"shard": "auto", "retry_failed": True}, {"lease_s": 0}):
        with pytest.raises(UsageError):
            CaptionConfig(**{"shard": "1/2", **options})


# ---- leases


def test_of_many_that_want_a_place_one_gets_it(tmp_path, monkeypatch):
    together, looks = threading.Barrier(16), iter(range(16))

    def look(place: Path) -> dict:
        if next(looks, None) is not None:
            together.wait()  # all see it free before any takes it
            return {}
        return holder(place)

    monkeypatch.setattr(leases, "holder", look)

    def claim(number: int) -> str:
        try:
            return str(Lease(tmp_path / "place", 60).__enter__().turn.name)
        except UsageError as error:
            return error.code

    with ThreadPoolExecutor(16) as threads:
        got = sorted(threads.map(claim, range(16)))
    assert got == ["1", *["LOCKED"] * 15]


def test_a_lease_lives_by_its_heartbeat_and_by_the_clock_of_the_files(tmp_path, monkeypatch):
    place = tmp_path / "place"
    monkeypatch.setattr(leases, "is_dead", lambda owner: False)  # as seen from another machine
    with Lease(place, 0.6) as lease:
        monkeypatch.setattr(time, "time", lambda: 1e6)  # a machine whose clock is decades off
        time.sleep(1)
        assert holder(place)["pid"] == os.getpid()  # its thread touched the file
        with pytest.raises(UsageError, match=f"process {os.getpid()}") as caught, Lease(place):
            pass
        assert caught.value.code == "LOCKED"
        lease._ending.set()
        time.sleep(0.9)
        with Lease(place, 60) as other:
            assert (other.turn.name, [turn.name for turn in other.before]) == ("2", ["1"])
            with pytest.raises(LeaseLostError):
                lease.beat()
            other.beat()
    with Lease(place, 60):  # given back, so free at once
        pass


def test_a_killed_process_of_this_machine_frees_its_place_at_once(tmp_path):
    script = (
        "import os, sys\nfrom pathlib import Path\nfrom cineloop.lease import Lease\n"
        "Lease(Path(sys.argv[1]), 1000).__enter__()\nos.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "place")], check=False)
    with Lease(tmp_path / "place", 1000) as lease:
        assert lease.turn.name == "2"
