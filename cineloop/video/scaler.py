"""Decoded frames of PyAV as arrays of another size and format."""

from __future__ import annotations

from typing import Any

import numpy as np


class Scaler:
    """Frames scaled to `size` (h, w), None for their own, in a pixel format such as gray or bgr24.

    One is made for each film and format: FFmpeg's context for the conversion, which is kept here, takes four times as
    long to make as to shrink a 360p frame to 160 pixels. It uses one thread: a picture is so small that its threads,
    which PyAV starts since 17.0, mostly wait for each other.
    """

    def __init__(self, size: tuple[int, int] | None, format: str) -> None:
        import av
        from av.video.reformatter import VideoReformatter

        self._reformatter = VideoReformatter()
        height, width = size or (None, None)
        self._options: dict[str, Any] = {"width": width, "height": height, "format": format, "interpolation": "AREA"}
        if int(av.__version__.split(".")[0]) >= 17:
            self._options["threads"] = 1

    def __call__(self, frame: Any) -> np.ndarray:
        """uint8 (h, w) or (h, w, 3) of a frame, in one piece: FFmpeg pads the lines of widths that are no multiple of
        its alignment, and what OpenCV does with pictures may not take gaps (its dense flow does not)."""
        return np.ascontiguousarray(self._reformatter.reformat(frame, **self._options).to_ndarray())
