"""The DDPM family: noise schedules, ε- and v-prediction, Min-SNR weights; the alternative to rectified flow.

In: noise levels σ = t / 1000 in [0, 1], where t counts the noising steps as the papers do (0 is the clean clip, 1000
the noisiest; diffusers' index is t - 1). Out: how much of the clip is left (ᾱ, the cumulative product of 1 - β), what
the network should predict, and how much its error counts. x_t = √ᾱ x_0 + √(1 - ᾱ) ε, so unit variance stays one.
Follows DDPM (arXiv:2006.11239, linear), Improved DDPM (arXiv:2102.09672, cosine), Progressive Distillation
(arXiv:2202.00512, v = √ᾱ ε - √(1 - ᾱ) x_0) and Min-SNR (arXiv:2303.09556). Letters: B batch.
"""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor

NUM_STEPS = 1000
SCHEDULES = ("cosine", "linear")
LINEAR_BETAS = (1e-4, 0.02)
COSINE_OFFSET = 0.008
MAX_BETA = 0.999


def betas(schedule: str) -> Tensor:
    """The share of noise that step t = 1 … 1000 adds: (1000,) float64.

    Raises:
        ValueError: on an unknown schedule.
    """
    if schedule == "linear":
        return torch.linspace(*LINEAR_BETAS, NUM_STEPS, dtype=torch.float64)
    if schedule == "cosine":
        steps = torch.arange(NUM_STEPS + 1, dtype=torch.float64) / NUM_STEPS
        left = torch.cos((steps + COSINE_OFFSET) / (1 + COSINE_OFFSET) * math.pi / 2) ** 2  # f(t); ᾱ is f(t) / f(0)
        return (1 - left[1:] / left[:-1]).clamp(max=MAX_BETA)
    raise ValueError(f"schedule must be one of {', '.join(SCHEDULES)}, not {schedule!r}")


@cache
def _log_alpha_bars(schedule: str) -> Tensor:
    """Of ᾱ the logarithm at t = 0 … 1000: (1001,) float64."""
    return torch.cat((torch.zeros(1, dtype=torch.float64), torch.log1p(-betas(schedule)).cumsum(0)))


def alpha_bar(sigma: Tensor, schedule: str) -> Tensor:
    """ᾱ at σ = t / 1000: the share of the clip's variance that is left; between two steps, log ᾱ is interpolated.

    Args:
        sigma: any shape, in [0, 1].
        schedule: `cosine` or `linear`.
    """
    table = _log_alpha_bars(schedule).to(sigma.device)
    place = sigma.double().clamp(0, 1) * NUM_STEPS
    low = place.floor().long().clamp(max=NUM_STEPS - 1)
    return torch.lerp(table[low], table[low + 1], place - low).exp().to(sigma.dtype)


def min_snr_weights(left: Tensor, prediction: str, gamma: float) -> Tensor:
    """Min-SNR weight of the squared error of a prediction, from ᾱ; finite at both ends, where SNR is 0 or infinite.

    The loss on x_0 is weighted by min(SNR, γ), SNR = ᾱ / (1 - ᾱ). In terms of ε that is min(SNR, γ) / SNR, in terms of
    v min(SNR, γ) / (SNR + 1); both are written here without the division that is 0/0 at ᾱ = 0.

    Args:
        left: ᾱ, any shape, in [0, 1].
        prediction: `epsilon` or `v_prediction`.
        gamma: γ, 5 in the paper.
    """
    noise = 1 - left
    if prediction == "epsilon":
        return torch.where(left > gamma * noise, gamma * noise / left.clamp(min=1e-12), 1.0)
    return torch.minimum(left, gamma * noise)
