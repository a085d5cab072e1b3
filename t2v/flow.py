"""Rectified flow: noise levels in training and sampling, the velocity to predict, classifier-free guidance.

In: latents, noise, noise levels σ in [0, 1] (0 the clip, 1 pure noise; the network gets the timestep 1000 σ). Out:
noisy latents x_σ = (1 - σ) x_0 + σ ε, their velocity ε - x_0 (arXiv:2209.03003), lists of σ for sampling, guided
predictions. Training draws σ here, logit-normal and shifted (SD3, arXiv:2403.03206), and never reads a scheduler's
table; the loop over sampling steps is in `t2v.pipeline`. Letters: B batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cineloop.errors import UsageError

SIGMA_SAMPLINGS = ("logit_normal", "uniform")


@dataclass(frozen=True, kw_only=True)
class FlowConfig:
    """Distribution of noise levels in training.

    Args:
        sigma_sampling: `logit_normal` (sigmoid of a normal) or `uniform`.
        mean, std: of that normal.
        shift: s > 0; σ becomes s σ / (1 + (s - 1) σ), towards noise for s > 1.
        uniform_floor: share of draws, in [0, 1], that are uniform and not shifted, so that the ends are seen.

    Raises:
        UsageError: a value out of range or an unknown choice.
    """

    sigma_sampling: str = "logit_normal"
    mean: float = 0.0
    std: float = 1.0
    shift: float = 1.0
    uniform_floor: float = 0.0

    def __post_init__(self) -> None:
        if self.sigma_sampling not in SIGMA_SAMPLINGS:
            raise UsageError(f"sigma_sampling must be one of {', '.join(SIGMA_SAMPLINGS)}, not {self.sigma_sampling!r}")
        for name in ("std", "shift"):
            if not 0 < getattr(self, name) < math.inf:
                raise UsageError(f"{name} must be a positive number, not {getattr(self, name)}")
        if not math.isfinite(self.mean):
            raise UsageError(f"mean must be a number, not {self.mean}")
        if not 0 <= self.uniform_floor <= 1:
            raise UsageError(f"uniform_floor must lie in [0, 1], not {self.uniform_floor}")


def shift_time(sigma: Any, shift: float) -> Any:
    """The time shift s σ / (1 + (s - 1) σ), of a number or a tensor; keeps 0 and 1 in place."""
    return shift * sigma / (1 + (shift - 1) * sigma)


def sample_sigmas(num: int, config: FlowConfig, generator: torch.Generator | None = None) -> Tensor:
    """Noise levels for `num` clips of a batch: (num,) float32 on CPU, in [0, 1].

    Draws the same amount from the generator whatever the configuration, so that streams stay comparable.
    """
    normal = torch.randn(num, generator=generator)
    uniform, chosen = torch.rand(num, generator=generator), torch.rand(num, generator=generator)
    if config.sigma_sampling == "logit_normal":
        drawn = torch.sigmoid(config.mean + config.std * normal)
    else:
        drawn = uniform
    return torch.where(chosen < config.uniform_floor, uniform, shift_time(drawn, config.shift))


def add_noise(clean: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
    """The noisy latents of level σ: (B, ...) from clean latents and unit noise (B, ...) and σ (B,)."""
    sigma = sigma.to(clean.device, torch.float32).reshape(-1, *[1] * (clean.ndim - 1))  # (B, 1, ...)
    return (1 - sigma).to(clean.dtype) * clean + sigma.to(clean.dtype) * noise


def velocity(clean: Tensor, noise: Tensor) -> Tensor:
    """What the network should predict for `add_noise(clean, noise, sigma)` at any σ: (B, ...)."""
    return noise - clean


def stochastic_step(
    noisy: Tensor, predicted: Tensor, sigma: Tensor, sigma_next: Tensor, level: Tensor
) -> tuple[Tensor, Tensor]:
    """Mean (B, ...) and standard deviation (B, 1, ...) of one step of the stochastic sampler with the same marginals.

    Flow-GRPO, arXiv:2505.05470, equation 9: with dt = σ_next - σ < 0 and s = a √(σ / (1 - σ)), in which σ = 1 is
    replaced by σ_next, the mean is x (1 + s² dt / 2σ) + v (1 + s² (1 - σ) / 2σ) dt and the deviation s √-dt.

    Args:
        noisy, predicted: x_σ and the velocity there (B, ...).
        sigma, sigma_next: levels (B,) before and after the step, the second above 0.
        level: a (B,), how much noise; 0 is the step of the flow itself.
    """
    sides = (-1, *[1] * (noisy.ndim - 1))
    sigma, sigma_next, level = (
        each.to(noisy.device, torch.float32).reshape(sides) for each in (sigma, sigma_next, level)
    )
    below_one = torch.where(sigma < 1, sigma, sigma_next)
    squared, dt = level**2 * below_one / (1 - below_one), sigma_next - sigma
    drift = predicted * (1 + squared * (1 - sigma) / (2 * sigma)) * dt
    return noisy * (1 + squared * dt / (2 * sigma)) + drift, (squared * -dt).sqrt()


# --- guidance
@dataclass(frozen=True, kw_only=True)
class GuidanceConfig:
    """Classifier-free guidance (arXiv:2207.12598).

    Args:
        scale: w; 1 is the conditional prediction alone.
        interval: σ from … to, ends included, in which guidance acts (arXiv:2404.07724); outside, w is 1.
        rescale: φ in [0, 1], how far the guided prediction's deviation is drawn back to the conditional one's, against
            over-exposure (Lin et al., arXiv:2305.08891, section 3.4).

    Raises:
        UsageError: a value out of range.
    """

    scale: float = 1.0
    interval: tuple[float, float] = (0.0, 1.0)
    rescale: float = 0.0

    def __post_init__(self) -> None:
        if not math.isfinite(self.scale):
            raise UsageError(f"guidance scale must be a number, not {self.scale}")
        if len(self.interval) != 2 or not 0 <= self.interval[0] <= self.interval[1] <= 1:
            raise UsageError(f"guidance interval must be two numbers of [0, 1] in order, not {self.interval}")
        if not 0 <= self.rescale <= 1:
            raise UsageError(f"guidance rescale must lie in [0, 1], not {self.rescale}")

    def acts_at(self, sigma: float) -> bool:
        """Whether the unconditional prediction is needed at this σ."""
        # Half a timestep of slack: σ comes back from a scheduler in float32.
        return self.scale != 1 and self.interval[0] - 5e-4 <= sigma <= self.interval[1] + 5e-4


def guide(conditional: Tensor, unconditional: Tensor | None, guidance: GuidanceConfig, sigma: float) -> Tensor:
    """The guided prediction (B, ...) at σ, all clips at the same level.

    Args:
        conditional, unconditional: predictions (B, ...); `unconditional` may be None where guidance does not act.

    Raises:
        UsageError: guidance acts at σ and there is no unconditional prediction.
    """
    if not guidance.acts_at(sigma):
        return conditional
    if unconditional is None:
        raise UsageError(f"guidance acts at sigma {sigma:.3f} and needs the unconditional prediction")
    mixed = unconditional + guidance.scale * (conditional - unconditional)
    if not guidance.rescale:
        return mixed
    axes = list(range(1, mixed.ndim))
    wanted, mixed_std = conditional.std(axes, keepdim=True), mixed.std(axes, keepdim=True)  # (B, 1, ...) each
    return mixed * (1 + guidance.rescale * (wanted / mixed_std.clamp(min=1e-8) - 1))


def inference_sigmas(num_steps: int, shift: float = 1.0) -> list[float]:
    """σ of each sampling step, from 1 down to 1 / num_steps, shifted; the 0 after the last is the scheduler's.

    Raises:
        UsageError: fewer than one step, or a shift that is not positive.
    """
    if num_steps < 1:
        raise UsageError(f"sampling takes at least one step, not {num_steps}")
    if not 0 < shift < math.inf:
        raise UsageError(f"shift must be a positive number, not {shift}")
    return [shift_time((num_steps - i) / num_steps, shift) for i in range(num_steps)]
