"""Reward-weighted regression (Flow-RWR in arXiv:2501.13918): every clip is trained on, weighted by its reward.

The weights of a prompt's K clips are K · softmax(reward / temperature), so their mean is 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from t2v.train.objectives import BaseObjective, Batch, Example, Group, Policy, flow_error


@dataclass(frozen=True, kw_only=True)
class Settings:
    """`temperature`: of the softmax, in units of the reward."""

    temperature: float = 0.2

    def __post_init__(self) -> None:
        if not 0 < self.temperature < math.inf:
            raise ValueError(f"temperature must be a positive number, got {self.temperature}")


class Objective(BaseObjective):
    """See the module's head."""

    name = "rwr"
    Settings = Settings

    def examples(self, groups: Sequence[Group]) -> list[Example]:
        found = []
        for group in groups:
            best = max(reward for _, reward in group)
            shares = [math.exp((reward - best) / self.settings.temperature) for _, reward in group]
            scale = len(group) / sum(shares)
            found += [Example((clip,), share * scale) for (clip, _), share in zip(group, shares, strict=True)]
        return found

    def loss(self, policy: Policy, batch: Batch) -> torch.Tensor:
        return batch["weight"] * flow_error(policy, batch)
