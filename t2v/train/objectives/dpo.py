"""Flow-DPO (arXiv:2501.13918): of each prompt the best clip against the worst, by the difference of their errors.

-log sigmoid(-β/2 · ((e_best - e_best,old) - (e_worst - e_worst,old))), e the squared error of the velocity at the same
noise and level for both, a mean over the latents, so β is large. The reference is the policy that drew the clips.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from t2v import flow
from t2v.train.objectives import BaseObjective, Batch, Example, Group, PolicyPair, mean_square


@dataclass(frozen=True, kw_only=True)
class Settings:
    """`beta`: how much the policy gains by a difference, above 0."""

    beta: float = 500.0

    def __post_init__(self) -> None:
        if not 0 < self.beta:
            raise ValueError(f"beta must be above 0, got {self.beta}")


class Objective(BaseObjective):
    """See the module's head."""

    name = "dpo"
    Settings = Settings

    def examples(self, groups: Sequence[Group]) -> list[Example]:
        ordered = [sorted(group, key=lambda one: -one[1]) for group in groups]
        return [Example((group[0][0], group[-1][0]), 1.0) for group in ordered]

    def loss(self, policy: PolicyPair, batch: Batch) -> torch.Tensor:
        noise, sigma, text = batch["noise"], batch["sigma"], batch["text"]
        gains = []
        for place in (0, 1):
            clean = batch["latents"][:, place]
            noisy, wanted = flow.add_noise(clean, noise, sigma), flow.velocity(clean, noise)
            now, old = policy.now(noisy, sigma, text), policy.old(noisy, sigma, text)
            gains.append(mean_square(now - wanted) - mean_square(old - wanted))  # (n,)
        return -F.logsigmoid(-self.settings.beta / 2 * (gains[0] - gains[1]))
