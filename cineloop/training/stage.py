"""The contract between the one loop and the stages it runs.

In: nothing. Out: `LoopConfig` (how long, how large, how often), `Stage` (what the loop asks of a stage), `RunOutcome`.
A *task* is the module that joins model and loss: `task(batch)` returns `{"terms": {name: sum}, "metrics":
{name: (sum, count)}}`, sums over the targets of the batch, as scalar tensors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from cineloop.training.rates import OptimConfig

if TYPE_CHECKING:
    import torch
    from torch import nn

    from cineloop.training.loader import Source


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """How long, how large, how often.

    `batch_size` samples make one optimiser step, over all processes; `micro_batch` of them go through a process
    at once (0: its whole share). `keep_last` checkpoints stay, and the best by the held-out score. `max_seconds`
    ends the run early, saved. `eval_every` 0 evaluates at the end only. `save_every` 0 saves at the end only.
    `save_in_thread` writes checkpoints from copies in memory while training goes on.
    """

    steps: int
    batch_size: int = 32
    micro_batch: int = 0
    eval_every: int = 0
    save_every: int = 500
    save_in_thread: bool = False
    log_every: int = 20
    keep_last: int = 2
    max_seconds: float | None = None
    workers: int = 1
    tensorboard: bool = True
    optim: OptimConfig = field(default_factory=OptimConfig)

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "log_every", "keep_last"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("micro_batch", "eval_every", "save_every", "workers"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        if self.micro_batch and self.batch_size % self.micro_batch:
            raise ValueError(f"micro_batch {self.micro_batch} does not divide batch_size {self.batch_size}")


class Stage(Protocol):
    """What the loop needs to know of a training stage."""

    name: str
    unit: str  # what a sample is, for the speed: "frames", "clips", "texts"
    terms: Mapping[str, float]  # loss terms and their weights
    step: int  # set by the loop before it asks for an evaluation

    def build(self) -> nn.Module:
        """The task, in training state of its choice, on the CPU."""
        ...

    def parts(self, task: Any) -> Mapping[str, Sequence[nn.Module]]:
        """Named parts of the task, each with a learning rate of its own in the config."""
        ...

    def source(self) -> Source:
        """The training data, picklable: `(start, count) -> batch`. Where it has an `identity` (a string), a run goes on
        from a checkpoint only with data of the same one."""
        ...

    def counts(self, batch: Any) -> Mapping[str, float]:
        """Number of targets of each term in a batch."""
        ...

    def evaluate(self, task: Any, device: torch.device) -> dict[str, float]:
        """Held-out figures; "score" (higher is better) picks the best weights."""
        ...

    def export(self, task: Any, folder: Path) -> None:
        """Write what the next stage or the user loads."""
        ...


@dataclass(frozen=True, kw_only=True)
class StepCost:
    """What one optimiser step costs over all processes: tokens of its main part, FLOPs as counted by the plan."""

    tokens: int
    flops: float


@dataclass(frozen=True, kw_only=True)
class RunOutcome:
    """How a run ended: after its last step, out of seconds, or asked to stop; with its best held-out score."""

    status: Literal["done", "budget", "interrupted"]
    step: int
    best: float | None
    folder: Path
