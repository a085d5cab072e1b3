"""A run on a true cluster of ray into a bucket: workers write segments, and what a killed driver began is finished."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from cineloop.journal import decode_entry
from object_store import CAPTIONER, Bucket, journalled, rows_of, wait_for
from ray_nodes import Nodes

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("ray"), pytest.mark.timeout(1800)]
NUM_CLIPS, BATCH, NUM_MODELS = 18, 2, 2
HELD = 2 * BATCH * NUM_MODELS  # clips that are answered when each model worker waits before its third batch
WAIT_S = 900.0


@pytest.fixture
def hold(tmp_path, monkeypatch) -> Path:
    """The file that makes captioners wait, for the workers of `nodes` too."""
    monkeypatch.setenv("HOLD_CAPTIONS", str(tmp_path / "hold"))
    return tmp_path / "hold"


@pytest.fixture
def nodes(hold, s3):  # after both, whose environment its workers have
    pytest.importorskip("ray", reason="ray is not installed")
    try:
        cluster = Nodes(2)
    except RuntimeError as error:
        pytest.skip(str(error))
    yield cluster
    cluster.close()


def command(clips: Path, out: str, *more: str) -> list[str]:
    words = ["caption", str(clips), "-o", out, "--captioner", str(CAPTIONER), "--model", "m1"]
    return [sys.executable, "-m", "v2t", *words, "--batch-size", str(BATCH), "--format", "jsonl", *more]


def writers(s3: Bucket) -> dict[int, str]:
    """Process → its segments' folder, of all workers that wrote."""
    found = {}
    for name, data in s3.objects().items():
        for entry in map(decode_entry, data.splitlines()) if "/ray-" in name and "/journal/" in name else ():
            if entry["kind"] == "run":
                found[entry["pid"]] = name.rpartition("/")[0]
    return found


def captions(rows: list[dict]) -> list[tuple]:
    return [(row["id"], row["status"], row["caption"], row["frame_times_s"]) for row in rows]


@pytest.mark.long
def test_the_driver_is_killed_and_the_next_one_goes_on(coloured_clips, nodes, s3, hold, tmp_path):
    clips = coloured_clips(NUM_CLIPS, folders=2)
    assert subprocess.run(command(clips, str(tmp_path / "plain")), env=nodes.env, check=False).returncode == 0
    plain = rows_of((tmp_path / "plain/captions.jsonl").read_bytes())

    hold.touch()
    size = ["--cluster", "ray", "--decode-workers", "1", "--model-workers", str(NUM_MODELS)]
    words = command(clips, f"{s3.url}/captions", *size)
    first = subprocess.Popen(words, env=nodes.env, stdout=subprocess.DEVNULL)
    # Each record twice: in the segments of its worker and, where the driver came so far, in those of the whole.
    wait_for(lambda: len(set(journalled(s3, "captions"))) == HELD, first)
    theirs = writers(s3)
    assert len(theirs) == len(set(theirs.values())) == NUM_MODELS and first.pid not in theirs
    first.kill()
    first.wait()
    while nodes.parents("ray::RayHost"):  # ray ends the workers of a driver that is gone
        os.sched_yield()
    answered = set(journalled(s3, "captions"))
    hold.unlink()

    done = subprocess.run([*words, "--json"], env=nodes.env, stdout=subprocess.PIPE, timeout=WAIT_S, check=False)
    assert done.returncode == 0
    summary = json.loads(done.stdout.splitlines()[-1])
    assert summary["done_before"] == len(answered) == HELD and summary["captioned"] == NUM_CLIPS - HELD
    objects = s3.objects()
    assert captions(rows_of(objects["captions/captions.jsonl"])) == captions(plain)
    assert Counter(journalled(s3, "captions")).most_common(1)[0][1] == 1 and not writers(s3)
    # Created, never written over. Requests are not counted: the driver may have been killed within one.
    assert max(Counter(key for key in s3.written if "/journal/" in key).values()) == 1
