"""Probe: what the file holds, counted from its packets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from v2t_eval.curate.step import BaseStep, Column, Window

_DAMAGE = {"TRUNCATED", "DAMAGED", "TIMES_ASSUMED", "TIMES_REPEATED"}

_HDR = "HDR_NOT_TONEMAPPED"


class Step(BaseStep):
    name = "probe"
    columns = {
        "film_frames": Column("frames of the film"),
        "fps": Column("mean frames a second of the film"),
        "damaged": Column("1 where the film is cut off, damaged or without true times, else 0", 0, 1),
        "hdr": Column("1 where the film is of high dynamic range (PQ, HLG), which is read pale, else 0", 0, 1),
    }
    version = 2
    detects = "still pictures (one frame), broken tails"
    misses = "damage that the container does not show"

    def measure(self, clip: Window) -> Mapping[str, Any]:
        """Of the whole film."""
        info = clip.survey.info
        codes = {warning.code for warning in info.warnings}
        return {
            "film_frames": float(info.num_frames),
            "fps": round(info.fps, 6),
            "damaged": float(not codes.isdisjoint(_DAMAGE)),
            "hdr": float(_HDR in codes),
        }
