"""Temporal distance: how differently a clip changes from frame to frame than its reference video, in decibels.

In: a clip and its reference video of two frames or more. Out: the mean over time of the difference of both profiles, on
the scale of `v2t_eval.metrics.paired`; a profile is the mean absolute change of a pixel from frame t to t + 1, in parts
of the full range. Letters: T frames.
"""

from __future__ import annotations

import numpy as np

from cineloop.errors import ItemError
from v2t_eval.metrics.paired import PairedDistance
from v2t_eval.vbench.ssim import difference


class Metric(PairedDistance):
    name = "temporal_distance"
    floor = 0.00002
    detects = "flicker, jumps, stops and repeated frames that the other clip does not have, at their time"
    misses = "everything that changes as much at the same time"

    def compare(self, clip: np.ndarray, reference: np.ndarray) -> float:
        if len(clip) < 2:
            raise ItemError("one frame: nothing can change", code="TOO_SHORT")
        ours, theirs = (
            np.array([difference(pixels[t], pixels[t + 1]) for t in range(len(pixels) - 1)]) / (pixels[0].size * 255)
            for pixels in (clip, reference)
        )  # (T - 1,) each
        return float(np.abs(ours - theirs).mean())
