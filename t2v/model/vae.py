"""A causal 3D autoencoder: 4 frames × 8 × 8 pixels to one place of `latent_channels` values, and back.

In: video in [-1, 1], (B, 3, T, H, W) with T = 4k + 1. Out: latents (B, c, 1 + (T - 1) / 4, H / 8, W / 8). The first
frame is encoded alone, so an image is a video of one frame, and no frame ever sees a later one. Whoever is outside uses
`encode_normalized` and `decode_normalized`: latents of mean 0 and deviation 1 per channel, by the statistics in the
config, so that the normalisation cannot be forgotten on one of the two ways. The network is in `vae_layers`.

Follows: Wan 2.1 (arXiv:2503.20314; causal convolutions that carry their last frames, RMS norm over channels), LTX-Video
(arXiv:2501.00103; patches before the first convolution), DC-AE (arXiv:2410.10733; shortcuts of plain space-to-channel
around every change of size). Letters: B batch, T frames, t latent frames, H W pixels, h w latent size, C channels,
c latent channels, p patch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.autoencoders.vae import AutoencoderMixin, DecoderOutput, DiagonalGaussianDistribution
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from diffusers.models.modeling_utils import ModelMixin
from diffusers.utils.accelerate_utils import apply_forward_hook

from t2v.model.vae_layers import Decoder, Encoder
from t2v.model.vae_tiling import Tiles, in_chunks, in_tiles

TEMPORAL_RATIO = 4


class AutoencoderKLCineloop(ModelMixin, AutoencoderMixin, ConfigMixin):
    """See the module's head. Memory is saved, as in diffusers' autoencoders, in three ways that may be combined:

    - `enable_slicing()`: one clip of a batch at a time; the same result.
    - `enable_tiling(...)`: pictures larger than a tile in overlapping tiles, blended; about the same result.
    - `use_framewise_encoding`, `use_framewise_decoding` = True: `num_sample_frames_batch_size` frames, or
      `num_latent_frames_batch_size` latent frames, at a time (the first alone); the same result, and the memory of the
      layers no longer grows with the length.

    Args:
        latent_channels: c.
        widths: channels of the three sizes, finest first; each next divides 8 ×, then 2 ×, the one before.
        depth: residual blocks at the coarsest size, in encoder and decoder each.
        factorized: blocks over space and time as 1 × 3 × 3 and 3 × 1 × 1 convolutions rather than two of 3 × 3 × 3:
            about a fifth of their weights and operations.
        patch_size: pixels a side of the patches before the first convolution; `patch_size` × 2 is the spatial ratio.
        latents_mean, latents_std: per channel, of `encode(...).latent_dist.mode()`; None stands for 0 and 1.
        spatial_compression_ratio, temporal_compression_ratio: for readers of the config; they follow from the rest.

    Raises:
        ValueError: arguments that do not go together.
    """

    _supports_gradient_checkpointing = True
    _no_split_modules = ["ResBlock", "Down", "Up"]

    @register_to_config
    def __init__(
        self,
        latent_channels: int = 12,
        widths: tuple[int, int, int] = (64, 128, 128),
        depth: int = 2,
        patch_size: int = 4,
        factorized: bool = False,
        latents_mean: list[float] | None = None,
        latents_std: list[float] | None = None,
        spatial_compression_ratio: int | None = None,
        temporal_compression_ratio: int | None = None,
    ) -> None:
        super().__init__()
        _check_sizes(latent_channels, widths, depth, patch_size)
        _check_statistics(latent_channels, latents_mean, latents_std)
        ratios = (2 * patch_size, TEMPORAL_RATIO)
        for ratio, given in zip(ratios, (spatial_compression_ratio, temporal_compression_ratio), strict=True):
            if given not in (None, ratio):
                raise ValueError(f"with patches of {patch_size} the compression ratios are {ratios}, got {given}")
        self.register_to_config(spatial_compression_ratio=ratios[0], temporal_compression_ratio=ratios[1])
        self.spatial_compression_ratio, self.temporal_compression_ratio = ratios
        self.encoder = Encoder(latent_channels, widths, depth, patch_size, factorized=factorized)
        self.decoder = Decoder(latent_channels, widths, depth, patch_size, factorized=factorized)

        self.use_slicing = self.use_tiling = False
        self.use_framewise_encoding = self.use_framewise_decoding = False
        self.num_sample_frames_batch_size = 16
        self.num_latent_frames_batch_size = 4
        self.tile_sample_min_height = self.tile_sample_min_width = 32 * ratios[0]
        self.tile_sample_stride_height = self.tile_sample_stride_width = 24 * ratios[0]

    def enable_tiling(
        self,
        tile_sample_min_height: int | None = None,
        tile_sample_min_width: int | None = None,
        tile_sample_stride_height: int | None = None,
        tile_sample_stride_width: int | None = None,
    ) -> None:
        """Encode and decode pictures larger than a tile in overlapping tiles.

        Args:
            tile_sample_min_height, tile_sample_min_width: size of a tile in pixels; None leaves what was set.
            tile_sample_stride_height, tile_sample_stride_width: from tile to tile; None leaves what was set, or makes
                it three quarters of a tile whose size is given.

        Raises:
            ValueError: sizes that do not divide by the spatial ratio, or tiles that do not overlap.
        """
        unit = self.spatial_compression_ratio
        for side, size, stride in (
            ("height", tile_sample_min_height, tile_sample_stride_height),
            ("width", tile_sample_min_width, tile_sample_stride_width),
        ):
            if size is not None:
                setattr(self, f"tile_sample_min_{side}", size)
                stride = stride if stride is not None else max(size * 3 // 4 // unit, 1) * unit
            if stride is not None:
                setattr(self, f"tile_sample_stride_{side}", stride)
        self._tiles()
        self.use_tiling = True

    @apply_forward_hook
    def encode(self, x: torch.Tensor, return_dict: bool = True) -> AutoencoderKLOutput | tuple:
        """The distribution of the latents (B, c, 1 + (T - 1) / 4, H / 8, W / 8) of a video.

        Args:
            x: (B, 3, T, H, W) in [-1, 1], T = 4k + 1, H and W multiples of the spatial ratio.
            return_dict: an `AutoencoderKLOutput(latent_dist)`, or a tuple of the distribution.

        Raises:
            ValueError: any other shape or kind of numbers.
        """
        self._check_video(x)
        clips = x.split(1) if self.use_slicing and x.shape[0] > 1 else (x,)
        posterior = DiagonalGaussianDistribution(torch.cat([self._encode(clip) for clip in clips]))  # (B, 2c, t, h, w)
        return AutoencoderKLOutput(latent_dist=posterior) if return_dict else (posterior,)

    @apply_forward_hook
    def decode(self, z: torch.Tensor, return_dict: bool = True) -> DecoderOutput | tuple:
        """The video (B, 3, 4(t - 1) + 1, 8h, 8w), not clamped, of latents (B, c, t, h, w) as `encode` gives them.

        Raises:
            ValueError: any other shape or kind of numbers.
        """
        self._check_latents(z)
        clips = z.split(1) if self.use_slicing and z.shape[0] > 1 else (z,)
        parts = [self._decode(clip) for clip in clips]
        sample = torch.cat(parts) if len(parts) > 1 else parts[0]  # (B, 3, T, H, W)
        return DecoderOutput(sample=sample) if return_dict else (sample,)

    def set_latents_statistics(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Put the mean and deviation of each channel of `encode(...).latent_dist.mode()` into the config.

        Raises:
            ValueError: not one finite number per channel, or a deviation that is not above 0.
        """
        _check_statistics(self.config.latent_channels, mean, std)
        # What diffusers notes as left at its default, `from_config(model.config)` would set back to None.
        defaults = set(self.config.get("_use_default_values", ())) - {"latents_mean", "latents_std"}
        self.register_to_config(
            latents_mean=[float(value) for value in mean],
            latents_std=[float(value) for value in std],
            _use_default_values=sorted(defaults),
        )

    def encode_normalized(
        self,
        x: torch.Tensor,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        sample: bool = False,
    ) -> torch.Tensor:
        """Latents (B, c, t, h, w) of mean 0 and deviation 1 per channel, in the model's dtype.

        Args:
            x: as for `encode`, of any float dtype.
            generator: draws the sample; one for the batch or one per clip.
            sample: draw from the distribution rather than take its mean.
        """
        posterior = self.encode(x.to(self.dtype) if x.is_floating_point() else x).latent_dist
        latents = posterior.sample(generator) if sample else posterior.mode()  # (B, c, t, h, w)
        mean, std = self._statistics(latents.device)
        return ((latents - mean) / std).to(latents.dtype)  # worked out in float32 at least

    def decode_normalized(self, latents: torch.Tensor) -> torch.Tensor:
        """The video (B, 3, T, H, W), clamped to [-1, 1], of latents as `encode_normalized` gives them."""
        self._check_latents(latents)
        mean, std = self._statistics(latents.device)
        return self.decode((latents * std + mean).to(self.dtype)).sample.clamp_(
            -1, 1
        )  # in place: a long video is large

    def forward(
        self,
        sample: torch.Tensor,
        sample_posterior: bool = False,
        return_dict: bool = True,
        generator: torch.Generator | None = None,
    ) -> DecoderOutput | tuple:
        """There and back: the video (B, 3, T, H, W) from the mean of its latents, or from a sample of them."""
        posterior = self.encode(sample).latent_dist
        return self.decode(posterior.sample(generator) if sample_posterior else posterior.mode(), return_dict)

    # Slicing, then tiling, then chunks of time: each step below runs the next on what it cut (diffusers issue 9342).
    def _encode(self, x: torch.Tensor) -> torch.Tensor:
        """Means and log variances (B, 2c, t, h, w)."""
        unit = self.spatial_compression_ratio
        if self.use_tiling and self._tiles().cut(x.shape[3] // unit, x.shape[4] // unit):
            return in_tiles(self._encode_tile, x, self._tiles(), unit_in=unit, unit_out=1)
        return self._encode_tile(x)

    def _encode_tile(self, x: torch.Tensor) -> torch.Tensor:
        if not self.use_framewise_encoding:
            return self.encoder(x)
        step = self.num_sample_frames_batch_size
        if step < TEMPORAL_RATIO or step % TEMPORAL_RATIO:
            raise ValueError(f"num_sample_frames_batch_size must be a multiple of {TEMPORAL_RATIO}, got {step}")
        return in_chunks(self.encoder, x, step=step, frames_out=1 + (x.shape[2] - 1) // TEMPORAL_RATIO)

    def _decode(self, z: torch.Tensor) -> torch.Tensor:
        """Video (B, 3, T, H, W)."""
        unit = self.spatial_compression_ratio
        if self.use_tiling and self._tiles().cut(z.shape[3], z.shape[4]):
            return in_tiles(self._decode_tile, z, self._tiles(), unit_in=1, unit_out=unit)
        return self._decode_tile(z)

    def _decode_tile(self, z: torch.Tensor) -> torch.Tensor:
        if not self.use_framewise_decoding:
            return self.decoder(z)
        step = self.num_latent_frames_batch_size
        if step < 1:
            raise ValueError(f"num_latent_frames_batch_size must be at least 1, got {step}")
        return in_chunks(self.decoder, z, step=step, frames_out=1 + (z.shape[2] - 1) * TEMPORAL_RATIO)

    def _tiles(self) -> Tiles:
        """The tiles in places of the latents."""
        unit = self.spatial_compression_ratio
        size = (self.tile_sample_min_height, self.tile_sample_min_width)
        stride = (self.tile_sample_stride_height, self.tile_sample_stride_width)
        if any(length % unit for length in (*size, *stride)):
            raise ValueError(f"tiles and strides must be multiples of {unit} pixels, got {size}, {stride} apart")
        return Tiles(size=(size[0] // unit, size[1] // unit), stride=(stride[0] // unit, stride[1] // unit))

    def _statistics(self, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and deviation of the latents, (1, c, 1, 1, 1) each."""
        channels = self.config.latent_channels
        mean, std = self.config.latents_mean or [0.0] * channels, self.config.latents_std or [1.0] * channels
        both = torch.tensor([mean, std], device=device, dtype=torch.float32)  # (2, c)
        first, second = both.view(2, 1, channels, 1, 1, 1)
        return first, second

    def _check_video(self, x: torch.Tensor) -> None:
        unit = self.spatial_compression_ratio
        if x.ndim == 4:
            raise ValueError(
                f"a video is (B, 3, T, H, W), got {tuple(x.shape)}; a picture is one frame: x.unsqueeze(2)"
            )
        if x.ndim != 5 or x.shape[1] != 3 or 0 in x.shape:
            raise ValueError(f"a video is (B, 3, T, H, W), got {tuple(x.shape)}")
        if x.shape[2] % TEMPORAL_RATIO != 1 or x.shape[3] % unit or x.shape[4] % unit:
            raise ValueError(
                f"a video has {TEMPORAL_RATIO}k + 1 frames and sides that divide by {unit}, got {x.shape[2]} frames of "
                f"{x.shape[3]}×{x.shape[4]} (height × width)"
            )
        if not x.is_floating_point():
            raise ValueError(f"a video is of floating point in [-1, 1], got {x.dtype}; bytes are x / 127.5 - 1")

    def _check_latents(self, z: torch.Tensor) -> None:
        channels = self.config.latent_channels
        if z.ndim != 5 or z.shape[1] != channels or 0 in z.shape:
            raise ValueError(f"latents of this autoencoder are (B, {channels}, t, h, w), got {tuple(z.shape)}")
        if not z.is_floating_point():
            raise ValueError(f"latents are of floating point, got {z.dtype}")


def _check_sizes(latent_channels: int, widths: Sequence[int], depth: int, patch_size: int) -> None:
    if len(widths) != 3 or min(*widths, latent_channels, patch_size) < 1 or depth < 0:
        raise ValueError(
            f"three widths, latent_channels and patch_size of at least 1, depth of at least 0; got {tuple(widths)}, "
            f"{latent_channels}, {patch_size}, {depth}"
        )
    wide, middle, deep = widths
    if 8 * wide % middle or 2 * middle % deep:  # channels that change size are averaged or repeated in equal groups
        raise ValueError(f"of widths (a, b, c), b must divide 8a, and c must divide 2b; got {tuple(widths)}")


def _check_statistics(channels: int, mean: Sequence[float] | None, std: Sequence[float] | None) -> None:
    for name, values in (("latents_mean", mean), ("latents_std", std)):
        if values is not None and (len(values) != channels or not all(map(math.isfinite, values))):
            raise ValueError(f"{name} must be {channels} finite numbers, one per latent channel, got {values}")
    if std is not None and min(std) <= 0:
        raise ValueError(f"latents_std must be above 0, got {std}")
