"""DiffusionNFT (arXiv:2509.16117): good clips pull the velocity, bad ones push it, both relative to the old policy.

The advantage a of a clip becomes the optimality ρ = a / (2 `most`) + ½ in [0, 1]. With v the velocity as it is and
v_old that of the policy that drew the clips, v⁺ = β v + (1 - β) v_old and v⁻ = (1 + β) v_old - β v predict the clean
clip as x̂± = x_σ - σ v±; the loss is ρ ‖x̂⁺ - x₀‖² / w⁺ + (1 - ρ) ‖x̂⁻ - x₀‖² / w⁻, w± = mean |x̂± - x₀| without
gradient, as in the authors' code, divided by β (they also multiply by `most`: here that is the learning rate's part).
No likelihood and no stochastic sampler is needed. Clips have to be drawn from the policy that is trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from t2v import flow
from t2v.train.objectives import BaseObjective, Batch, Example, Group, PolicyPair, advantages, mean_square


@dataclass(frozen=True, kw_only=True)
class Settings:
    """`beta`: how far the velocity may be from the old one, above 0; `most`: where advantages are cut off."""

    beta: float = 1.0
    most: float = 5.0

    def __post_init__(self) -> None:
        if not (0 < self.beta and 0 < self.most):
            raise ValueError(f"beta and most must be above 0, got {self.beta} and {self.most}")


class Objective(BaseObjective):
    """See the module's head."""

    name = "nft"
    Settings = Settings

    def examples(self, groups: Sequence[Group]) -> list[Example]:
        most = self.settings.most
        return [Example(each.clips, each.weight / (2 * most) + 0.5) for each in advantages(groups, most=most)]

    def loss(self, policy: PolicyPair, batch: Batch) -> torch.Tensor:
        clean, sigma, share, beta = batch["latents"][:, 0], batch["sigma"], batch["weight"], self.settings.beta
        noisy = flow.add_noise(clean, batch["noise"], sigma)
        now = policy.now(noisy, sigma, batch["text"]).float()
        old = policy.old(noisy, sigma, batch["text"]).float()
        pulled, pushed = beta * now + (1 - beta) * old, (1 + beta) * old - beta * now
        level = sigma.reshape(-1, *[1] * (clean.ndim - 1))
        good, bad = (_error(noisy - level * velocity, clean) for velocity in (pulled, pushed))
        return (share * good + (1 - share) * bad) / beta


def _error(guess: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
    """The squared error of a clean clip relative to its mean absolute error (n,)."""
    scale = (guess - clean).detach().abs().flatten(1).mean(1).clamp(min=1e-5)
    return mean_square(guess - clean) / scale
