"""Pictures larger than memory: through a network in overlapping tiles, or a clip in chunks of frames, and joined again.

In: a function of (B, C, T, H, W) tensors, and where to cut. Out: what the function gives of the whole: about the same
for tiles (convolutions pad at the edges of each, so neighbours are blended where they overlap), exactly the same for
chunks (each convolution keeps the frames it looks back on). Tiles as in diffusers, with two differences: the last tile
of a row stands flush with the edge rather than being a sliver, and weights are normalised, so that any overlap will do.
Letters: B batch, C channels, T frames, H W size, h w latent size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch

from t2v.model.vae_layers import FrameCache

Network = Callable[[torch.Tensor], torch.Tensor]
Stream = Callable[[torch.Tensor, FrameCache], torch.Tensor]


@dataclass(frozen=True, kw_only=True)
class Tiles:
    """Tiles of `size` (height, width), `stride` apart, in places of the latents.

    Raises:
        ValueError: a stride below 1, or not below its size: tiles must overlap to be blended.
    """

    size: tuple[int, int]
    stride: tuple[int, int]

    def __post_init__(self) -> None:
        for side, size, stride in zip(("height", "width"), self.size, self.stride, strict=True):
            if not 1 <= stride < size:
                raise ValueError(
                    f"tiles must overlap: the stride of the {side} must be below the tile, got {stride} "
                    f"for tiles of {size} places"
                )

    def cut(self, height: int, width: int) -> bool:
        """Whether a picture of so many places takes more than one tile."""
        return height > self.size[0] or width > self.size[1]


def starts(length: int, size: int, stride: int) -> list[int]:
    """Where the tiles of a side begin: `stride` apart, the last flush with the end."""
    return [*range(0, max(length - size, 0), stride), max(length - size, 0)]


def ramp(size: int, overlap: int, like: torch.Tensor) -> torch.Tensor:
    """Weights (size,) that rise over the overlap, stay at 1, and fall: never 0, so that they can be divided by."""
    places = torch.arange(1, size + 1, device=like.device, dtype=like.dtype)
    return (torch.minimum(places, places.flip(0)) / (overlap + 1)).clamp(max=1)


def in_tiles(network: Network, x: torch.Tensor, tiles: Tiles, *, unit_in: int, unit_out: int) -> torch.Tensor:
    """What `network` gives of x, tile by tile, blended where tiles overlap.

    Args:
        network: (B, C, T, H, W) to (B, C', T', H', W').
        x: (B, C, T, unit_in · h, unit_in · w).
        tiles: where to cut.
        unit_in, unit_out: what a place measures a side in x and in the result: (8, 1) to encode, (1, 8) to decode.

    Returns:
        (B, C', T', unit_out · h, unit_out · w).
    """
    height, width = x.shape[3] // unit_in, x.shape[4] // unit_in
    rows, columns = min(tiles.size[0], height), min(tiles.size[1], width)
    overlap = [(size - step) * unit_out for size, step in zip(tiles.size, tiles.stride, strict=True)]
    total = weights = torch.empty(0)  # made when the first tile tells their shape and dtype
    for top in starts(height, rows, tiles.stride[0]):
        for left in starts(width, columns, tiles.stride[1]):
            part = network(x[:, :, :, *_window(top, left, rows, columns, unit_in)])
            if not total.numel():  # sums of half floats would show the seams
                dtype = torch.promote_types(part.dtype, torch.float32)
                total = part.new_zeros((*part.shape[:3], height * unit_out, width * unit_out), dtype=dtype)
                weights = part.new_zeros(total.shape[3:], dtype=dtype)  # (H', W')
            weight = ramp(rows * unit_out, overlap[0], weights)[:, None] * ramp(columns * unit_out, overlap[1], weights)
            window = _window(top, left, rows, columns, unit_out)
            total[:, :, :, *window] += part * weight
            weights[window] += weight
    return (total / weights).to(part.dtype)


def _window(top: int, left: int, rows: int, columns: int, unit: int) -> tuple[slice, slice]:
    """A tile's rows and columns in a tensor where a place measures `unit` a side."""
    return slice(top * unit, (top + rows) * unit), slice(left * unit, (left + columns) * unit)


def in_chunks(network: Stream, x: torch.Tensor, *, step: int, frames_out: int) -> torch.Tensor:
    """What `network` gives of x, chunk by chunk of time: the first frame alone, then `step` frames at a time.

    Args:
        network: (B, C, n, H, W) and the cache of the chunks before to (B, C', n', H', W').
        x: (B, C, T, H, W).
        step: frames of x in a chunk.
        frames_out: T', the frames of the result.

    Returns:
        (B, C', T', H', W').
    """
    cache, done = FrameCache(), 0
    out = torch.empty(0)  # made when the first chunk tells its shape
    for start, stop in pairwise([0, *range(1, x.shape[2], step), x.shape[2]]):
        part = network(x[:, :, start:stop], cache)
        if not done:  # filled chunk by chunk: to join a list of parts at the end would hold everything twice
            out = part.new_empty((*part.shape[:2], frames_out, *part.shape[3:]))
        out[:, :, done : done + part.shape[2]] = part
        done += part.shape[2]
    if done != frames_out:
        raise ValueError(f"{x.shape[2]} frames in chunks of {step} gave {done} frames, not {frames_out}")
    return out
