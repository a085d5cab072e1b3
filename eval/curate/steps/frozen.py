"""Frozen: for how much of a clip the picture stands still, as in a freeze or a slide show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from v2t_eval.curate.step import BaseStep, Column, Window


@dataclass(frozen=True, kw_only=True)
class FrozenSettings:
    """`least_s`: a shorter standstill does not count: cartoons hold each drawing for two or three frames."""

    least_s: float = 0.5


class Step(BaseStep):
    name = "frozen"
    columns = {
        "still_share": Column("share of the time in which the picture stands still", 0, 1),
        "longest_still_s": Column("seconds of the longest standstill"),
    }
    detects = "freezes, slide shows, still pictures; a standstill is equality up to what a codec does to a picture"
    misses = "a still picture under a moving logo, and one that is zoomed or panned"
    Settings = FrozenSettings

    def measure(self, clip: Window) -> Mapping[str, Any]:
        times, still = clip.survey.times_s[clip.frames], clip.survey.still[clip.frames]  # (N,)
        if len(times) < 2:
            return {"still_share": 1.0, "longest_still_s": clip.duration_s}
        moves = np.flatnonzero(~still[1:]) + 1  # (n,) where another picture begins
        edges = np.concatenate([[times[0]], times[moves], [max(clip.end_s, times[-1])]])
        lengths = np.diff(edges)
        held = lengths[lengths >= self.settings.least_s]
        total = float(edges[-1] - edges[0])
        return {"still_share": float(held.sum()) / total, "longest_still_s": float(lengths.max())}
