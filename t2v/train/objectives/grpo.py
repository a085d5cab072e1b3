"""Flow-GRPO (arXiv:2505.05470): steps of a stochastic sampler become more or less likely by their clip's advantage.

-min(q a, clip(q, 1 ± ε) a), q the ratio of a step's likelihood under the policy as it is and under the one that drew
it. As in the authors' code the log-likelihood is a mean over the latents, hence the small ε. Clips have to be drawn
with `stochastic`, and without guidance: the ratio is of the conditional velocity.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from t2v import flow
from t2v.train.objectives import BaseObjective, Batch, Example, Group, PolicyPair, advantages, mean_square


@dataclass(frozen=True, kw_only=True)
class Settings:
    """`clip`: ε, in (0, 1); `most`: where advantages are cut off."""

    clip: float = 1e-3
    most: float = 5.0

    def __post_init__(self) -> None:
        if not (0 < self.clip < 1 and 0 < self.most):
            raise ValueError(f"clip must be in (0, 1) and most above 0, got {self.clip} and {self.most}")


class Objective(BaseObjective):
    """See the module's head."""

    name = "grpo"
    Settings = Settings
    reads_path = True
    unguided = True

    def examples(self, groups: Sequence[Group]) -> list[Example]:
        return advantages(groups, most=self.settings.most)

    def loss(self, policy: PolicyPair, batch: Batch) -> torch.Tensor:
        advantage, clip = batch["weight"], self.settings.clip
        ratio = (self._likelihood(policy.now, batch) - self._likelihood(policy.old, batch)).exp()  # (n,)
        return -torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage)

    def _likelihood(self, velocity: object, batch: Batch) -> torch.Tensor:
        """Log-likelihood of the step (n,), but for a constant."""
        before, sigma = batch["before"], batch["sigma"]
        guess = velocity(before, sigma, batch["text"]).float()  # type: ignore[operator]
        mean, deviation = flow.stochastic_step(before.float(), guess, sigma, batch["sigma_next"], batch["level"])
        return -mean_square((batch["after"].float() - mean) / deviation) / 2
