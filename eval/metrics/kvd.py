"""KVD (Unterthiner et al. 2018): unbiased cubic MMD^2 of I3D's 400 numbers before the softmax, I3D given by path.

In: two sets of clips, 16 frames in a row of each. Out: a number about zero for two sets of one distribution, below it
half the time. It needs far fewer clips than FVD to settle. Arithmetic: `v2t_eval.distribution.kernels`.
"""

from __future__ import annotations

import math

from v2t_eval.distribution.detectors import I3DMetric
from v2t_eval.distribution.estimators import Estimator, KernelEstimator


class Metric(I3DMetric):
    name = "kvd"
    value_range = (-math.inf, math.inf)
    detects = "what the clips look like as a set, and in part how they move: blur, noise, freezing, shuffled frames"
    misses = "whether a clip fits its prompt; which clips are bad; a reversed clip, nearly"

    def estimators(self) -> dict[str, Estimator]:
        return {"kvd": KernelEstimator()}
