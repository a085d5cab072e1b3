"""Black: how much of a clip shows nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from v2t_eval.curate.step import BaseStep, Column, Window


@dataclass(frozen=True, kw_only=True)
class BlackSettings:
    """`level`: a frame is black where 99 % of it is below this grey level, of 255 (FFmpeg's blackdetect: 0.1 of the
    range and 98 %)."""

    level: int = 16


class Step(BaseStep):
    name = "black"
    columns = {"black_share": Column("share of the frames that are black", 0, 1)}
    detects = "black parts, fades left inside"
    misses = "one colour other than black; night scenes with one lamp pass"
    Settings = BlackSettings

    def measure(self, clip: Window) -> Mapping[str, Any]:
        bright = clip.survey.bright[clip.frames]  # (N,)
        return {"black_share": float((bright < self.settings.level).mean())}
