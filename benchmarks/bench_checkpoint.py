"""How long a training stands still for its checkpoints, written at once or in a thread (`loop.save_in_thread`).

    python benchmarks/bench_checkpoint.py [--full] [--mb 300] [--saves 6] [--rounds 3]

Trains one square layer on the CPU, weights and moments of so many MB, and saves after each fifth step. A save: the
median of a run's saves without the last, which ends the run. A run: all steps and saves, beside which the thread works.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from harness import Options, Row, Size, main, rows_of, turns

EVERY = 5  # steps


def stage(side: int) -> Any:
    """A training of one layer (see `cineloop.training.stage.Stage`)."""
    import torch
    from torch import nn

    class Square(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(side, side)

        def forward(self, batch: torch.Tensor) -> dict[str, Any]:
            return {"terms": {"error": self.layer(batch).square().sum()}, "metrics": {}}

    return SimpleNamespace(
        name="square", unit="rows", terms={"error": 1.0}, step=0, build=Square,
        parts=lambda task: {"layer": [task.layer]},
        source=lambda: lambda start, count: torch.ones(count, side),
        counts=lambda batch: {"error": float(batch.numel())},
        evaluate=lambda task, device: {"score": 0.0},
        export=lambda task, folder: folder.mkdir(exist_ok=True),
    )  # fmt: skip


def train(out: Path, side: int, saves: int, in_thread: bool) -> float:
    """Seconds of a save in a run."""
    from cineloop.training.loop import Loop
    from cineloop.training.runtime import RuntimeConfig
    from cineloop.training.stage import LoopConfig

    config = LoopConfig(
        steps=saves * EVERY, save_every=EVERY, save_in_thread=in_thread, workers=0, tensorboard=False, batch_size=8
    )
    loop = Loop(stage(side), config, out, runtime_config=RuntimeConfig(device="cpu", precision="fp32"), resolved={})
    took, save = [], loop._save

    def time_call() -> None:
        begun = time.perf_counter()
        save()
        took.append(time.perf_counter() - begun)

    loop._save = time_call  # type: ignore[method-assign]
    loop.run()
    return statistics.median(took[:-1])


def checkpoints(options: Options, folder: Path) -> Iterator[Row]:
    """Runs of both ways, and their saves."""
    side, number = int((options.mb * 1e6 / 3 / 4) ** 0.5), iter(range(1000))
    runs = {
        name: lambda is_thread=is_thread: train(folder / str(next(number)), side, options.saves, is_thread)
        for name, is_thread in (("at once", False), ("with the thread", True))
    }
    rows = turns("a run", runs, options.rounds, base="at once", warm_up=False)
    yield from rows
    saves = rows_of("a save", {row.name: row.results for row in rows}, base="at once")
    saves[1].goal = "<= 0.1"
    yield from saves


if __name__ == "__main__":
    sizes = Size("mb", 150, 300, "of a checkpoint"), Size("saves", 4, 6, "of a run")
    sys.exit(main(__doc__, {"checkpoints": checkpoints}, *sizes, rounds=(1, 3)))
