"""What the generator is trained to predict, how noise levels are drawn, and how a prediction is guided.

In: latents, noise, noise levels σ in [0, 1] (0 the clip, 1 pure noise; the network gets the timestep 1000 σ). Out:
noisy latents, targets, weights; lists of σ for sampling; guided predictions. Rectified flow is the default:
x_σ = (1 - σ) x_0 + σ ε and the velocity ε - x_0 (arXiv:2209.03003), σ logit-normal and shifted (SD3, arXiv:2403.03206).
ε- and v-prediction are of the DDPM family (`t2v.diffusion`), whose time σ is too. Training draws σ here and never reads
a scheduler's table; the loop over sampling steps is in `t2v.pipeline`. Letters: B batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cineloop.errors import UsageError
from t2v import diffusion

SIGMA_SAMPLINGS = ("logit_normal", "uniform")
PREDICTIONS = ("flow", "epsilon", "v_prediction")


@dataclass(frozen=True, kw_only=True)
class FlowConfig:
    """Objective and distribution of noise levels in training.

    Args:
        sigma_sampling: `logit_normal` (sigmoid of a normal) or `uniform`.
        mean, std: of that normal.
        shift: s > 0; σ becomes s σ / (1 + (s - 1) σ), towards noise for s > 1.
        uniform_floor: share of draws, in [0, 1], that are uniform and not shifted, so that the ends are seen.
        prediction: `flow` (rectified flow's velocity), `epsilon` or `v_prediction` (of the DDPM family).
        schedule: `cosine` or `linear`; of the DDPM family only.
        min_snr_gamma: γ of Min-SNR weights; None weighs every σ alike.

    Raises:
        UsageError: a value out of range or an unknown choice.
    """

    sigma_sampling: str = "logit_normal"
    mean: float = 0.0
    std: float = 1.0
    shift: float = 1.0
    uniform_floor: float = 0.0
    prediction: str = "flow"
    schedule: str = "cosine"
    min_snr_gamma: float | None = None

    def __post_init__(self) -> None:
        for name, choices in (
            ("sigma_sampling", SIGMA_SAMPLINGS),
            ("prediction", PREDICTIONS),
            ("schedule", diffusion.SCHEDULES),
        ):
            if getattr(self, name) not in choices:
                raise UsageError(f"{name} must be one of {', '.join(choices)}, not {getattr(self, name)!r}")
        for name in ("std", "shift"):
            if not 0 < getattr(self, name) < math.inf:
                raise UsageError(f"{name} must be a positive number, not {getattr(self, name)}")
        if not math.isfinite(self.mean):
            raise UsageError(f"mean must be a number, not {self.mean}")
        if not 0 <= self.uniform_floor <= 1:
            raise UsageError(f"uniform_floor must lie in [0, 1], not {self.uniform_floor}")
        if self.min_snr_gamma is not None and not self.min_snr_gamma > 0:
            raise UsageError(f"min_snr_gamma must be positive or none, not {self.min_snr_gamma}")


RECTIFIED_FLOW = FlowConfig()


def shifted(sigma: Any, shift: float) -> Any:
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
    return torch.where(chosen < config.uniform_floor, uniform, shifted(drawn, config.shift))


# --- the objective
def add_noise(clean: Tensor, noise: Tensor, sigma: Tensor, config: FlowConfig = RECTIFIED_FLOW) -> Tensor:
    """The noisy latents of level σ: (B, ...) from clean latents and unit noise (B, ...) and σ (B,)."""
    signal, spread = _scales(sigma, config, clean)
    return signal * clean + spread * noise


def target(clean: Tensor, noise: Tensor, sigma: Tensor, config: FlowConfig = RECTIFIED_FLOW) -> Tensor:
    """What the network should say of `add_noise(clean, noise, sigma, config)`: (B, ...)."""
    if config.prediction == "flow":
        return noise - clean
    if config.prediction == "epsilon":
        return noise
    signal, spread = _scales(sigma, config, clean)
    return signal * noise - spread * clean


def _scales(sigma: Tensor, config: FlowConfig, like: Tensor) -> tuple[Tensor, Tensor]:
    """What the clean latents and the noise are multiplied with, each (B, 1, ...)."""
    sigma = sigma.to(like.device, torch.float32).reshape(-1, *[1] * (like.ndim - 1))  # (B, 1, ...)
    if config.prediction == "flow":
        signal, spread = 1 - sigma, sigma
    else:
        left = diffusion.alpha_bar(sigma.double(), config.schedule)
        signal, spread = left.sqrt(), (1 - left).sqrt()
    return signal.to(like.dtype), spread.to(like.dtype)


def loss_weights(sigma: Tensor, config: FlowConfig = RECTIFIED_FLOW) -> Tensor:
    """The weight of each clip's squared error: (B,) float32, ones without Min-SNR.

    Of rectified flow Min-SNR is min(SNR, γ) on x_0 with SNR = ((1 - σ) / σ)², and x_0's error is σ times velocity's.
    """
    if config.min_snr_gamma is None:
        return torch.ones_like(sigma, dtype=torch.float32)
    if config.prediction == "flow":
        return torch.minimum((1 - sigma) ** 2, config.min_snr_gamma * sigma**2).float()
    left = diffusion.alpha_bar(sigma.double(), config.schedule)
    return diffusion.min_snr_weights(left, config.prediction, config.min_snr_gamma).float()


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


def guided(conditional: Tensor, unconditional: Tensor | None, guidance: GuidanceConfig, sigma: float) -> Tensor:
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
    wanted, found = conditional.std(axes, keepdim=True), mixed.std(axes, keepdim=True)  # (B, 1, ...) each
    return mixed * (1 + guidance.rescale * (wanted / found.clamp(min=1e-8) - 1))


def inference_sigmas(num_steps: int, shift: float = 1.0) -> list[float]:
    """σ of each sampling step, from 1 down to 1 / num_steps, shifted; the 0 after the last is the scheduler's.

    Raises:
        UsageError: fewer than one step, or a shift that is not positive.
    """
    if num_steps < 1:
        raise UsageError(f"sampling takes at least one step, not {num_steps}")
    if not 0 < shift < math.inf:
        raise UsageError(f"shift must be a positive number, not {shift}")
    return [shifted((num_steps - i) / num_steps, shift) for i in range(num_steps)]
