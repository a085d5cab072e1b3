"""The layers of the causal autoencoder: nothing looks ahead in time, so a clip can come whole or in chunks.

In: video (B, 3, T, H, W), or latents (B, c, t, h, w); with a `FrameCache` the next chunk of one. Out: what
`t2v.model.vae` makes distributions and pictures of. A clip begins with a chunk whose first frame stands alone: an
encoder takes 4k + 1 frames first and then multiples of 4, a decoder any number of latent frames.

Follows: Wan 2.1 (arXiv:2503.20314; causal convolutions that carry their last frames, RMS norm over channels), LTX-Video
(arXiv:2501.00103; patches before the first convolution), DC-AE (arXiv:2410.10733; shortcuts of plain space-to-channel
around every change of size). Letters: B batch, T frames, t latent frames, H W pixels, h w latent size, C channels,
c latent channels, p patch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

Triple = tuple[int, int, int]


class FrameCache:
    """The last input frames of each convolution of one clip that comes in chunks; a new clip takes a new one.

    No mapping on purpose: the offload hooks of accelerate and diffusers copy the mappings and lists they find among
    arguments, and what a convolution leaves in a copy is lost.
    """

    def __init__(self) -> None:
        self.frames: dict[nn.Module, torch.Tensor] = {}


class CausalConv3d(nn.Conv3d):
    """A 3D convolution that looks back in time only: the first frame stands in for the time before it.

    With a `cache` the clip comes in chunks, and the last frames of each are kept for the next.
    """

    bias: torch.Tensor

    def __init__(self, inputs: int, outputs: int, kernel: Triple, stride: Triple = (1, 1, 1)) -> None:
        super().__init__(inputs, outputs, kernel, stride, padding=(0, kernel[1] // 2, kernel[2] // 2))
        self.past = kernel[0] - 1
        self.kept = kernel[0] - stride[0]

    def forward(self, x: torch.Tensor, cache: FrameCache | None = None) -> torch.Tensor:
        """(B, C, T, H, W) to (B, C', 1 + (T - 1) / stride, H', W'), a later chunk to T / stride frames."""
        if self.past:
            if cache is not None and self in cache.frames:
                x = torch.cat([cache.frames[self], x], dim=2)  # (B, C, kept + T, H, W)
            else:
                x = torch.cat([x[:, :, :1]] * self.past + [x], dim=2)  # (B, C, past + T, H, W)
            if cache is not None:  # a copy: a view would keep the whole chunk alive
                cache.frames[self] = x[:, :, x.shape[2] - self.kept :].clone()
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
    """Norm, SiLU, convolution, twice, around a shortcut; the two kernels may differ (first space, then time)."""

    def __init__(self, channels: int, kernel: Triple, second: Triple | None = None) -> None:
        super().__init__()
        self.norm1 = ChannelNorm(channels)
        self.conv1 = CausalConv3d(channels, channels, kernel)
        self.norm2 = ChannelNorm(channels)
        self.conv2 = CausalConv3d(channels, channels, second or kernel)

    def forward(self, x: torch.Tensor, cache: FrameCache | None = None) -> torch.Tensor:
        """(B, C, T, H, W), same shape."""
        inner = self.conv1(F.silu(self.norm1(x)), cache)
        return x + self.conv2(F.silu(self.norm2(inner)), cache)


def blocks(channels: int, count: int, *, factorized: bool) -> nn.ModuleList:
    """`count` residual blocks over space and time: 3 × 3 × 3 twice, or 1 × 3 × 3 and then 3 × 1 × 1."""
    kernels: tuple[Triple, Triple] = ((1, 3, 3), (3, 1, 1)) if factorized else ((3, 3, 3), (3, 3, 3))
    return nn.ModuleList([ResBlock(channels, *kernels) for _ in range(count)])


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

    def forward(self, x: torch.Tensor, cache: FrameCache | None = None) -> torch.Tensor:
        """(B, C, T, H, W) to (B, C', T', H', W')."""
        begins = cache is None or self.conv not in cache.frames  # asked before the convolution fills its place
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


class VaeHalf(nn.Module):
    """What encoder and decoder share: blocks may forget their activations and compute them again going back."""

    # Set by `ModelMixin.enable_gradient_checkpointing`, which looks for these two.
    gradient_checkpointing = False
    _gradient_checkpointing_func: Any = None

    def run(self, block: nn.Module, x: torch.Tensor, cache: FrameCache | None) -> torch.Tensor:
        """`block` of x; not checkpointed where a cache is filled, since going through twice would fill it twice."""
        if self.gradient_checkpointing and torch.is_grad_enabled() and cache is None:
            return self._gradient_checkpointing_func(block, x)
        return block(x, cache)


class Encoder(VaeHalf):
    """Patches, then `widths` over three sizes: (T, 16), (T/2, 8), (T/4, 8) of a 64-pixel clip."""

    def __init__(
        self, latent_channels: int, widths: Sequence[int], depth: int, patch: int, *, factorized: bool = False
    ) -> None:
        super().__init__()
        wide, middle, deep = widths
        self.patch = patch
        self.conv_in = CausalConv3d(3 * patch * patch, wide, (1, 3, 3))
        self.blocks0 = nn.ModuleList([ResBlock(wide, (1, 3, 3))])
        self.down0 = Down(wide, middle, (2, 2, 2))
        self.blocks1 = blocks(middle, 1, factorized=factorized)
        self.down1 = Down(middle, deep, (2, 1, 1))
        self.blocks2 = blocks(deep, depth, factorized=factorized)
        self.norm_out = ChannelNorm(deep)
        self.conv_out = CausalConv3d(deep, 2 * latent_channels, (1, 1, 1))
        with torch.no_grad():  # a quiet posterior to begin with: at deviation 1 the decoder would first see only noise
            self.conv_out.bias[latent_channels:] = -4.0

    def forward(self, x: torch.Tensor, cache: FrameCache | None = None) -> torch.Tensor:
        """Video (B, 3, T, H, W) to means and log variances (B, 2c, t, h, w); a later chunk of T frames to T / 4."""
        x = self.conv_in(fold(x, (1, self.patch, self.patch), begins=False))  # (B, C, T, H/p, W/p)
        for block in (*self.blocks0, self.down0, *self.blocks1, self.down1, *self.blocks2):
            x = self.run(block, x, cache)
        return self.conv_out(F.silu(self.norm_out(x)))  # (B, 2c, t, h, w)


class Decoder(VaeHalf):
    """The encoder's mirror, with twice its blocks where the frames are: to paint is harder than to see."""

    def __init__(
        self, latent_channels: int, widths: Sequence[int], depth: int, patch: int, *, factorized: bool = False
    ) -> None:
        super().__init__()
        wide, middle, deep = widths
        self.patch = patch
        self.conv_in = CausalConv3d(latent_channels, deep, (3, 3, 3))
        self.blocks2 = blocks(deep, depth, factorized=factorized)
        self.up1 = Up(deep, middle, (2, 1, 1))
        self.blocks1 = blocks(middle, 2, factorized=factorized)
        self.up0 = Up(middle, wide, (2, 2, 2))
        self.blocks0 = nn.ModuleList([ResBlock(wide, (1, 3, 3)) for _ in range(2)])
        self.norm_out = ChannelNorm(wide)
        self.conv_out = CausalConv3d(wide, 3 * patch * patch, (1, 3, 3))

    def forward(self, z: torch.Tensor, cache: FrameCache | None = None) -> torch.Tensor:
        """Latents (B, c, t, h, w) to video (B, 3, T, H, W); with a cache, a later chunk to 4t frames."""
        begins = cache is None or self.conv_in not in cache.frames  # asked before the convolution fills its place
        x = self.conv_in(z, cache)
        for block in self.blocks2:
            x = self.run(block, x, cache)
        x = self.up1(x, begins=begins)
        for block in self.blocks1:
            x = self.run(block, x, cache)
        x = self.up0(x, begins=begins)
        for block in self.blocks0:
            x = self.run(block, x, cache)
        x = self.conv_out(F.silu(self.norm_out(x)))  # (B, 3pp, T, H/p, W/p)
        return unfold(x, (1, self.patch, self.patch), begins=False)  # (B, 3, T, H, W)
