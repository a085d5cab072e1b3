"""How long a training stands still for its checkpoints, written at once or in a thread (`loop.save_in_thread`).

    python scripts/bench_checkpoint.py [--mb 300] [--saves 6] [--rounds 3]

Trains one square layer on the CPU, weights and moments of so many MB, and saves after each fifth step. Prints for both
ways the seconds of a save (median without the last, which ends the run) and of the whole run, which shares the machine
with the thread. Rounds of both ways by turns: other load hits both alike.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cineloop.training.loop import Loop
from cineloop.training.runtime import RuntimeConfig
from cineloop.training.stage import LoopConfig

EVERY = 5  # steps


class Square(nn.Module):
    """A layer and its loss."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.layer = nn.Linear(side, side)

    def forward(self, batch: torch.Tensor) -> dict[str, Any]:
        """The sum of squares that the layer is to make zero."""
        return {"terms": {"error": self.layer(batch).square().sum()}, "metrics": {}}


class Stage:
    """See `cineloop.training.stage.Stage`."""

    name, unit, terms, step = "square", "rows", {"error": 1.0}, 0

    def __init__(self, side: int) -> None:
        self.side = side

    def build(self) -> nn.Module:
        """See `Stage`."""
        return Square(self.side)

    def parts(self, task: Square) -> Mapping[str, list[nn.Module]]:
        """See `Stage`."""
        return {"layer": [task.layer]}

    def source(self) -> Any:
        """See `Stage`."""
        return lambda start, count: torch.ones(count, self.side)

    def counts(self, batch: torch.Tensor) -> Mapping[str, float]:
        """See `Stage`."""
        return {"error": float(batch.numel())}

    def evaluate(self, task: nn.Module, device: torch.device) -> dict[str, float]:
        """See `Stage`."""
        return {"score": 0.0}

    def export(self, task: nn.Module, folder: Path) -> None:
        """See `Stage`."""
        folder.mkdir(exist_ok=True)


def measure(out: Path, side: int, saves: int, in_thread: bool) -> tuple[float, float]:
    """Seconds of a save, and of all steps with their saves."""
    config = LoopConfig(
        steps=saves * EVERY, save_every=EVERY, save_in_thread=in_thread, workers=0, tensorboard=False, batch_size=8
    )
    start = RuntimeConfig(device="cpu", precision="fp32")
    loop = Loop(Stage(side), config, out, runtime_config=start, resolved={})
    took, save = [], loop._save

    def timed() -> None:
        begun = time.perf_counter()
        save()
        took.append(time.perf_counter() - begun)

    loop._save = timed  # type: ignore[method-assign]
    begun = time.perf_counter()
    loop.run()
    return statistics.median(took[:-1]), time.perf_counter() - begun


def main() -> None:
    """Print a row for each round and the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mb", type=int, default=300, help="of a checkpoint (default: 300)")
    parser.add_argument("--saves", type=int, default=6, help="of a run (default: 6)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each way (default: 3)")
    args = parser.parse_args()
    side = int((args.mb * 1e6 / 3 / 4) ** 0.5)
    ratios = []
    for number in range(args.rounds):
        with tempfile.TemporaryDirectory() as folder:
            at_once, whole = measure(Path(folder) / "at once", side, args.saves, False)
            thread, whole_thread = measure(Path(folder) / "thread", side, args.saves, True)
        ratios.append(thread / at_once)
        print(f"round {number + 1}: a save {at_once:.3f} s at once, {thread:.3f} s with the thread; "
              f"runs of {whole:.1f} and {whole_thread:.1f} s", flush=True)  # fmt: skip
    print(f"a save with the thread : at once, median {statistics.median(ratios):.2f} (goal <= 0.1)")


if __name__ == "__main__":
    main()
