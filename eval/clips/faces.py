"""Blur faces that a detector of the user's own finds: YuNet, as OpenCV reads it, in an ONNX file.

In: pictures in the order they are shown, as planes. Out: the same planes, blurred where a face is or was a moment ago.
What the detector misses (faces that are small, turned away, covered) stays as it is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cineloop.errors import UsageError

_SIDE = 640  # pixels of the longer side the detector sees
_LEAST = 0.6  # score of a face
_MARGIN = 0.25  # of a face's size, blurred around it
_KEPT = 6  # frames for which a place stays blurred, for a face that is missed for a moment

Box = tuple[float, float, float, float]  # x, y, width, height


class FaceBlur:
    """A detector and the places of the last frames.

    Raises:
        UsageError: the file is no such detector.
    """

    def __init__(self, model: str | Path) -> None:
        import cv2

        try:
            self._detector = cv2.FaceDetectorYN.create(str(model), "", (_SIDE, _SIDE), _LEAST)
        except cv2.error as error:
            raise UsageError(
                f"{model} is no face detector that OpenCV reads", hint="the ONNX file of YuNet, from OpenCV's model zoo"
            ) from error
        self._places: deque[list[Box]] = deque(maxlen=_KEPT)

    def find(self, bgr: np.ndarray) -> list[Box]:
        """Faces of a picture (H, W, 3), in its pixels."""
        import cv2

        height, width = bgr.shape[:2]
        scale = min(1.0, _SIDE / max(height, width))
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        self._detector.setInputSize(size)
        _, rows = self._detector.detect(cv2.resize(bgr, size, interpolation=cv2.INTER_AREA) if scale < 1 else bgr)
        return [] if rows is None else [tuple(row[:4] / scale) for row in rows.astype(float)]

    def blur(self, bgr: np.ndarray, planes: Sequence[np.ndarray]) -> None:
        """Blur in place.

        Args:
            bgr: the picture (H, W, 3), to find faces in.
            planes: uint8 (h, w) arrays of it, of any size.
        """
        import cv2

        self._places.append(self.find(bgr))
        height, width = bgr.shape[:2]
        for x, y, w, h in (box for boxes in self._places for box in boxes):
            for plane in planes:
                rows, columns = plane.shape[0] / height, plane.shape[1] / width
                top, left = max(0, int((y - _MARGIN * h) * rows)), max(0, int((x - _MARGIN * w) * columns))
                bottom, right = int((y + (1 + _MARGIN) * h) * rows) + 1, int((x + (1 + _MARGIN) * w) * columns) + 1
                part = plane[top:bottom, left:right]
                if part.size:  # four values a side: nothing of a face is left in them
                    small = cv2.resize(part, (4, 4), interpolation=cv2.INTER_AREA)
                    part[...] = cv2.resize(small, part.shape[::-1], interpolation=cv2.INTER_CUBIC)
