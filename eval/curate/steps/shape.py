"""Shape: how long and how large a clip is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from v2t_eval.curate.step import BaseStep, Column, Window


class Step(BaseStep):
    name = "shape"
    columns = {
        "duration_s": Column("seconds"),
        "short_side": Column("pixels of the shorter side"),
        "aspect": Column("width over height, as it is shown"),
    }
    detects = "clips too short, too long, too small, of unusual shape"
    misses = "a small picture that was enlarged"

    def measure(self, clip: Window) -> Mapping[str, Any]:
        """The aspect counts the shape of pixels, which belongs to the stored picture before rotation."""
        info = clip.survey.info
        pixel = 1 / info.sample_aspect if info.rotation % 180 else info.sample_aspect
        return {
            "duration_s": clip.duration_s,
            "short_side": float(min(info.width, info.height)),
            "aspect": info.width * pixel / info.height,
        }
