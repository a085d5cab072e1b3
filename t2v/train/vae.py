"""Stage `vae`: the causal autoencoder learns to give clips of the cartoon world back.

In: short clips and single frames (`t2v.data.world`). Out: `final/`, an `AutoencoderKLCineloop` whose config holds the
mean and deviation of each latent channel over held-in clips. The loss is the absolute error, of pixels and of their
differences to the neighbours (edges), figures counting more than the place behind them, and a little KL; no
perceptual network and no discriminator, since there is none to be had here and cartoons have hard edges.
Letters: n clips, T frames, H W size, c latent channels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from cineloop.training.plan import ModelPart, read_part
from cineloop.training.recipe import StageConfig
from t2v.data.world import PictureSource, solo_clips, to_video
from t2v.model.vae import AutoencoderKLCineloop


@dataclass(frozen=True, kw_only=True)
class Config(StageConfig):
    """The autoencoder and what it learns.

    `model` holds the arguments of `AutoencoderKLCineloop`, or `init` a folder to continue from. `lengths` are the
    lengths (4k + 1) batches are drawn from. `figure_weight` is what a pixel of a figure counts. Latent statistics are
    taken over `statistics_clips`.
    """

    model: dict[str, Any] = field(default_factory=dict)
    init: Path | None = None
    size: tuple[int, int] = (64, 64)
    lengths: tuple[int, ...] = (1, 5, 9, 17)
    figure_weight: float = 3.0
    equivariance_share: float = 0.0
    eval_clips: int = 64
    EVAL_SEED: ClassVar[int] = 7  # of the held-out clips: one value, so that runs compare
    statistics_clips: int = 1024

    def __post_init__(self) -> None:
        if not self.lengths or any(length % 4 != 1 or not 0 < length <= 17 for length in self.lengths):
            raise ValueError(f"lengths must be 4k + 1 and at most 17, got {self.lengths}")


class ReconstructionTask(nn.Module):
    """The autoencoder and its loss."""

    def __init__(self, vae: AutoencoderKLCineloop, figure_weight: float, equivariance_share: float = 0.0) -> None:
        super().__init__()
        self.vae: Any = vae
        self.figure_weight, self.equivariance_share = figure_weight, equivariance_share

    def forward(self, batch: dict[str, torch.Tensor]) -> dict[str, Any]:
        """Loss terms as means over the batch (one target each), and the squared error in pixels of 0 to 1."""
        video = batch["pixels"].permute(0, 4, 1, 2, 3).float() / 127.5 - 1  # (n, 3, T, H, W)
        figures = batch["figures"].unsqueeze(1).float()  # (n, 1, T, H, W)
        posterior = self.vae.encode(video).latent_dist
        latents = posterior.sample()  # (n, c, t, h, w)
        if self.training and self.equivariance_share and torch.rand(()) < self.equivariance_share:
            latents, video, figures = transform(latents, video, figures)
        given = self.vae.decode(latents).sample.float()  # (n, 3, T, H, W)
        weight = 1 + (self.figure_weight - 1) * figures  # (n, 1, T, H, W)
        error = given - video
        right, below = error.diff(dim=-1).abs(), error.diff(dim=-2).abs()
        edge = (right * weight[..., 1:]).mean() + (below * weight[..., 1:, :]).mean()
        terms = {"pixel": (error.abs() * weight).mean(), "edge": edge, "kl": posterior.kl().mean()}
        return {"terms": terms, "metrics": {"mse": ((error / 2).square().mean().detach(), 1)}}


def transform(
    latents: torch.Tensor, video: torch.Tensor, figures: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The same picture operation on latents (n, c, t, h, w) and video (n, 3, T, H, W): flip, half size, or a shift.

    Latents that follow such operations are smoother, and a generator learns them faster (EQ-VAE, arXiv:2502.09509).
    """
    kind = int(torch.randint(3, ()))
    if kind == 0:
        return latents.flip(-1), video.flip(-1), figures.flip(-1)
    if kind == 1:
        return tuple(F.avg_pool3d(x, (1, 2, 2)) for x in (latents, video, figures))  # type: ignore[return-value]
    unit = video.shape[-1] // latents.shape[-1]
    pixels = [int(torch.randint(-unit // 2, unit // 2 + 1, ())) for _ in range(2)]
    cells = _shift(latents, [p / unit for p in pixels])
    return cells, _shift(video, pixels), _shift(figures, pixels)


def _shift(x: torch.Tensor, by: Sequence[float]) -> torch.Tensor:
    """(n, C, T, H, W) moved down and right by places, whole or not; what comes in repeats the edge."""
    for axis, amount in zip((3, 4), by, strict=True):
        whole, size = math.floor(amount), x.shape[axis]
        index = torch.arange(size, device=x.device) - whole
        near = x.index_select(axis, index.clamp(0, size - 1))
        if amount == whole:
            x = near
            continue
        far = x.index_select(axis, (index - 1).clamp(0, size - 1))
        x = torch.lerp(near, far, amount - whole)
    return x


def psnr(mse: float) -> float:
    """Peak signal-to-noise ratio in dB of a mean squared error on the scale 0 to 1."""
    return -10 * math.log10(max(mse, 1e-12))


@torch.no_grad()
def reconstruct(vae: Any, pixels: torch.Tensor) -> torch.Tensor:
    """Clips (n, 3, T, H, W) in [-1, 1] through the codec, clamped, eight at a time."""
    parts = [vae.decode(vae.encode(part).latent_dist.mode()).sample for part in pixels.split(8)]
    return torch.cat(parts).float().clamp(-1, 1)


class VaeStage:
    """See the module's head."""

    name, unit = "vae", "clips"

    def __init__(self, config: Config) -> None:
        self.config = config
        self.terms = {"pixel": 1.0, "edge": 0.5, "kl": 1e-6}
        self._held_out: torch.Tensor | None = None

    def build(self) -> nn.Module:
        """The autoencoder, fresh or from `init`."""
        if self.config.init is not None:
            vae = AutoencoderKLCineloop.from_pretrained(self.config.init)
        else:
            vae = AutoencoderKLCineloop(**self.config.model)
        return ReconstructionTask(vae, self.config.figure_weight, self.config.equivariance_share)

    def parts(self, task: ReconstructionTask) -> dict[str, list[nn.Module]]:
        """`encoder` and `decoder`."""
        return {"encoder": [task.vae.encoder], "decoder": [task.vae.decoder]}

    def source(self) -> PictureSource:
        """Training pictures."""
        return PictureSource("train", self.config.data_seed, self.config.size, self.config.lengths)

    def counts(self, batch: dict[str, torch.Tensor]) -> dict[str, float]:
        """One target a batch: its terms are means already."""
        return dict.fromkeys(self.terms, 1.0)

    def evaluate(self, task: ReconstructionTask, device: torch.device) -> dict[str, float]:
        """PSNR over whole held-out solo clips (`score`), and over the pixels of their figures' frames in motion."""
        if self._held_out is None:
            frames, _ = solo_clips("seen", self.config.EVAL_SEED, 0, self.config.eval_clips, self.config.size)
            self._held_out = to_video(frames)
        video = self._held_out.to(device)
        squared = ((reconstruct(task.vae, video) - video) / 2).square()  # (n, 3, T, H, W)
        moving = ((video - video[:, :, :1]).abs().amax(1, keepdim=True) > 0.1).expand_as(squared)
        first = float(squared[:, :, 0].mean())
        return {
            "score": psnr(float(squared.mean())),
            "psnr_first": psnr(first),
            "psnr_moving": psnr(float(squared[moving].mean())),
        }

    @torch.no_grad()
    def export(self, task: ReconstructionTask, folder: Path) -> None:
        """The autoencoder, its latent statistics taken over clips of the training split."""
        vae = task.vae
        device = next(vae.parameters()).device
        total = squares = torch.zeros((), dtype=torch.float64, device=device)
        count = 0
        for start in range(0, self.config.statistics_clips, 32):
            frames, _ = solo_clips("train", self.config.EVAL_SEED, start, 32, self.config.size)
            latents = vae.encode(to_video(frames).to(device)).latent_dist.mode().double()  # (n, c, t, h, w)
            total = total + latents.sum((0, 2, 3, 4))
            squares = squares + latents.square().sum((0, 2, 3, 4))
            count += latents.numel() // latents.shape[1]
        mean = total / count
        std = (squares / count - mean.square()).sqrt()
        vae.set_latents_statistics(mean.tolist(), std.tolist())
        vae.save_pretrained(folder)


def plan_pieces(config: Config) -> tuple[list[ModelPart], str]:
    """The parts that `--plan` counts, and what a sample is."""
    vae: Any = AutoencoderKLCineloop.from_config(read_part(config.init)) if config.init else None
    vae = vae or AutoencoderKLCineloop(**config.model)
    length, (height, width) = max(config.lengths), config.size
    channels, frames = vae.config.latent_channels, 1 + (length - 1) // 4
    video = torch.empty(1, 3, length, height, width)
    latents = torch.empty(1, channels, frames, height // 8, width // 8)
    cells = latents[0, 0].numel()
    return [
        ModelPart("encoder", [vae.encoder], lambda: vae.encoder(video), cells),
        ModelPart("decoder", [vae.decoder], lambda: vae.decoder(latents), cells, main=True),
    ], f"clips of {length}×{height}×{width}, {cells} latent places; shorter clips cost less"


def build_stage(config: Config) -> VaeStage:
    """The stage of this file."""
    return VaeStage(config)
