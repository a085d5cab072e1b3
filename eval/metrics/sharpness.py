"""Sharpness: the variance of the Laplacian, at one size for all clips.

In: frames. Out: the mean over frames of the variance of the Laplacian of the grey picture (levels 0 to 255), after the
shorter side is brought to 256 pixels (by area when it shrinks, linear when it grows), so that a bigger file of the same
picture is not sharper for its size. The mean does not depend on the order of frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import fsum, inf

from v2t_eval.core.measurement import Evidence, Observation
from v2t_eval.core.metric import BaseMetric, Summary, items_of
from v2t_eval.core.sample import Sample
from v2t_eval.frames.sharpness import laplacian_variance
from v2t_eval.vbench.ssim import grey_frames


class Metric(BaseMetric):
    name = "sharpness"
    needs = ("frames",)
    value_range = (0.0, inf)
    detects = "blur, lost detail"
    misses = "order and time (shuffled and reversed clips score the same to the bit), colour; noise passes for detail"

    def measure(self, sample: Sample) -> Evidence:
        values = [laplacian_variance(frame) for frame in grey_frames(sample)]
        return {"value": fsum(values) / len(values), "least": min(values)}

    def summarise(self, rows: Sequence[Observation], references: Sequence[Observation]) -> Summary:
        items = [item | {"least": row.evidence["least"]} for item, row in zip(items_of(rows), rows, strict=True)]
        return Summary(headline=self.name, figures={self.name: self.mean(rows)}, items=items)
