"""Text in the picture: boxes that look like lines of text, and those that stay, as subtitles, titles and marks do.

Twelve frames of each clip at 360 lines: edges (morphological gradient, Otsu's threshold), letters joined to lines,
boxes of the shape of a line, filled with strokes one after another as densely as letters are. An overlay is text in the
edges that stay in four frames of five: text of the scene moves with it. With a detector of the user's own
(`settings.text.detector=FILE`) boxes are those that it finds, and an overlay is what lies in boxes in four frames of
five. Letters: T frames, n boxes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cineloop.errors import UsageError
from cineloop.log import printable
from cineloop.video.sample import SampleSpec
from v2t_eval.core.measurement import Evidence, Measurement
from v2t_eval.core.sample import Sample
from v2t_eval.curate.clip import FilmClip
from v2t_eval.curate.step import BaseStep, Column, CompareResult, Work, check_file

FRAMES = SampleSpec(num_frames=12)
_LINES = 360  # of the picture in which is looked
_HEIGHTS = (8, 60)  # of a line of text
_LEAST_FILL = 0.45  # share of a box that belongs to it
_LEAST_LONG = 2.0  # width over height
_LEAST_STROKES = 10  # edges in the median row of a box; wheels, windows and clouds have fewer
_LEAST_DENSE = 1.25  # the same for each height of the box: fences have fewer
_AWAY = 0.2  # share of the frames in which an edge that stays may be covered
_SIDE = 736  # pixels of each side that a detector sees; this and the next as OpenCV's model zoo runs PP-OCR's
_MEAN = (122.67891434, 116.66876762, 104.00698793)
_LEAST_TEXT = 0.3  # of a pixel, which is then in the middle of a line
_UNCLIP = 2.0  # a line is wider than its middle by this share of area over girth


def gradient(frame: np.ndarray) -> np.ndarray:
    """uint8 (360, w): how strong the edges of uint8 (H, W, 3) are."""
    import cv2

    size = (max(2, round(frame.shape[1] * _LINES / frame.shape[0])), _LINES)
    method = cv2.INTER_AREA if frame.shape[0] > _LINES else cv2.INTER_CUBIC
    grey = cv2.resize(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), size, interpolation=method)
    edges: np.ndarray = cv2.morphologyEx(grey, cv2.MORPH_GRADIENT, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3)))
    return edges


def text_boxes(edges: np.ndarray) -> np.ndarray:
    """float64 (n, 4): x, y, width, height of each line of text in a `gradient`, as shares of the picture."""
    import cv2

    height, width = edges.shape
    _, sharp = cv2.threshold(edges, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    lines = cv2.morphologyEx(sharp, cv2.MORPH_CLOSE, np.ones((1, 9), np.uint8))
    boxes = []
    for x, y, w, h, area in cv2.connectedComponentsWithStats(lines)[2][1:].tolist():
        is_line = _HEIGHTS[0] <= h <= _HEIGHTS[1] and w >= _LEAST_LONG * h and area > _LEAST_FILL * w * h
        strokes = _strokes(sharp[y : y + h, x : x + w]) if is_line else 0.0
        if strokes >= _LEAST_STROKES and strokes * h >= _LEAST_DENSE * w:
            boxes.append((x / width, y / height, w / width, h / height))
    return np.array(boxes).reshape(-1, 4)


def _strokes(sharp: np.ndarray) -> float:
    """Edges in the median row of a box (h, w)."""
    return float(np.median((sharp[:, 1:] != sharp[:, :-1]).sum(1)))


@dataclass(frozen=True, kw_only=True)
class TextSettings:
    """`detector`: an ONNX file of a DB text detector that OpenCV reads; "" looks for lines by their edges."""

    detector: str = ""

    def __post_init__(self) -> None:
        check_file("detector", self.detector)


class TextBoxes(Measurement):
    """`text`: mean share of the picture in boxes of text; `overlay`: share of it in boxes of edges that stay, or that a
    detector's boxes cover in four frames of five."""

    name = "text_boxes"
    needs = ("frames",)
    Settings = TextSettings

    def prepare(self) -> None:
        """Load the detector. Raises UsageError: OpenCV cannot read it."""
        import cv2

        if not self.settings.detector:
            return
        try:
            self._net = cv2.dnn.readNetFromONNX(self.settings.detector)
        except cv2.error as error:
            raise UsageError(
                f"{printable(self.settings.detector)} is no text detector that OpenCV reads",
                hint="an ONNX file of a DB model, such as PP-OCR's of OpenCV's model zoo",
            ) from error

    def measure(self, sample: Sample) -> Evidence:
        if self.settings.detector:
            masks = np.stack([self._inside(frame) for frame in sample.frames.pixels])  # (T, 736, 736)
            staying = np.sort(masks, axis=0)[int(_AWAY * len(masks))] & (len(masks) > 1)
            return {"text": float(masks.mean()), "overlay": float(staying.mean())}
        edges = np.stack([gradient(frame) for frame in sample.frames.pixels])  # (T, 360, w)
        areas = [_area(text_boxes(each)) for each in edges]
        staying = np.sort(edges, axis=0)[int(_AWAY * len(edges))]  # (360, w)
        return {"text": sum(areas) / len(areas), "overlay": _area(text_boxes(staying)) if len(edges) > 1 else 0.0}

    def _inside(self, frame: np.ndarray) -> np.ndarray:
        """Bool (736, 736): what lies in boxes that the detector finds in uint8 (H, W, 3)."""
        import cv2

        self._net.setInput(cv2.dnn.blobFromImage(frame, 1 / 255, (_SIDE, _SIDE), _MEAN, swapRB=True))
        middle = (self._net.forward().reshape(-1, _SIDE, _SIDE)[0] > _LEAST_TEXT).astype(np.uint8)
        inside = np.zeros((_SIDE, _SIDE), dtype=bool)
        for x, y, w, h, area in cv2.connectedComponentsWithStats(middle)[2][1:].tolist():
            more = round(_UNCLIP * area / (2 * (w + h)))
            inside[max(0, y - more) : y + h + more, max(0, x - more) : x + w + more] = True
        return inside


def _area(boxes: np.ndarray) -> float:
    return float(boxes[:, 2:].prod(1).sum())


class Step(BaseStep):
    name = "text"
    columns = {
        "text_share": Column("mean share of the picture in boxes that look like lines of text", 0, 1),
        "overlay_share": Column("share of the picture in such boxes that stay in place", 0, 1),
    }
    version = 2
    detects = "subtitles, titles, time codes, marks of words"
    misses = "single signs, logos without words, text on a busy ground; fine regular patterns pass for text"
    Settings = TextSettings

    def examine(self, clips: Sequence[FilmClip], work: Work) -> dict[str, Any]:
        """`text_share`, `overlay_share`: by id."""
        evidence = work.evidence(TextBoxes(detector=self.settings.detector), clips, FRAMES)
        return {f"{name}_share": {id: each[name] for id, each in evidence.items()} for name in ("text", "overlay")}

    def compare(self, clips: Sequence[FilmClip]) -> CompareResult:
        return CompareResult(columns={name: [self.known[name].get(clip.id) for clip in clips] for name in self.columns})
