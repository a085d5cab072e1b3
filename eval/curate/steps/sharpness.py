"""Sharpness: the variance of the Laplacian at 256 pixels of the shorter side, as of the metric `sharpness`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from v2t_eval.curate.step import BaseStep, Column, Window


class Step(BaseStep):
    name = "sharpness"
    columns = {
        "sharpness": Column("mean variance of the Laplacian, of two frames a second"),
        "sharpness_least": Column("the same of the least sharp of these frames"),
    }
    detects = "blur, pictures enlarged from small ones"
    misses = "noise and grain pass for detail; smooth drawings for blur: prefer a quantile of your own films"

    def measure(self, clip: Window) -> Mapping[str, Any]:
        values = clip.survey.sharpness[clip.close]  # (M,)
        return {"sharpness": float(values.mean()), "sharpness_least": float(values.min())}
