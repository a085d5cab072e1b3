"""A small autoencoder, noise for it, and what its tests compare."""

from __future__ import annotations

import torch

from t2v.model.vae import AutoencoderKLCineloop

TINY = {"latent_channels": 4, "widths": (8, 16, 16), "depth": 1}


def tiny(**changes) -> AutoencoderKLCineloop:
    """A small autoencoder whose biases and norms are not at their neutral start, so that each of them counts."""
    torch.manual_seed(0)
    model = AutoencoderKLCineloop(**{**TINY, **changes}).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1 and "conv_out" not in name:
                parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def video(*shape: int, seed: int = 1) -> torch.Tensor:
    """Noise in [-1, 1] of (B, T, H, W), as (B, 3, T, H, W)."""
    batch, *rest = shape
    return torch.rand(batch, 3, *rest, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def parameters_of(model, x):
    return model.encode(x).latent_dist.parameters


def close(a, b, atol=1e-5):
    torch.testing.assert_close(a, b, atol=atol, rtol=0)


def in_chunks(model, latent_frames):
    model.use_framewise_encoding = model.use_framewise_decoding = True
    model.num_sample_frames_batch_size, model.num_latent_frames_batch_size = 4 * latent_frames, latent_frames
    return model
