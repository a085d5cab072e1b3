"""Averages chosen after the run equal those computed during it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from cineloop.errors import CineloopError, UsageError
from cineloop.training import ema

STEPS, EVERY = 400, 20


class Drunk(nn.Module):
    """Weights that wander as they do in training: large moves early, small ones later."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.zeros(30)), nn.Parameter(torch.ones(3))
        self.frozen = nn.Parameter(torch.ones(2), requires_grad=False)
        self.rng = torch.Generator().manual_seed(0)

    @torch.no_grad()
    def move(self, step: int) -> None:
        for weight in (self.weight, self.bias):
            weight += torch.randn(weight.shape, generator=self.rng) / (1 + step) ** 0.3 + 0.02


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with snapshots of two tracks, and averages of four widths computed directly at steps 260 and 400."""
    folder = tmp_path_factory.mktemp("run")
    model = Drunk()
    tracks = ema.PowerTracks(model, (0.05, 0.10))
    direct = {width: np.zeros(30) for width in (0.05, 0.07, 0.10, 0.15)}
    kept: dict[tuple[float, int], np.ndarray] = {}
    for step in range(STEPS):
        model.move(step)
        tracks.update(step)
        now = model.weight.detach().double().numpy()
        for width, average in direct.items():
            keep = (1 - 1 / (step + 1)) ** (ema.exponent(width) + 1)
            direct[width] = keep * average + (1 - keep) * now
            kept[width, step + 1] = direct[width]
        if (step + 1) % EVERY == 0:
            tracks.snapshot(folder, step + 1)
    return folder, model, kept


def test_exponents_are_those_of_the_paper():
    for width in (0.01, 0.05, 0.1, 0.25):
        power = ema.exponent(width)
        assert (power + 1) ** 0.5 / (power + 2) / (power + 3) ** 0.5 == pytest.approx(width, rel=1e-9)
    assert ema.exponent(0.05) == pytest.approx(16.97, abs=0.01) and ema.exponent(0.10) == pytest.approx(6.94, abs=0.01)
    for bad in (0.0, 0.3):
        with pytest.raises(ValueError, match="relative widths"):
            ema.exponent(bad)


@pytest.mark.parametrize("width", [0.05, 0.07, 0.10, 0.15])
@pytest.mark.parametrize("step", [400, 260])
def test_any_width_is_reconstructed(run, width, step):
    folder, model, kept = run
    found = ema.reconstruct(folder, width, step)
    assert set(found) == {"weight", "bias"}
    true = kept[width, step]
    error = np.abs(found["weight"].double().numpy() - true).max() / np.abs(true).std()
    spread = np.abs(model.weight.detach().double().numpy() - true).max() / np.abs(true).std()
    assert error < 0.02 and error < spread / 5


def test_the_tracks_own_snapshot_is_itself():
    places = [(100, 5.0), (100, 9.0), (200, 5.0), (200, 9.0)]
    assert ema.weights_of(places, (200, 9.0)) == pytest.approx([0, 0, 0, 1], abs=1e-8)


def test_the_best_width_is_chosen_and_loaded(run):
    folder, model, kept = run
    true = torch.from_numpy(kept[0.10, 400])
    best, scores = ema.choose(folder, (0.05, 0.10, 0.15), lambda w: -float((w["weight"] - true).abs().max()))
    assert best == 0.10 and len(scores) == 3
    ema.load(model, ema.reconstruct(folder, best))
    assert torch.allclose(model.weight.double(), true, atol=0.02)
    with pytest.raises(CineloopError):
        ema.load(model, {"other": torch.ones(1)})


def test_what_is_not_there_is_said(run, tmp_path):
    with pytest.raises(UsageError, match="0 snapshots"):
        ema.reconstruct(tmp_path, 0.1)
    with pytest.raises(UsageError, match="20 snapshots of averages of steps 20, 40, .* 400, none of 393"):
        ema.reconstruct(run[0], 0.1, 393)
