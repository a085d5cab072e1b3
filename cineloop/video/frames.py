"""Frames: the pixels of a clip together with the seconds at which they are really shown.

In: arrays from a decoder or a renderer. Out: `Frames`, the one form in which video crosses rooms.
Letters: T frames, H W pixels, three channels RGB. Time is the address: frame indices never leave `cineloop.video`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from cineloop.errors import Notice


@dataclass(frozen=True, eq=False)
class Frames:
    """Frames of one clip, in the order they are shown.

    Attributes:
        pixels: uint8 (T, H, W, 3), RGB, rotation already applied.
        times_s: float64 (T,), strictly increasing true presentation seconds. Zero is the first frame of the FILE, also
            when only a window of it was asked for; `relative_times_s` counts from the start of the window.
        duration_s: seconds covered by the file, or by the window that was asked for, >= 0.
        fps: mean frame rate of the file (of the source, not of the sample), > 0.
        decoder: what made the pixels: "decord", "pyav", "pillow", or the name of a renderer.
        warnings: what is wrong with the file or the frames, such as TRUNCATED.
        start_s: where the window starts within the file; 0 for a whole file.

    Raises:
        ValueError: when shapes, types or the order of times do not fit.
    """

    pixels: np.ndarray
    times_s: np.ndarray
    duration_s: float
    fps: float
    decoder: str = "array"
    warnings: tuple[Notice, ...] = ()
    start_s: float = 0.0

    def __post_init__(self) -> None:
        pixels = self.pixels
        if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[-1] != 3:
            got = f"{getattr(pixels, 'dtype', type(pixels).__name__)} {getattr(pixels, 'shape', '')}"
            raise ValueError(f"Frames.pixels must be uint8 (T, H, W, 3), got {got}")
        if min(pixels.shape) < 1:
            raise ValueError(f"Frames.pixels must hold at least one frame of at least 1x1, got {pixels.shape}")
        times = np.asarray(self.times_s, dtype=np.float64)
        if times.shape != (pixels.shape[0],):
            raise ValueError(f"Frames.times_s must be ({pixels.shape[0]},), one per frame, got {times.shape}")
        if not np.isfinite(times).all() or (np.diff(times) <= 0).any():
            raise ValueError("Frames.times_s must be finite and strictly increasing (no frame is repeated)")
        if not (np.isfinite(self.duration_s) and self.duration_s >= 0 and np.isfinite(self.fps) and self.fps > 0):
            raise ValueError(f"Frames needs duration_s >= 0 and fps > 0, got {self.duration_s} and {self.fps}")
        object.__setattr__(self, "times_s", times)
        object.__setattr__(self, "warnings", tuple(self.warnings))

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the pixels."""
        return self.pixels.shape[1], self.pixels.shape[2]

    @property
    def relative_times_s(self) -> np.ndarray:
        """float64 (T,): seconds from the start of the window (the first may lie a little before zero)."""
        return self.times_s - self.start_s

    def about(self) -> dict[str, Any]:
        """All but the pixels as JSON-able data, for a process that gets these separately (see `read`)."""
        return {
            "times_s": self.times_s.tolist(),
            "duration_s": self.duration_s,
            "fps": self.fps,
            "decoder": self.decoder,
            "warnings": [warning.record() for warning in self.warnings],
            "start_s": self.start_s,
        }

    @classmethod
    def read(cls, pixels: np.ndarray, about: Mapping[str, Any]) -> Self:
        """The frames of pixels and what `about` gave."""
        return cls(pixels=pixels, **{**about, "warnings": tuple(map(Notice.read, about["warnings"]))})

    @classmethod
    def from_pixels(cls, pixels: np.ndarray, fps: float, decoder: str = "array") -> Frames:
        """Frames at a constant rate, such as a renderer makes: frame i is shown at i / fps seconds."""
        times = np.arange(len(pixels), dtype=np.float64) / float(fps)  # (T,)
        return cls(pixels, times, duration_s=len(pixels) / float(fps), fps=float(fps), decoder=decoder)
