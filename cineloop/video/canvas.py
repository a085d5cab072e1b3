"""The pixels being read.

In: frames one by one from a decoder. Out: one array (T, H, W, 3), resized on the way. `Limits` refuse before anything
is allocated.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cineloop.errors import ItemError
from cineloop.video.limits import Limits
from cineloop.video.stream import check_pixels

Allocate = Callable[[tuple[int, ...]], np.ndarray]


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
            rgb = resize_picture(rgb, self.size)
        self.pixels[index] = rgb
        self.there[index] = True


def resize_picture(rgb: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """uint8 (h, w, 3) → (H, W, 3) for size (H, W): area mean when shrinking, linear when growing."""
    import cv2

    height, width = size
    shrinks = height <= rgb.shape[0] and width <= rgb.shape[1]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(rgb, (width, height), interpolation=how)  # (H, W, 3)
