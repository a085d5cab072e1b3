"""The pixels being read, and what a file may cost.

In: frames one by one from a decoder. Out: one array (T, H, W, 3), resized on the way. `Limits` refuse before anything
is allocated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cineloop.errors import ItemError, UsageError
from cineloop.video.stream import check_pixels

Allocate = Callable[[tuple[int, ...]], np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one file may cost.

    Args:
        timeout_s: wall-clock seconds per decoder and file, > 0; a long film gets them again for each stretch of it.
        total_s: wall-clock seconds for a question about a file, however long the film; None sets no end.
        memory_mb: resident memory a worker may reach, MiB, >= 64.
        max_pixels: greatest height * width of a frame (8K UHD passes by default, 16384 x 16384 does not), >= 1.
        max_duration_s: greatest length of a file, > 0.
        codecs: FFmpeg's names of the decoders that may read it, with commas between; "" is any.

    Raises:
        UsageError: on a value outside these ranges.
    """

    timeout_s: float = 60.0
    memory_mb: int = 2048
    max_pixels: int = 36_000_000
    max_duration_s: float = 6 * 3600.0
    total_s: float | None = None
    codecs: str = ""

    def __post_init__(self) -> None:
        for name, least in (("timeout_s", 0.01), ("memory_mb", 64), ("max_pixels", 1), ("max_duration_s", 1e-3)):
            if not getattr(self, name) >= least:
                raise UsageError(f"Limits.{name} must be at least {least}, got {getattr(self, name)!r}")
        if self.total_s is not None and not self.total_s > 0:
            raise UsageError(f"Limits.total_s must be above 0, got {self.total_s!r}")


class Canvas:
    """The result being filled: frames arrive one by one and are resized on the way."""

    def __init__(
        self, num: int, stored: tuple[int, int], size: tuple[int, int] | None, limits: Limits, allocate: Allocate
    ):
        self.size = size or stored
        check_pixels(*self.size, limits.max_pixels, "the result")
        total = num * self.size[0] * self.size[1] * 3
        if total > 0.6 * (limits.memory_mb << 20):
            raise ItemError(
                f"{num} frames of {self.size[1]}x{self.size[0]} take {total >> 20} MiB, too much for the worker's "
                f"{limits.memory_mb} MiB",
                code="TOO_LARGE",
                hint="ask for fewer frames or a smaller size, or raise memory_mb",
            )
        self.limits = limits
        self.pixels: np.ndarray = allocate((num, *self.size, 3))  # (T, H, W, 3)
        self.there = np.zeros(num, dtype=bool)
        self.sizes: set[tuple[int, int]] = set()

    def put(self, index: int, rgb: np.ndarray) -> None:
        if rgb.shape[:2] != self.size:
            rgb = resized(rgb, self.size)
        self.pixels[index] = rgb
        self.there[index] = True


def resized(rgb: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """uint8 (h, w, 3) → (H, W, 3) for size (H, W): area mean when shrinking, linear when growing."""
    import cv2

    height, width = size
    shrinks = height <= rgb.shape[0] and width <= rgb.shape[1]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(rgb, (width, height), interpolation=how)  # (H, W, 3)
