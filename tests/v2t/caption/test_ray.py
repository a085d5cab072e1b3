"""Runs on a true cluster of ray, a head and two nodes of one CPU: processes of it are killed while they work."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import stand_in_engine
from small_clips import write_grey

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("ray"),
    pytest.mark.timeout(1800),
]
NUM_CLIPS = 60
WAIT_S = 900.0
DECODE_S = 30.0
CAPTIONER = str(Path(stand_in_engine.__file__).with_name("placed_captioner.py"))


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    for number in range(NUM_CLIPS):
        path = folder / f"part {number % 3}" / f"clip {number:03} ü.mp4"
        write_grey(path, 3 * number)
    write_grey(folder / "white.mp4", 255)  # kills the worker that captions it
    (folder / "empty.mp4").write_bytes(b"")
    return folder


@pytest.fixture(scope="module")
def expected(clips, tmp_path_factory) -> dict[str, str]:
    """The captions of the plain command."""
    out = tmp_path_factory.mktemp("plain")
    marks = tmp_path_factory.mktemp("marks")
    command = [*caption(clips, out, marks), "--exclude", "white.mp4"]
    assert subprocess.run(command, check=False, stdout=subprocess.DEVNULL).returncode == 3  # one is empty
    found = records(out)
    assert sum(row["status"] == "ok" for row in found) == NUM_CLIPS
    return {row["id"]: row["caption"] for row in found if row["status"] == "ok"}


def caption(clips: Path, out: Path, marks: Path, *more: str) -> list[str]:
    program = [sys.executable, "-c", "import sys; from v2t.cli import main; sys.exit(main(sys.argv[1:]))"]
    options = ["--set", f"options.marks={marks}", "--set", "options.slow_s=0.1"]
    return [*program, "caption", str(clips), "-o", str(out), "--captioner", CAPTIONER, "--model", "m1",
            "--batch-size", "2", "--format", "txt,jsonl", *options, *more]  # fmt: skip


def on_cluster(clips: Path, out: Path, marks: Path, *more: str) -> list[str]:
    size = ["--decode-workers", "1..2", "--model-workers", "2"]
    return caption(clips, out, marks, "--cluster", "ray", *size, *more)


def records(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "captions.jsonl").read_text(encoding="utf-8").splitlines()]


def num_journalled(out: Path) -> int:
    journal = out / ".v2t/journal.jsonl"
    return journal.read_bytes().count(b'"kind":"clip"') if journal.exists() else 0


def wait_for(condition: Callable[[], object]) -> None:
    for _ in range(int(WAIT_S / 0.1)):
        if condition():
            return
        threading.Event().wait(0.1)
    raise AssertionError("the condition never came true")


def check(out: Path, expected: dict[str, str]) -> None:
    """Each clip has one record, with the plain command's caption."""
    rows = records(out)
    assert len(rows) == len({row["id"] for row in rows})
    assert {row["id"]: row["caption"] for row in rows if row["status"] == "ok"} == expected
    for clip_id, text in expected.items():
        assert (out / clip_id).with_suffix(".txt").read_bytes() == text.encode() + b"\n"
    assert not list((out / ".v2t").glob("ray-*"))


@pytest.mark.long
def test_a_node_is_killed_after_ten_records(nodes, clips, expected, tmp_path):
    out, marks = tmp_path / "out", tmp_path / "marks"
    marks.mkdir()
    with subprocess.Popen(on_cluster(clips, out, marks, "--json"), env=nodes.env, stdout=subprocess.PIPE) as driver:
        wait_for(lambda: num_journalled(out) >= 10 or driver.poll() is not None)
        nodes.remove()
        output, _ = driver.communicate(timeout=WAIT_S)
    nodes.add()
    assert driver.returncode == 3
    check(out, expected)
    codes = {row["id"]: row["error"]["code"] for row in records(out) if row["status"] != "ok"}
    assert codes == {"white.mp4": "WORKER_DIED", "empty.mp4": "EMPTY_FILE"}
    assert len(list(marks.iterdir())) <= 3
    lines = [json.loads(line) for line in output.splitlines()]
    emitted = [line["id"] for line in lines if line["type"] == "record"]
    assert len(emitted) == len(set(emitted)) == NUM_CLIPS + 2
    assert lines[-1]["captioned"] == NUM_CLIPS and lines[-1]["exit_code"] == 3


@pytest.mark.long
def test_a_decoder_that_hangs_and_one_that_aborts_cost_their_clips(nodes, clips, expected, tmp_path):
    source, out, marks = tmp_path / "clips", tmp_path / "out", tmp_path / "marks"
    marks.mkdir()
    names = sorted(expected)[: NUM_CLIPS - 3]
    for name in names:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(clips / name, source / name)
    for name in ("hangs.mp4", "aborts.mp4"):
        shutil.copy(clips / names[0], source / name)
    (source / "empty.mp4").write_bytes(b"")
    command = on_cluster(source, out, marks, "--set", f"limits.timeout_s={DECODE_S}")
    # The hang has no end of its own: what ends in time ends by the limit.
    assert subprocess.run(command, env=nodes.env, check=False, timeout=WAIT_S).returncode == 3
    check(out, {name: expected[name] for name in names})
    codes = {row["id"]: row["error"]["code"] for row in records(out) if row["error"]}
    assert codes == {"hangs.mp4": "DECODE_TIMEOUT", "aborts.mp4": "DECODER_CRASH", "empty.mp4": "EMPTY_FILE"}


KINDS = ("actor", "raylet", "driver")
SEEDS = int(os.environ.get("CINELOOP_KILL_SEEDS", "1"))  # of each kind; scripts and people ask for twenty


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS if SEEDS > 1 else KINDS[1:])
@pytest.mark.parametrize("seed", range(SEEDS))
def test_whatever_is_killed_nothing_is_lost(nodes, clips, expected, tmp_path, seed, kind):
    draw = random.Random(f"{kind} {seed}")
    out, marks = tmp_path / "out", tmp_path / "marks"
    marks.mkdir()
    command = [*on_cluster(clips, out, marks), "--exclude", "white.mp4"]
    driver = subprocess.Popen(command, env=nodes.env, stdout=subprocess.DEVNULL)
    after = draw.randrange(NUM_CLIPS)
    wait_for(lambda: num_journalled(out) >= after or driver.poll() is not None)
    if kind == "driver":
        driver.send_signal(signal.SIGKILL)
        assert driver.wait(WAIT_S) == -signal.SIGKILL
        driver = subprocess.Popen(command, env=nodes.env, stdout=subprocess.DEVNULL)
        orphans = []
    else:
        workers = nodes.parents("ray::RayHost")
        killed = nodes.kill_one("ray::RayHost" if kind == "actor" else "raylet/raylet", draw)
        assert killed or driver.poll() is not None
        orphans = [pid for pid, parent in workers.items() if parent == killed]
    assert driver.wait(WAIT_S) == 3
    if kind == "raylet":
        nodes.add()
    wait_for(lambda: not any(pid in nodes.parents("ray::RayHost") for pid in orphans))
    check(out, expected)
