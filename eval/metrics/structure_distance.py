"""Structure distance: how far a clip's edges and textures are from its reference video's, in decibels.

In: a clip and its reference video. Out: 1 - SSIM (`v2t_eval.vbench.ssim`, luma, mean over frames), on the scale of
`v2t_eval.metrics.paired`.
"""

from __future__ import annotations

from statistics import fmean

import numpy as np

from v2t_eval.metrics.paired import PairedDistance, luma
from v2t_eval.vbench.ssim import SIDE, ssim


class Metric(PairedDistance):
    name = "structure_distance"
    least = SIDE
    floor = 0.0002
    detects = "other shapes, places and textures; blur, blocks, noise"
    misses = "colour alone; motion, since each frame is compared by itself"

    def compare(self, clip: np.ndarray, reference: np.ndarray) -> float:
        return max(0.0, 1 - fmean([ssim(a, b) for a, b in zip(luma(clip), luma(reference), strict=True)]))
