"""Distillation into few steps: one step of the student goes where several steps of the sampler went.

The steps that drew a clip, guidance included, are cut into `steps` segments; the policy learns the straight line
through each, from the latents at its beginning: progressive distillation (arXiv:2202.00512), of a guided teacher
(arXiv:2210.03142), all halvings in one. The student draws in `steps` steps without guidance. Rewards only choose among
clips: a file of rewards is not needed. Clips have to be drawn with their path.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from cineloop.errors import UsageError
from t2v.train.objectives import BaseObjective, Batch, Example, Group, PolicyPair, mean_square


@dataclass(frozen=True, kw_only=True)
class Settings:
    """`steps`: of the student; `keep`: clips of each prompt, the best by reward, 0 for all; `least`: clips of a lower
    reward are left out, None for none."""

    steps: int = 4
    keep: int = 0
    least: float | None = None

    def __post_init__(self) -> None:
        if self.steps < 1 or self.keep < 0:
            raise ValueError(f"steps must be at least 1 and keep at least 0, got {self.steps} and {self.keep}")


class Objective(BaseObjective):
    """See the module's head."""

    name = "distil"
    Settings = Settings
    reads_path = True
    compares = False

    def segments(self, num_steps: int) -> list[tuple[int, int]]:
        if num_steps % self.settings.steps:
            raise UsageError(
                f"clips drawn in {num_steps} steps cannot be cut into {self.settings.steps} segments",
                code="REWARDS",
                hint="draw in a multiple of the student's steps, such as --steps 16 for 4",
            )
        length = num_steps // self.settings.steps
        return [(begin, begin + length) for begin in range(0, num_steps, length)]

    def examples(self, groups: Sequence[Group]) -> list[Example]:
        chosen = [sorted(group, key=lambda one: -one[1])[: self.settings.keep or None] for group in groups]
        least = self.settings.least
        return [Example((clip,), 1.0) for group in chosen for clip, reward in group if least is None or reward >= least]

    def loss(self, policy: PolicyPair, batch: Batch) -> torch.Tensor:
        before, sigma = batch["before"].float(), batch["sigma"]
        length = (batch["sigma_next"] - sigma).reshape(-1, *[1] * (before.ndim - 1))  # (n, 1, 1, 1, 1)
        guess = policy.now(before, sigma, batch["text"])
        return mean_square(guess.float() - (batch["after"].float() - before) / length)

    def sampling(self) -> dict[str, Any]:
        return {"sample_steps": self.settings.steps, "sample_guidance": 1.0}
