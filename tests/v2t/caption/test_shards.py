"""Shards: four processes, one killed and started again; which clips are whose."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cineloop.discovery import discover
from coloured_captions import ENV
from refusals import refusal_code
from v2t.caption.merge import merge
from v2t.caption.settings import CaptionConfig
from v2t.caption.shards import are_done, holder, parse, shard_of

NUM_CLIPS = 48

# Runs of the true job, by another Python that imports once and forks for each; captions are read off the pixels. A
# line on its stdin begins a run (clips, out, shard, seconds a batch takes) and is answered by a process id; a process
# id is answered by its exit code.
DRIVER = """
import json, os, sys
from pathlib import Path
from cineloop.video.decode import Request, decode
from cineloop.video.sample import SampleSpec
from coloured_captions import ColourCaptioner
from decoder_here import Pool
from v2t.caption import job
from v2t.caption import run as caption

def run(clips, out, shard, batch_s):
    config = caption.CaptionConfig(batch_size=2, workers=1, shard=shard or None)
    return caption.run([clips], Path(out), config, captioner=ColourCaptioner(batch_s)).exit_code

job.DecoderPool = Pool
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

    def begin(self, out: Path, shard: str, *, batch_s: float = 0) -> int:
        return self._ask([str(self.clips), str(out), shard, batch_s])

    def end(self, run: int) -> int:
        return self._ask(run)

    def whole_run(self, out: Path, shard: str) -> int:
        return self.end(self.begin(out, shard))

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
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=ENV) as process:
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


@pytest.mark.slow
def test_four_shards_in_four_processes_one_killed_and_restarted_equal_the_single_run(driver, clips, single, tmp_path):
    out = tmp_path / "out"
    second = out / ".v2t/shard-2-of-4/journal.jsonl"
    one, two, three, four = (driver.begin(out, f"{i}/4", batch_s=0.2 if i == 2 else 0) for i in range(1, 5))
    wait_for(lambda: lines_of(second) >= 4)
    driver.kill(two)
    assert [driver.end(run) for run in (one, three, four)] == [0, 0, 0]
    assert not (out / "captions.jsonl").exists()
    early = merge([out])
    assert early.missing == ["2/4 (not finished)"] and early.exit_code == 3 and early.clips < NUM_CLIPS
    done, kept = lines_of(second), second.read_bytes()
    assert driver.whole_run(out, "2/4") == 0 and are_done(out, 4)
    group = [clip for clip in discover([str(clips)]) if shard_of(clip.id, 4) == 2]
    assert second.read_bytes().startswith(kept) and 0 < done < lines_of(second) == len(
        group
    )  # what was done stayed done
    merged = merge([out])
    assert merged.exit_code == 0 and merged.missing == [] and merged.clips == NUM_CLIPS
    assert whole(out) == whole(single)
    before = (out / ".v2t/journal.jsonl").read_bytes()
    assert merge([out]).taken == 0 and (out / ".v2t/journal.jsonl").read_bytes() == before
    assert driver.whole_run(out, "") == 0
    assert (out / ".v2t/journal.jsonl").read_bytes() == before and whole(out) == whole(single)


# ---- whose is what


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), unique=True), st.integers(1, 50))
def test_shards_are_disjoint_and_complete(ids, of):
    every = [[clip_id for clip_id in ids if shard_of(clip_id, of) == index] for index in range(1, of + 1)]
    assert sorted(sum(every, [])) == sorted(ids)


def test_the_hash_is_the_same_for_ever():
    # printf 'a/b.mp4' | sha256sum, the first 16 digits as a number, modulo n, plus 1
    assert [shard_of("a/b.mp4", of) for of in (1, 4, 64, 1000)] == [1, 4, 60, 804]
    assert shard_of("größe.mp4", 1000) == 201


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "1/0", "auto", "auto/64", "a/4", "1/4 ", "-1/4", "1/999999"])
def test_a_share_that_makes_no_sense_is_refused(text):
    assert refusal_code(CaptionConfig, shard=text) == (2, "USAGE")


def test_a_shard_keeps_what_a_person_edited():
    assert parse("2/4") == (2, 4)
    assert refusal_code(CaptionConfig, shard="1/2", overwrite_edited=True) == (2, "USAGE")


def test_a_shard_looks_only_at_its_own_files(tmp_path, monkeypatch):
    names = [f"part{i % 3}/{i}.mp4" for i in range(60)]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    looked, stat = [], os.stat
    monkeypatch.setattr(
        "cineloop.discovery.os.stat", lambda file, **more: looked.append(str(file)) or stat(file, **more)
    )
    of_shard = discover([str(tmp_path)], holds=holder("2/4"))
    mine = [clip for clip in of_shard if shard_of(clip.id, 4) == 2]
    files = [name for name in looked if name.endswith(".mp4")]
    assert sorted(files) == sorted(clip.file for clip in mine) and 0 < len(mine) < 30
    whole = discover([str(tmp_path)])
    assert [clip.id for clip in of_shard] == [clip.id for clip in whole]
    assert mine == [clip for clip in whole if shard_of(clip.id, 4) == 2]
