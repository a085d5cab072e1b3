"""Letterbox: dark bars around the picture; kept as a crop, since the picture inside is sound.

A bar is straight, constant and has its like on the other side: the picture begins along the whole of its edge, at the
same place for most of the clip, and as far from the other side. The dark of a scene, at night or on a stage, is not,
and is never cropped. The table says what is cropped and why (`crop`, `crop_reason`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from v2t_eval.curate.step import BaseStep, Column, Window

_ODD = 0.015  # share of a side by which two bars, or one bar in two pictures, may differ
_STRAIGHT, _BOXED = 0.6, 0.85  # share of an edge along which the picture begins; of bars on all four sides
_MOST_TIMES = 0.5  # share of the pictures in which a bar is as wide as where it is narrowest


@dataclass(frozen=True, kw_only=True)
class LetterboxSettings:
    """`frames`: pictures that must agree on the bars, fewer only where the clip has fewer. `least`: share of a side
    below which a dark edge is no bar."""

    frames: int = 5
    least: float = 0.02


class Step(BaseStep):
    name = "letterbox"
    columns = {"bars": Column("share of the frame that is dark bars", 0, 1)}
    version = 2
    detects = "dark bars of one width at top and bottom, left and right, throughout the clip"
    misses = "bars of other colours, blurred borders, bars of two widths or with text on them, bars around a dark film"
    Settings = LetterboxSettings

    def measure(self, clip: Window) -> Mapping[str, Any]:
        borders, edges = clip.survey.borders[clip.close], clip.survey.edges[clip.close]  # (M, 4)
        lit = (borders < 1).all(1)
        none = {"bars": 0.0, "crop": None}
        if not lit.any() or lit.sum() < min(self.settings.frames, len(borders)):
            return none
        top, bottom, left, right = self._bars(borders[lit], edges[lit])
        height, width = clip.survey.info.height, clip.survey.info.width
        top, bottom, left, right = (
            _even_up(share * side) for share, side in ((top, height), (bottom, height), (left, width), (right, width))
        )
        x, y, w, h = left, top, (width - left - right) // 2 * 2, (height - top - bottom) // 2 * 2
        if not any((top, bottom, left, right)) or w < 2 or h < 2:
            return none
        named = {"top": top, "bottom": bottom, "left": left, "right": right}
        reason = "dark bars: " + ", ".join(f"{name} {pixels} px" for name, pixels in named.items() if pixels)
        return {"bars": 1 - w * h / (width * height), "crop": [x, y, w, h], "crop_reason": reason}

    def _bars(self, borders: np.ndarray, edges: np.ndarray) -> list[float]:
        """The bars in (M, 4) borders of lit pictures, 0 where a border is not a bar."""
        there = borders <= borders.min(0) + _ODD  # (M, 4)
        sizes = np.array([np.median(own[same]) for own, same in zip(borders.T, there.T, strict=True)])  # (4,)
        straight = np.where(there, edges, 0.0).max(0)  # (4,)
        pairs = []
        for side in (slice(0, 2), slice(2, 4)):
            is_bar = sizes[side].min() >= self.settings.least and np.ptp(sizes[side]) <= _ODD
            pairs.append(bool(is_bar and (there[:, side].mean(0) >= _MOST_TIMES).all()))
        least = _BOXED if sizes.min() >= self.settings.least else _STRAIGHT
        bars = []
        for n, size in enumerate(sizes.tolist()):
            side = slice(0, 2) if n < 2 else slice(2, 4)
            bars.append(size if pairs[n // 2] and straight[side].min() >= least else 0.0)
        return bars if sizes.min() < self.settings.least or all(bars) else [0.0] * 4


def _even_up(pixels: float) -> int:
    return 2 * math.ceil(round(pixels, 3) / 2)
