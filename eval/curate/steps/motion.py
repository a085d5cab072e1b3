"""Motion: how fast the camera and what is in the picture move, in heights of the picture a second."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from v2t_eval.curate.step import BaseStep, Column, Window


class Step(BaseStep):
    name = "motion"
    columns = {
        "camera_motion": Column("mean speed of the camera over the picture, heights a second"),
        "object_motion": Column("mean speed of all that moves otherwise, heights a second"),
        "moving_share": Column("share of the picture that moves otherwise than the camera", 0, 1),
    }
    detects = "clips in which nothing, only the camera, or too much moves"
    misses = "motion of plain surfaces, and of what fills most of the picture, which passes for the camera's"

    def measure(self, clip: Window) -> Mapping[str, Any]:
        samples = clip.motion  # (K, 3)
        if not len(samples):
            still = clip.survey.still[clip.frames]
            value = 0.0 if len(still) > 1 and still[1:].all() else None
            return dict.fromkeys(self.columns, value)
        return dict(zip(self.columns, samples.mean(0).tolist(), strict=True))
