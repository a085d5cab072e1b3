"""Clips of random pixels: no two frames alike, the same for a seed on every machine."""

from __future__ import annotations

import numpy as np

from cineloop.video.frames import Frames


def noise(seed: int = 0, num: int = 6, *, size: tuple[int, int] = (32, 32), fps: float = 2.0) -> Frames:
    """`num` frames of `size` (H, W)."""
    pixels = np.random.default_rng(seed).integers(0, 256, (num, *size, 3), dtype=np.uint8)  # (num, H, W, 3)
    return Frames.from_pixels(pixels, fps)
