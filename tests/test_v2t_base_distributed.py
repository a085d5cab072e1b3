"""Two processes on gloo equal one: same samples a step, same weights after."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from v2t.base import checkpoint

SCRIPT = textwrap.dedent("""
    import sys
    sys.path.insert(0, sys.argv[2])
    from test_v2t_base_loop import Path, make
    from v2t.base import runtime
    steps, resume = int(sys.argv[3]), sys.argv[4] == "resume"
    make(Path(sys.argv[1]), micro_batch=2, steps=6, resume=resume, max_seconds=None if steps == 6 else 0.0).run()
    runtime.leave()
""")


def launch(out: Path, processes: int, steps: int = 6, how: str = "start") -> None:
    root = Path(__file__).parent.parent
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    env = os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    if processes > 1:
        env |= {
            "WORLD_SIZE": str(processes),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port,
            "GLOO_SOCKET_IFNAME": "lo",
        }
    children = []
    for rank in range(processes):
        mine = env | ({"RANK": str(rank), "LOCAL_RANK": str(rank)} if processes > 1 else {})
        arguments = [sys.executable, "-c", SCRIPT, str(out), str(Path(__file__).parent), str(steps), how]
        children.append(subprocess.Popen(arguments, env=mine, cwd=root))
    assert [child.wait(timeout=280) for child in children] == [0] * processes


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_processes_equal_one_and_resume_to_the_bit(tmp_path):
    launch(tmp_path / "one", 1)
    launch(tmp_path / "two", 2)
    launch(tmp_path / "cut", 2, steps=1)
    launch(tmp_path / "cut", 2, how="resume")
    weights = {
        run: load_file(checkpoint.step_folder(tmp_path / run, 6) / "weights.safetensors")
        for run in ("one", "two", "cut")
    }
    for name, value in weights["one"].items():
        torch.testing.assert_close(weights["two"][name], value, rtol=1e-4, atol=1e-6)
        assert torch.equal(weights["two"][name], weights["cut"][name])
    # AdamW forgives a gradient of the wrong size, so the sizes are compared too.
    logs = {}
    for run in ("one", "two"):
        rows = map(json.loads, (tmp_path / run / "log.jsonl").read_text().splitlines())
        logs[run] = [row[key] for row in rows if "loss" in row for key in ("loss", "grad_norm", "rows")]
    assert len(logs["one"]) == 9
    assert logs["two"] == pytest.approx(logs["one"], rel=1e-4)
