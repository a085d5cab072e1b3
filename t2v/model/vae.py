"""A causal 3D autoencoder: video to latents, 4 frames × 8 × 8 pixels to one place of `latent_channels` values, and back.

In: video in [-1, 1], (B, 3, T, H, W) with T = 4k + 1. Out: latents (B, c, 1 + (T - 1) / 4, H / 8, W / 8). The first
frame is encoded alone, so an image is a video of one frame, and no frame ever sees a later one. Whoever is outside this
file uses `encode_normalized` and `decode_normalized`: latents of mean 0 and deviation 1 per channel, by the statistics
in the config, so that the normalisation cannot be forgotten on one of the two ways.

Follows: Wan 2.1 (arXiv:2503.20314; causal convolutions that carry their last frames, RMS norm over channels), LTX-Video
(arXiv:2501.00103; patches before the first convolution), DC-AE (arXiv:2410.10733; shortcuts of plain space-to-channel
around every change of size). Letters: B batch, T frames, t latent frames, H W pixels, h w latent size, C channels,
c latent channels, p patch.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.autoencoders.vae import AutoencoderMixin, DecoderOutput, DiagonalGaussianDistribution
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from diffusers.models.modeling_utils import ModelMixin
from torch import nn

Triple = tuple[int, int, int]
# What a stream of chunks carries: per convolution its last input frames, by a counter that runs through the network.
Cache = dict[nn.Module, torch.Tensor]


class CausalConv3d(nn.Conv3d):
    """A 3D convolution that looks back in time only: the first frame stands in for the time before it.

    With a `cache` the clip comes in chunks, and the last frames of each are kept for the next.
    """

    def __init__(self, inputs: int, outputs: int, kernel: Triple, stride: Triple = (1, 1, 1)) -> None:
        super().__init__(inputs, outputs, kernel, stride, padding=(0, kernel[1] // 2, kernel[2] // 2))
        self.past = kernel[0] - 1
        self.kept = kernel[0] - stride[0]

    def forward(self, x: torch.Tensor, cache: Cache | None = None) -> torch.Tensor:
        """(B, C, T, H, W) to (B, C', 1 + (T - 1) / stride, H', W'), a later chunk to T / stride frames."""
        if self.past:
            if cache is not None and self in cache:
                x = torch.cat([cache[self], x], dim=2)
            else:
                x = torch.cat([x[:, :, :1]] * self.past + [x], dim=2)
            if cache is not None:
                cache[self] = x[:, :, x.shape[2] - self.kept :]
        return super().forward(x)


class ChannelNorm(nn.Module):
    """RMS norm over the channels of each place, so that no frame feels another."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, T, H, W), same shape."""
        scale = torch.rsqrt(x.float().pow(2).mean(dim=1, keepdim=True) + 1e-6)  # (B, 1, T, H, W)
        return x * scale.to(x.dtype) * self.weight.view(1, -1, 1, 1, 1).to(x.dtype)


class ResBlock(nn.Module):
    """Norm, SiLU, convolution, twice, around a shortcut."""

    def __init__(self, channels: int, kernel: Triple) -> None:
        super().__init__()
        self.norm1 = ChannelNorm(channels)
        self.conv1 = CausalConv3d(channels, channels, kernel)
        self.norm2 = ChannelNorm(channels)
        self.conv2 = CausalConv3d(channels, channels, kernel)

    def forward(self, x: torch.Tensor, cache: Cache | None = None) -> torch.Tensor:
        """(B, C, T, H, W), same shape."""
        inner = self.conv1(F.silu(self.norm1(x)), cache)
        return x + self.conv2(F.silu(self.norm2(inner)), cache)


def fold(x: torch.Tensor, factor: Triple, *, begins: bool) -> torch.Tensor:
    """Blocks of time and space into channels: (B, C, T, H, W) to (B, ft·fh·fw·C, T', H/fh, W/fw).

    Where a clip `begins`, its first frame is repeated to fill a block of its own.
    """
    ft, fh, fw = factor
    if ft > 1 and begins:
        x = torch.cat([x[:, :, :1]] * (ft - 1) + [x], dim=2)
    b, c, t, h, w = x.shape
    x = x.reshape(b, c, t // ft, ft, h // fh, fh, w // fw, fw)
    return x.permute(0, 3, 5, 7, 1, 2, 4, 6).reshape(b, ft * fh * fw * c, t // ft, h // fh, w // fw)


def unfold(x: torch.Tensor, factor: Triple, *, begins: bool) -> torch.Tensor:
    """The inverse of `fold`: of the block in which a clip `begins`, only the last frame is kept."""
    ft, fh, fw = factor
    b, c, t, h, w = x.shape
    c //= ft * fh * fw
    x = x.reshape(b, ft, fh, fw, c, t, h, w).permute(0, 4, 5, 1, 6, 2, 7, 3)  # (B, C, t, ft, h, fh, w, fw)
    x = x.reshape(b, c, t * ft, h * fh, w * fw)
    return x[:, :, ft - 1 :] if begins else x


class Down(nn.Module):
    """Fewer places, more channels: a strided convolution, and beside it the folded input averaged to the new width."""

    def __init__(self, inputs: int, outputs: int, factor: Triple) -> None:
        super().__init__()
        self.factor, self.outputs = factor, outputs
        self.conv = CausalConv3d(inputs, outputs, (3, 3, 3), factor)

    def forward(self, x: torch.Tensor, cache: Cache | None = None) -> torch.Tensor:
        """(B, C, T, H, W) to (B, C', T', H', W')."""
        begins = cache is None or self.conv not in cache
        short = fold(x, self.factor, begins=begins)
        b, c, t, h, w = short.shape
        short = short.reshape(b, c // self.outputs, self.outputs, t, h, w).mean(1)
        return self.conv(x, cache) + short


class Up(nn.Module):
    """More places, fewer channels: a convolution unfolded, and beside it the input's own channels unfolded."""

    def __init__(self, inputs: int, outputs: int, factor: Triple) -> None:
        super().__init__()
        self.factor, self.volume = factor, factor[0] * factor[1] * factor[2]
        self.repeats = outputs * self.volume // inputs
        # Time is mended by the blocks that follow; a full kernel here would be the dearest of the network.
        self.conv = CausalConv3d(inputs, outputs * self.volume, (1, 3, 3))

    def forward(self, x: torch.Tensor, *, begins: bool) -> torch.Tensor:
        """(B, C, t, h, w) to (B, C', T, H, W)."""
        return unfold(self.conv(x) + x.repeat(1, self.repeats, 1, 1, 1), self.factor, begins=begins)


class Encoder(nn.Module):
    """Patches, then `widths` over three sizes: (T, 16), (T/2, 8), (T/4, 8) of a 64-pixel clip."""

    def __init__(self, latent_channels: int, widths: Sequence[int], depth: int, patch: int) -> None:
        super().__init__()
        wide, middle, deep = widths
        self.patch = patch
        self.conv_in = CausalConv3d(3 * patch * patch, wide, (1, 3, 3))
        self.blocks0 = nn.ModuleList([ResBlock(wide, (1, 3, 3))])
        self.down0 = Down(wide, middle, (2, 2, 2))
        self.blocks1 = nn.ModuleList([ResBlock(middle, (3, 3, 3))])
        self.down1 = Down(middle, deep, (2, 1, 1))
        self.blocks2 = nn.ModuleList([ResBlock(deep, (3, 3, 3)) for _ in range(depth)])
        self.norm_out = ChannelNorm(deep)
        self.conv_out = CausalConv3d(deep, 2 * latent_channels, (1, 1, 1))
        with torch.no_grad():  # a quiet posterior to begin with: at deviation 1 the decoder would first see only noise
            self.conv_out.bias[latent_channels:] = -4.0

    def forward(self, x: torch.Tensor, cache: Cache | None = None) -> torch.Tensor:
        """Video (B, 3, T, H, W) to means and log variances (B, 2c, t, h, w)."""
        x = self.conv_in(fold(x, (1, self.patch, self.patch), begins=False))  # (B, C, T, H/p, W/p)
        for block in self.blocks0:
            x = block(x, cache)
        x = self.down0(x, cache)
        for block in self.blocks1:
            x = block(x, cache)
        x = self.down1(x, cache)
        for block in self.blocks2:
            x = block(x, cache)
        return self.conv_out(F.silu(self.norm_out(x)))


class Decoder(nn.Module):
    """The encoder's mirror, with twice its blocks where the frames are: to paint is harder than to see."""

    def __init__(self, latent_channels: int, widths: Sequence[int], depth: int, patch: int) -> None:
        super().__init__()
        wide, middle, deep = widths
        self.patch = patch
        self.conv_in = CausalConv3d(latent_channels, deep, (3, 3, 3))
        self.blocks2 = nn.ModuleList([ResBlock(deep, (3, 3, 3)) for _ in range(depth)])
        self.up1 = Up(deep, middle, (2, 1, 1))
        self.blocks1 = nn.ModuleList([ResBlock(middle, (3, 3, 3)) for _ in range(2)])
        self.up0 = Up(middle, wide, (2, 2, 2))
        self.blocks0 = nn.ModuleList([ResBlock(wide, (1, 3, 3)) for _ in range(2)])
        self.norm_out = ChannelNorm(wide)
        self.conv_out = CausalConv3d(wide, 3 * patch * patch, (1, 3, 3))

    def forward(self, z: torch.Tensor, cache: Cache | None = None) -> torch.Tensor:
        """Latents (B, c, t, h, w) to video (B, 3, T, H, W); with a cache, a later chunk to 4t frames."""
        begins = cache is None or self.conv_in not in cache
        x = self.conv_in(z, cache)
        for block in self.blocks2:
            x = block(x, cache)
        x = self.up1(x, begins=begins)
        for block in self.blocks1:
            x = block(x, cache)
        x = self.up0(x, begins=begins)
        for block in self.blocks0:
            x = block(x, cache)
        x = self.conv_out(F.silu(self.norm_out(x)))
        return unfold(x, (1, self.patch, self.patch), begins=False)


class AutoencoderKLCineloop(ModelMixin, AutoencoderMixin, ConfigMixin):
    """See the module's head.

    Args:
        latent_channels: c.
        widths: channels of the three sizes, finest first.
        depth: residual blocks at the coarsest size, in encoder and decoder each.
        patch_size: pixels a side of the patches before the first convolution; `patch_size` × 2 is the spatial ratio.
        latents_mean, latents_std: per channel; None stands for 0 and 1.
    """

    _supports_gradient_checkpointing = False

    @register_to_config
    def __init__(
        self,
        latent_channels: int = 12,
        widths: tuple[int, int, int] = (64, 128, 128),
        depth: int = 2,
        patch_size: int = 4,
        latents_mean: list[float] | None = None,
        latents_std: list[float] | None = None,
    ) -> None:
        super().__init__()
        self.encoder = Encoder(latent_channels, widths, depth, patch_size)
        self.decoder = Decoder(latent_channels, widths, depth, patch_size)

    def encode(self, x: torch.Tensor, return_dict: bool = True) -> AutoencoderKLOutput | tuple:
        """The distribution of the latents of (B, 3, T, H, W)."""
        posterior = DiagonalGaussianDistribution(self.encoder(x))
        return AutoencoderKLOutput(latent_dist=posterior) if return_dict else (posterior,)

    def decode(self, z: torch.Tensor, return_dict: bool = True) -> DecoderOutput | tuple:
        """The video (B, 3, 4(t-1)+1, 8h, 8w) of latents (B, c, t, h, w)."""
        sample = self.decoder(z)
        return DecoderOutput(sample=sample) if return_dict else (sample,)
