"""SSIM: how alike in structure a clip is to its reference video (Wang et al. 2004).

In: a clip and its reference video. Out: the mean over frames of the SSIM of their luma (`v2t_eval.vbench.ssim`:
Gaussian window 11 x 11, sigma 1.5, without the border).
"""

from __future__ import annotations

from statistics import fmean

import numpy as np

from v2t_eval.metrics.paired import PairedMetric, luma
from v2t_eval.vbench.ssim import SIDE, ssim


class Metric(PairedMetric):
    name = "ssim"
    value_range = (-1.0, 1.0)
    least = SIDE
    detects = "blur, blocks, noise and shifts, where they change edges and textures"
    misses = "colour alone; motion, since each frame is compared by itself"

    def compare(self, clip: np.ndarray, reference: np.ndarray) -> float:
        return fmean([ssim(a, b) for a, b in zip(luma(clip), luma(reference), strict=True)])
