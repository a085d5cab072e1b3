"""The frozen grid: the same noise for the same clip however it is batched, every bin reached, theory's values."""

from __future__ import annotations

import pytest
import torch

from cineloop.errors import NothingMatchedError
from t2v.train.held_out import flow_loss_grid, frozen_noise

CLIPS = torch.randn(6, 2, 3, 4, 4, generator=torch.Generator().manual_seed(0))


def nothing(noisy, sigma, condition):
    return torch.zeros_like(noisy)


def test_batching_and_the_training_random_state_do_not_matter():
    def shaky(noisy, sigma, condition):
        return noisy * sigma.reshape(-1, 1, 1, 1, 1) + condition.reshape(-1, 1, 1, 1, 1)

    numbers = torch.arange(6.0)
    torch.manual_seed(1)
    whole = flow_loss_grid(shaky, [(CLIPS, numbers)], bins=4)
    torch.manual_seed(2)
    before = torch.get_rng_state()
    singles = [(CLIPS[n : n + 1], numbers[n : n + 1]) for n in range(6)]
    apart = flow_loss_grid(shaky, singles, bins=4)
    assert torch.equal(before, torch.get_rng_state())
    assert whole == pytest.approx(apart, rel=1e-5)
    assert set(whole) == {"loss", *(f"loss_bin{n}" for n in range(4))}


def test_saying_nothing_costs_the_variance_and_the_truth_costs_nothing():
    zeros = torch.zeros(64, 4, 5, 8, 8)
    figures = flow_loss_grid(nothing, [(zeros, None)], bins=4, sigmas_per_clip=1)
    assert all(value == pytest.approx(1.0, abs=0.02) for value in figures.values())
    right = flow_loss_grid(lambda x, s, c: x / s.reshape(-1, 1, 1, 1, 1), [(zeros, None)], bins=4)
    assert right["loss"] < 1e-6  # of a black clip the noise is x / sigma, and the velocity is the noise


def test_levels_lie_in_their_bins():
    for place in range(8):
        level, noise = frozen_noise(torch.Size([2, 2]), 0, 3, place, 8)
        assert place / 8 <= level < (place + 1) / 8 and noise.dtype == torch.float32
    assert not torch.equal(frozen_noise(torch.Size([9]), 0, 3, 1, 8)[1], frozen_noise(torch.Size([9]), 0, 4, 1, 8)[1])


def test_fewer_levels_a_clip_still_reach_every_bin():
    seen = []
    flow_loss_grid(lambda x, s, c: seen.extend(s.tolist()) or x, [(CLIPS, None)], bins=6, sigmas_per_clip=1)
    assert sorted(int(level * 6) for level in seen) == list(range(6))
    with pytest.raises(NothingMatchedError, match="do not reach all 8 bins"):
        flow_loss_grid(nothing, [(CLIPS, None)], sigmas_per_clip=1)
    with pytest.raises(ValueError, match="1 … bins"):
        flow_loss_grid(nothing, [(CLIPS, None)], bins=4, sigmas_per_clip=5)
