"""Rotary position in three axes for video tokens, for any grid, computed when asked.

In: a token grid (frames, rows, columns). Out: cosines and sines (1, N, 1, d/2), one angle for each pair of neighbouring
channels of a head, in the order time, rows, columns. RoFormer (arXiv:2104.09864) on each axis as Wan does it
(arXiv:2503.20314): angles in double precision, no learned part, no table that a longer clip could outgrow.
Letters: B batch, N tokens, H heads, d channels of a head.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class RotaryEmbedding3D(nn.Module):
    """Angles of a token grid.

    `axes_dim` gives the channels of a head that turn with time, rows and columns (each even, together `head_dim`);
    `None` is Wan's split: a third each for rows and columns rounded down to even, the rest for time.
    """

    def __init__(self, head_dim: int, axes_dim: tuple[int, int, int] | None = None, theta: float = 10_000.0) -> None:
        super().__init__()
        side = 2 * (head_dim // 6)
        self.axes_dim = tuple(axes_dim) if axes_dim is not None else (head_dim - 2 * side, side, side)
        if len(self.axes_dim) != 3 or sum(self.axes_dim) != head_dim or any(n < 0 or n % 2 for n in self.axes_dim):
            raise ValueError(
                f"rope axes must be three even numbers that add up to attention_head_dim={head_dim}, "
                f"got {self.axes_dim}"
            )
        self.theta = theta

    def forward(self, grid: tuple[int, int, int], device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
        """Cosines and sines, each (1, N, 1, d/2) float32, tokens in the order of `grid` with columns fastest."""
        dtype = torch.float32 if torch.device(device).type == "mps" else torch.float64
        turned: list[Tensor] = []
        for axis, (length, dim) in enumerate(zip(grid, self.axes_dim, strict=True)):
            rates = self.theta ** -(torch.arange(0, dim, 2, dtype=dtype, device=device) / dim)  # (dim/2,)
            angles = torch.outer(torch.arange(length, dtype=dtype, device=device), rates)  # (length, dim/2)
            turned.append(angles.view([length if axis == k else 1 for k in range(3)] + [dim // 2]))
        cos, sin = (
            torch.cat([wave(angles).float().expand(*grid, -1) for angles in turned], dim=-1).flatten(0, 2)[
                None, :, None
            ]
            for wave in (torch.cos, torch.sin)
        )  # (1, N, 1, d/2)
        return cos, sin


def rotate(x: Tensor, turns: Tensor) -> Tensor:
    """Turn neighbouring channel pairs of `x` (B, N, H, d) by `turns` = cos + i sin (1, N, 1, d/2), complex.

    A pair is a complex number: one product instead of four on strided halves.
    """
    pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)))  # (B, N, H, d/2)
    return torch.view_as_real(pairs * turns).flatten(-2).type_as(x)  # (B, N, H, d)
