"""Frames as transformers processors take them: arrays with metadata, or pictures; and their times as text.

In: `Frames` and the positions of those that the model is to see. Out: `Shown`.
Processors compute the time of a frame as `frames_indices / fps` and write it as seconds or tenths. Ours are in
milliseconds (fps 1000, fractions of one kept): the quotient is the true time, at 23.976 frames a second and at a
variable rate alike. Some compute int(1000 / fps) first, so the grid must not be finer. Letters: T frames, H W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cineloop.video.frames import Frames

if TYPE_CHECKING:
    from PIL.Image import Image

_TICKS = 1000.0


@dataclass(frozen=True, eq=False)
class Shown:
    """The frames a model sees of a clip; unlike in `Frames` one may occur twice.

    Attributes:
        pixels: uint8 (T, H, W, 3).
        times_s: float64 (T,), seconds from the start of the clip or window, >= 0, not decreasing.
        duration_s: of the clip or window.
    """

    pixels: np.ndarray
    times_s: np.ndarray
    duration_s: float

    @classmethod
    def of(cls, frames: Frames, picked: np.ndarray | None = None) -> Shown:
        """The frames at the positions `picked` (T,), or all."""
        # The frame on screen when a window opens may have begun before it.
        times = np.maximum(frames.relative_times_s, 0.0)
        pixels = frames.pixels
        if picked is not None:
            pixels, times = pixels[picked], times[picked]
        return cls(pixels, times, float(frames.duration_s))

    def metadata(self) -> Any:
        """`VideoMetadata` whose `timestamps` are the true times and whose `sampled_fps` is the frames' mean rate."""
        from transformers.video_utils import VideoMetadata

        times = self.times_s
        num = len(times)
        gap_s = (times[-1] - times[0]) / (num - 1) if times[-1] > times[0] else self.duration_s / num
        return VideoMetadata(
            # Not the file's frames: `sampled_fps`, which some models space positions by, is computed from this.
            total_num_frames=max(1, round(num * gap_s * _TICKS)),
            fps=_TICKS,
            height=self.pixels.shape[1],
            width=self.pixels.shape[2],
            duration=self.duration_s,
            frames_indices=[float(time * _TICKS) for time in times],
        )

    def pictures(self) -> list[Image]:
        """The frames as PIL images."""
        from PIL import Image

        return [Image.fromarray(pixels) for pixels in self.pixels]

    def as_text(self) -> str:
        """Duration and times in the wording of LLaVA-Video (arXiv:2410.02713)."""
        num = len(self.times_s)
        shown = "One frame of it is" if num == 1 else f"{num} frames of it are"
        listed = ", ".join(f"{time:.2f} s" for time in self.times_s)
        return f"\nThe video lasts for {self.duration_s:.2f} seconds. {shown} shown, at {listed}.\n"
