"""Held-out loss of a generator on a frozen grid of noise levels and noises, per bin of the noise level.

In: a network's prediction, held-out latents with their conditions. Out: mean loss per bin and over all bins. The noise
level and the noise of clip number n in bin b depend on (seed, n, b) alone, never on the batch size, the device or the
step, so two evaluations differ by the weights only (sheet 7, pain 9: a training loss over random σ says nothing).
Letters: B batch, C channels, T frames, h w latent size; sigma = flow noise level in [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch

from cineloop.errors import NothingMatchedError
from t2v import flow

Predict = Callable[[torch.Tensor, torch.Tensor, Any], torch.Tensor]


def flow_loss_grid(
    predict: Predict,
    batches: Iterable[tuple[torch.Tensor, Any]],
    *,
    bins: int = 8,
    sigmas_per_clip: int | None = None,
    seed: int = 0,
) -> dict[str, float]:
    """Mean squared error of the prediction by noise level.

    Args:
        predict: (noisy (B, C, T, h, w), sigma (B,), condition) → prediction (B, C, T, h, w).
        batches: (clean latents (B, C, T, h, w) of mean 0 and standard deviation 1, condition), in a fixed order.
        bins: equal bins of sigma over [0, 1].
        sigmas_per_clip: forward passes a clip, each in another bin; all bins when None. With fewer, clips take turns.
        seed: of the grid.

    Returns:
        "loss" (mean over the bins, each bin counting alike) and "loss_bin0" … (low noise first).

    Raises:
        ValueError: bins < 1, or sigmas_per_clip not in 1 … bins.
        NothingMatchedError: there is no clip, or too few to reach every bin.
    """
    per_clip = bins if sigmas_per_clip is None else sigmas_per_clip
    if bins < 1 or not 1 <= per_clip <= bins:
        raise ValueError(f"sigmas_per_clip must be in 1 … bins ({bins}), got {per_clip}")
    sums, counts, first = np.zeros(bins), np.zeros(bins), 0
    for clean, condition in batches:
        for turn in range(per_clip):
            places = [((first + row) * per_clip + turn) % bins for row in range(len(clean))]
            grid = [frozen_noise(clean.shape[1:], seed, first + row, place, bins) for row, place in enumerate(places)]
            sigma = torch.tensor([level for level, _ in grid], device=clean.device)  # (B,)
            noise = torch.stack([each for _, each in grid]).to(clean)  # (B, C, T, h, w)
            guess = predict(flow.add_noise(clean, noise, sigma), sigma, condition)
            error = (guess.float() - flow.velocity(clean, noise).float()).square()
            np.add.at(sums, places, error.flatten(1).mean(1).cpu().double().numpy())
            np.add.at(counts, places, 1)
        first += len(clean)
    if not counts.all():
        raise NothingMatchedError(
            f"{first} held-out clips × {per_clip} noise levels do not reach all {bins} bins of noise",
            hint="hold out more clips, or take fewer bins",
        )
    means = sums / counts
    return {"loss": float(means.mean()), **{f"loss_bin{place}": float(mean) for place, mean in enumerate(means)}}


def frozen_noise(shape: torch.Size, seed: int, number: int, place: int, bins: int) -> tuple[float, torch.Tensor]:
    """The noise level in bin `place` and the noise (of `shape`, fp32, CPU) that clip `number` always gets there."""
    rng = np.random.default_rng([seed, number, place])
    level = (place + rng.random()) / bins
    return level, torch.from_numpy(rng.standard_normal(tuple(shape), dtype=np.float32))
