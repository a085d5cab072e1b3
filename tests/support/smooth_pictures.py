"""Pictures for comparing filters of two libraries."""

from __future__ import annotations

import numpy as np

SIZES = ((45, 61), (61, 45), (32, 32))


def frames_of(num: int, size: tuple[int, int] = (45, 61), seed: int = 0) -> np.ndarray:
    """Smooth pictures with some noise: a filter's faults show on edges as well as in flat parts."""
    draw = np.random.default_rng(seed)
    y, x = np.mgrid[: size[0], : size[1]]
    waves = 128 + 100 * np.sin((x[None] + 7 * draw.random((num, 1, 1))) / 5 + y[None] / 9)
    return np.clip(waves[..., None] + draw.normal(0, 20, (num, *size, 3)), 0, 255).astype(np.uint8)
