"""Picture operations on latents and video alike: what the autoencoder learns to follow."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from t2v.model.vae import AutoencoderKLCineloop
from t2v.train import vae as stage


@pytest.fixture
def batch():
    torch.manual_seed(0)
    cells = torch.randn(2, 3, 2, 8, 8)
    video = cells.repeat_interleave(4, -1).repeat_interleave(4, -2)  # a decoder that repeats each cell 4 × 4 times
    figures = (torch.rand(2, 1, 2, 32, 32) > 0.5).float()
    return cells, video, figures


@pytest.mark.parametrize("kind", [0, 1])
def test_flip_and_half_size_are_the_same_for_cells_and_pixels(batch, monkeypatch, kind):
    monkeypatch.setattr(torch, "randint", lambda *args, **kwargs: torch.tensor(kind))
    cells, video, figures = stage.transform(*batch)
    assert torch.allclose(F.avg_pool3d(video, (1, 4, 4)), cells, atol=1e-6)
    assert figures.shape[-2:] == video.shape[-2:]


@pytest.mark.parametrize("pixels", [-4, -1, 0, 2, 4])
def test_a_shift_moves_pixels_by_whole_numbers_and_cells_by_their_share(batch, pixels):
    cells, video, _ = batch
    moved, shifted = stage._shift(video, [0, pixels]), stage._shift(cells, [0, pixels / 4])
    column = 16
    assert torch.equal(moved[..., column], video[..., column - pixels])
    if pixels % 4 == 0:
        assert torch.allclose(shifted[..., 4], cells[..., 4 - pixels // 4])
    else:  # between two cells: their mean by distance
        low, high = cells[..., 4 - (-(-pixels // 4))], cells[..., 4 - pixels // 4]
        share = (pixels / 4) % 1
        assert torch.allclose(shifted[..., 4], torch.lerp(high, low, share), atol=1e-6)
    assert moved.shape == video.shape and shifted.shape == cells.shape


def test_operations_act_in_training_alone(monkeypatch):
    """Evaluation and export see plain latents."""
    used = []
    monkeypatch.setattr(stage, "transform", lambda *given: used.append(1) or given)
    vae = AutoencoderKLCineloop(latent_channels=4, widths=(8, 16, 16), depth=1, factorized=True)
    task = stage.ReconstructionTask(vae, 3.0, equivariance_share=1.0)
    batch = {"pixels": torch.zeros(1, 5, 32, 32, 3, dtype=torch.uint8), "figures": torch.zeros(1, 5, 32, 32)}
    task.train()(batch)
    assert len(used) == 1
    task.eval()(batch)
    assert len(used) == 1


def test_factorized_blocks_are_causal_and_smaller():
    """A later frame changes nothing before it, as with whole kernels."""
    torch.manual_seed(0)
    whole, parts = (
        AutoencoderKLCineloop(latent_channels=4, widths=(8, 16, 16), depth=2, factorized=factorized).eval()
        for factorized in (False, True)
    )
    count = [sum(weight.numel() for weight in vae.parameters()) for vae in (whole, parts)]
    assert count[1] < 0.6 * count[0]
    video = torch.randn(1, 3, 9, 32, 32)
    later = video.clone()
    later[:, :, 5:] += 1
    with torch.no_grad():
        first, second = (parts.encode(each).latent_dist.mode() for each in (video, later))
        assert torch.allclose(first[:, :, :2], second[:, :, :2], atol=1e-5)
        assert not torch.allclose(first[:, :, 2:], second[:, :, 2:], atol=1e-3)
        assert F.mse_loss(parts.decode(first).sample, torch.zeros(1, 3, 9, 32, 32)).isfinite()
