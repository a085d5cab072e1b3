"""RAFT (arXiv:2304.06767): the best clips of each prompt are trained on as if they were data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from t2v.train.objectives import BaseObjective, Batch, Example, Group, PolicyPair, flow_error


@dataclass(frozen=True, kw_only=True)
class Settings:
    """`keep`: clips of each prompt."""

    keep: int = 1

    def __post_init__(self) -> None:
        if self.keep < 1:
            raise ValueError(f"keep must be at least 1, got {self.keep}")


class Objective(BaseObjective):
    """See the module's head."""

    name = "raft"
    Settings = Settings

    def examples(self, groups: Sequence[Group]) -> list[Example]:
        best = [sorted(group, key=lambda one: -one[1])[: self.settings.keep] for group in groups]
        return [Example((clip,), 1.0) for group in best for clip, _ in group]

    def loss(self, policy: PolicyPair, batch: Batch) -> torch.Tensor:
        return flow_error(policy, batch)
