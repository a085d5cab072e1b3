"""Two processes on gloo equal one: same samples a step, same weights after; and each draws noise of its own."""

from __future__ import annotations

import json
import socket
import textwrap
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from cineloop.training import checkpoint
from started_python import TRAINING, Starter

SCRIPT = textwrap.dedent("""
    import sys
    sys.path.insert(0, sys.argv[2])
    from test_loop import Path, make
    from cineloop.training import runtime
    steps, resume = int(sys.argv[3]), sys.argv[4] == "resume"
    make(Path(sys.argv[1]), micro_batch=2, steps=6, resume=resume, max_seconds=None if steps == 6 else 0.0).run()
    runtime.leave()
""")


NOISY = textwrap.dedent("""
    import json, sys
    sys.path.insert(0, sys.argv[2])
    import torch
    from test_loop import Path, Task, Toy, make
    from t2v import flow
    from cineloop.training import runtime

    out, steps, resume = Path(sys.argv[1]), int(sys.argv[3]), sys.argv[4] == "resume"

    class Noisy(Task):
        def forward(self, batch):  # in training it draws what the generator's stages draw, and dropout
            if not self.training:
                return super().forward(batch)
            sigma, noise = flow.sample_sigmas(8, flow.FlowConfig()), torch.randn(64)
            kept = torch.nn.functional.dropout(torch.ones(64), 0.5)
            with open(out.parent / f"{out.name}-{loop.accelerator.process_index}.jsonl", "a") as drawn:
                drawn.write(json.dumps([loop.step, sigma.tolist(), noise.tolist(), kept.tolist()]) + "\\n")
            return super().forward(batch)

    class Stage(Toy):
        def build(self):
            return Noisy(self.dropout, self.poison)

    loop = make(out, Stage(0.3), steps=4, save_every=2, resume=resume, max_seconds=None if steps == 4 else 0.0)
    loop.run()
    runtime.leave()
""")


@pytest.fixture(scope="module")
def launch():
    """`launch(out, processes, steps, how, script)`: a run in so many processes, which must end well."""
    root = Path(__file__).resolve().parents[3]
    modules = [*TRAINING, "test_loop", "t2v.flow", "cineloop.training.runtime"]
    with Starter(modules, [str(Path(__file__).parent), str(root)]) as starter:

        def start(out: Path, processes: int, steps: int = 6, how: str = "start", script: str = SCRIPT) -> None:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                port = str(free.getsockname()[1])
            shared = {"ACCELERATE_USE_CPU": "true"}
            if processes > 1:
                shared |= {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
                shared |= {"GLOO_SOCKET_IFNAME": "lo"}
            ranks = [{"RANK": str(n), "LOCAL_RANK": str(n)} if processes > 1 else {} for n in range(processes)]
            arguments = [str(out), str(Path(__file__).parent), str(steps), how]
            assert starter.run(script, arguments, [shared | rank for rank in ranks]) == [0] * processes

        yield start


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_processes_equal_one_and_resume_to_the_bit(launch, tmp_path):
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


def draws(tmp_path: Path, run: str, rank: int) -> list:
    """What a process drew: for each step σ (8), noise (64) and a dropout mask (64)."""
    return [json.loads(line) for line in (tmp_path / f"{run}-{rank}.jsonl").read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_each_process_draws_noise_of_its_own_and_resumes_with_it(launch, tmp_path):
    launch(tmp_path / "one", 1, steps=4, script=NOISY)
    launch(tmp_path / "two", 2, steps=4, script=NOISY)
    launch(tmp_path / "cut", 2, steps=1, script=NOISY)
    launch(tmp_path / "cut", 2, steps=4, how="resume", script=NOISY)
    for rank in (0, 1):
        assert draws(tmp_path, "cut", rank) == draws(tmp_path, "two", rank)
    # The first process begins as it would alone (later it differs: a smaller share of the batch takes fewer draws).
    assert draws(tmp_path, "one", 0)[0] == draws(tmp_path, "two", 0)[0]
    first, second = (draws(tmp_path, "two", rank) for rank in (0, 1))
    assert [row[0] for row in first] == [row[0] for row in second] == [0, 1, 2, 3]
    for column in (1, 2, 3):
        mine, others = (torch.tensor([row[column] for row in rows]).flatten() for rows in (first, second))
        # |r| of independent draws stays below 4 / √n in all but one of 16,000 cases; of equal draws it is 1.
        assert abs(float(torch.corrcoef(torch.stack([mine, others]))[0, 1])) < 4 / len(mine) ** 0.5
