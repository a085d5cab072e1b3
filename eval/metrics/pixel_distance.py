"""Pixel distance: how far a clip's colours are from its reference video's, in decibels.

In: a clip and its reference video. Out: the root of the mean squared difference of all frames, pixels and colours, in
parts of the full range, on the scale of `v2t_eval.metrics.paired`.
"""

from __future__ import annotations

import math

import numpy as np

from v2t_eval.metrics.paired import PairedDistance


class Metric(PairedDistance):
    name = "pixel_distance"
    floor = 0.001
    detects = "every difference of a pixel: colour, brightness, place, swapped channels"
    misses = "whether a difference can be seen: a shift by one pixel costs more than a blur"

    def compare(self, clip: np.ndarray, reference: np.ndarray) -> float:
        total = sum(
            int(np.square(a.astype(np.int64) - b.astype(np.int64)).sum()) for a, b in zip(clip, reference, strict=True)
        )
        return math.sqrt(total / clip.size) / 255
