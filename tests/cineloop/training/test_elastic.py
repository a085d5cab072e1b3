"""A process that dies is started again with all others and the run goes on from its newest whole checkpoint; a SIGTERM
to one process saves and stops all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from cineloop.training import checkpoint
from started_python import TRAINING, Starter
from started_ranks import SHARDED, free_port, modules_folder, run_ranks

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
SCRIPT = textwrap.dedent("""
    import os, signal, sys
    from test_loop import Path, Toy, make
    from cineloop.training import checkpoint, runtime

    out, at, how = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    struck = os.environ.get("RANK", "0") == ("0" if how == "save" else "1")
    struck = struck and os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0"

    class Struck(Toy):
        def counts(self, batch):  # of each of two micro-batches: SIGTERM comes twice
            if struck and loop.step == at and how in ("kill", "term"):
                os.kill(os.getpid(), signal.SIGKILL if how == "kill" else signal.SIGTERM)
            return super().counts(batch)

    if struck and how == "save":
        sync = checkpoint.sync
        def sync_or_die(path):
            if f"-{at:08d}" in str(path):  # a thread may write an earlier one while training is at `at` already
                os.kill(os.getpid(), signal.SIGKILL)
            sync(path)
        checkpoint.sync = sync_or_die
    loop = make(out, Struck(dropout=0.3), steps=8, save_every=3, log_every=1, micro_batch=2, optim={"ema": 0.9},
                resume="resume" in sys.argv, save_in_thread="in thread" in sys.argv)
    outcome = loop.run()
    runtime.leave()
    sys.exit(7 if outcome.status == "interrupted" else 0)
""")


@pytest.fixture(scope="module")
def launch():
    """`launch(out, at, how, env)`: exit codes of two processes, one of which is struck at a step."""
    with Starter([*TRAINING, "test_loop", "torch.distributed.fsdp"], modules_folder()) as starter:

        def start(out, at: int, how: str, *options: str, restarts: int = 0, env=None) -> list[int]:
            env = {"TORCHELASTIC_RESTART_COUNT": str(restarts), **(env or {})}
            return run_ranks(starter, 2, SCRIPT, [str(out), str(at), how, *options], env)

        yield start


def rows(run: Path) -> list[tuple]:
    found = map(json.loads, (run / "log.jsonl").read_text().splitlines())
    return [(row["step"], row["loss"], row["grad_norm"]) for row in found if "loss" in row]


@pytest.fixture(scope="module")
def whole(launch, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "run"
    assert launch(out, -1, "kill") == [0, 0]
    return rows(out)


@pytest.mark.long
@pytest.mark.parametrize(("at", "how"), [(1, "kill"), (3, "kill"), (5, "kill"), (7, "kill"), (3, "save"), (6, "save")])
def test_a_run_whose_process_is_killed_goes_on_from_the_newest_checkpoint(launch, whole, tmp_path, at, how):
    codes = launch(tmp_path / "run", at, how)
    assert -9 in codes and 0 not in codes
    saved = checkpoint.steps(tmp_path / "run")
    assert saved == [step for step in (3, 6) if (step < at if how == "save" else step <= at)]
    assert launch(tmp_path / "run", at, how, restarts=1) == [0, 0]
    assert rows(tmp_path / "run") == whole  # each step once, to the bit
    assert (tmp_path / "run/final/exported").exists()


@pytest.mark.long
@pytest.mark.parametrize("at", [3, 6])
def test_a_process_killed_while_its_thread_writes_leaves_the_checkpoint_before(launch, whole, tmp_path, at):
    assert -9 in launch(tmp_path / "run", at, "save", "in thread")
    assert checkpoint.steps(tmp_path / "run") == list(range(3, at, 3))
    assert launch(tmp_path / "run", at, "save", "in thread", restarts=1) == [0, 0]
    assert rows(tmp_path / "run") == whole


@pytest.mark.long
def test_torchrun_starts_the_killed_again(whole, tmp_path):
    """By its static rendezvous, whose store still has the addresses of the first start's processes."""
    (tmp_path / "program.py").write_text(SCRIPT)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--max-restarts", "1"]
    command += ["--master-port", str(free_port()), str(tmp_path / "program.py"), str(tmp_path / "run"), "5", "kill"]
    env = {"ACCELERATE_USE_CPU": "true", "GLOO_SOCKET_IFNAME": "lo"}
    env["PYTHONPATH"] = os.pathsep.join([*modules_folder(), *sys.path])
    assert subprocess.run(command, env=os.environ | env, check=False, timeout=800).returncode == 0
    assert rows(tmp_path / "run") == whole


@pytest.mark.long
def test_a_killed_process_with_sharded_weights(launch, whole, tmp_path):
    assert -9 in launch(tmp_path / "run", 4, "kill", env=SHARDED)
    assert launch(tmp_path / "run", 4, "kill", restarts=1, env=SHARDED) == [0, 0]
    assert [step for step, *_ in rows(tmp_path / "run")] == list(range(1, 9))
    losses = [loss for _, loss, _ in rows(tmp_path / "run")]
    assert losses == pytest.approx([loss for _, loss, _ in whole], rel=1e-5)


@pytest.mark.long
def test_sigterms_to_one_process_save_and_stop_all(launch, whole, tmp_path):
    assert launch(tmp_path / "run", 4, "term") == [7, 7]
    assert checkpoint.steps(tmp_path / "run") == [3, 5]
    assert launch(tmp_path / "run", -1, "term", "resume") == [0, 0]
    assert rows(tmp_path / "run") == whole
