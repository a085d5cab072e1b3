"""PSNR: how far a clip is from its reference video, pixel by pixel, in decibels.

In: a clip and its reference video. Out: 10 log10(255^2 / MSE), with the mean squared error over all frames, pixels and
colours at once, as ffmpeg's "average"; 100 dB where that would be more, as between equal clips.
"""

from __future__ import annotations

import math

import numpy as np

from v2t_eval.metrics.paired import PairedMetric

MOST = 100.0  # dB


class Metric(PairedMetric):
    name = "psnr"
    value_range = (0.0, MOST)
    detects = "every difference of a pixel, by its square"
    misses = "whether a difference can be seen: a shift by one pixel costs more than a blur"

    def compare(self, clip: np.ndarray, reference: np.ndarray) -> float:
        total = sum(
            int(np.square(a.astype(np.int64) - b.astype(np.int64)).sum()) for a, b in zip(clip, reference, strict=True)
        )
        return MOST if not total else min(MOST, 10 * math.log10(255**2 * clip.size / total))
