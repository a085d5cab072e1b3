"""Letterbox: dark bars around the picture; kept as a crop, since the picture inside is sound."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from v2t_eval.curate.step import BaseStep, Column, Window


@dataclass(frozen=True, kw_only=True)
class LetterboxSettings:
    """`frames`: pictures that must agree on the bars, fewer only where the clip has fewer. `least`: share of a side
    below which a dark edge is no bar."""

    frames: int = 5
    least: float = 0.02


class Step(BaseStep):
    name = "letterbox"
    columns = {"bars": Column("share of the frame that is dark bars", 0, 1)}
    detects = "dark bars at top and bottom, left and right, throughout the clip"
    misses = (
        "bars of other colours, blurred borders, bars with a logo on them; a dark edge of the picture passes for one"
    )
    Settings = LetterboxSettings

    def measure(self, clip: Window) -> Mapping[str, Any]:
        borders = clip.survey.borders[clip.close]  # (M, 4)
        lit = borders[(borders < 1).all(1)]
        if not len(lit) or len(lit) < min(self.settings.frames, len(borders)):
            return {"bars": 0.0, "crop": None}
        sides = [side if side >= self.settings.least else 0.0 for side in lit.min(0).tolist()]
        height, width = clip.survey.info.height, clip.survey.info.width
        top, bottom = (_even_up(side * height) for side in sides[:2])
        left, right = (_even_up(side * width) for side in sides[2:])
        x, y, w, h = left, top, (width - left - right) // 2 * 2, (height - top - bottom) // 2 * 2
        if not any(sides) or w < 2 or h < 2:
            return {"bars": 0.0, "crop": None}
        return {"bars": 1 - w * h / (width * height), "crop": [x, y, w, h]}


def _even_up(pixels: float) -> int:
    return 2 * math.ceil(round(pixels, 3) / 2)
