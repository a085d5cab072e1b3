"""Sharpness: the variance of the Laplacian, at one size for all clips.

In: frames. Out: the mean over frames of the variance of the Laplacian of the grey picture (levels 0 to 255), after the
shorter side is brought to 256 pixels (by area when it shrinks, linear when it grows), so that a bigger file of the same
picture is not sharper for its size. The mean does not depend on the order of frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import fsum, inf

import numpy as np

from v2t_eval.metric import BaseMetric, Evidence, Measured, Summary, items_of
from v2t_eval.sample import Sample
from v2t_eval.vbench.ssim import grey_frames

SIDE = 256


class Metric(BaseMetric):
    name = "sharpness"
    needs = ("frames",)
    value_range = (0.0, inf)
    detects = "blur, lost detail"
    misses = "order and time (shuffled and reversed clips score the same to the bit), colour; noise passes for detail"

    def measure(self, sample: Sample) -> Evidence:
        """Mean variance, and that of the least sharp frame."""
        values = [laplacian_variance(frame) for frame in grey_frames(sample)]
        return {"value": fsum(values) / len(values), "least": min(values)}

    def summarise(self, rows: Sequence[Measured], references: Sequence[Measured]) -> Summary:
        items = [item | {"least": row.evidence["least"]} for item, row in zip(items_of(rows), rows, strict=True)]
        return Summary(headline=self.name, figures={self.name: self.mean(rows)}, items=items)


def laplacian_variance(grey: np.ndarray) -> float:
    """Variance of the Laplacian (four neighbours) of a uint8 (H, W) picture at the common size, up to 16 * 255^2."""
    import cv2

    height, width = grey.shape
    scale = SIDE / min(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    picture: np.ndarray = grey.astype(np.float64)
    if size != (width, height):
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    return float(cv2.Laplacian(picture, cv2.CV_64F, ksize=1).var())
