"""DRaFT-1 (arXiv:2309.17400): up the gradient of a differentiable reward, through the last step of the sampler alone.

A clip x₀ that the policy drew is noised to the level σ of its sampler's last step (with new noise at each visit, as in
the paper's DRaFT-LV), x̂₀ = x_σ - σ v(x_σ) is decoded, and the loss is -reward(pixels, prompt). So the gradient goes
through the decoder and one evaluation of the transformer, however many steps the sampler takes; the step is taken
without guidance. Rewards of `rewards.jsonl` are not learnt from here, but clips without one are left out as everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from cineloop import plugin
from cineloop.errors import UsageError
from t2v import flow
from t2v.train.objectives import BaseObjective, Batch, Example, Group, Policy


@dataclass(frozen=True, kw_only=True)
class Settings:
    """`reward`: path of a Python file that defines `Reward`; see `t2v.train.objectives.DifferentiableReward`."""

    reward: str

    def __post_init__(self) -> None:
        if not plugin.is_file(self.reward):
            raise ValueError(f"reward must be the path of a Python file that defines Reward, got {self.reward!r}")


class Objective(BaseObjective):
    """See the module's head."""

    name = "draft"
    Settings = Settings
    decodes = True

    def __init__(self, settings: Any = None) -> None:
        super().__init__(settings)
        self._kind = plugin.load("t2v.train.objectives", self.settings.reward, "Reward", files=True).Reward
        self._reward: Any = None

    def examples(self, groups: Sequence[Group]) -> list[Example]:
        return [Example((clip,), 1.0) for group in groups for clip, _ in group]

    def loss(self, policy: Policy, batch: Batch) -> torch.Tensor:
        clean, sigma = batch["latents"][:, 0], batch["sigma"]
        noisy = flow.add_noise(clean, batch["noise"], sigma)
        level = sigma.reshape(-1, *[1] * (clean.ndim - 1))
        pixels = policy.decode(noisy - level * policy.now(noisy, sigma, batch["text"]))  # (n, T, H, W, 3)
        if self._reward is None:
            self._reward = self._kind(str(pixels.device))
        rewards = self._reward(pixels, batch["prompts"])
        if rewards.shape != sigma.shape or not rewards.isfinite().all():
            raise UsageError(
                f"{self.settings.reward} must give one finite reward a clip, {tuple(sigma.shape)}, "
                f"got {tuple(rewards.shape)}: {rewards.detach().flatten()[:4].tolist()}",
            )
        if pixels.requires_grad and not rewards.requires_grad:
            raise UsageError(f"{self.settings.reward} gives rewards without a gradient")
        return -rewards
