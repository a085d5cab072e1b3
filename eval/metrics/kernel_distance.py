"""Kernel distance between the clips and a second set, over features of any extractor: `kernel_distance[feature=...]`.

In: two sets of clips. Out: MMD^2 of their features under (gamma x.y + coef)^degree, unbiased and cubic unless set
otherwise. It is KVD only with I3D (see `kvd`). Arithmetic: `v2t_eval.distribution.kernels`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from v2t_eval.distribution.detectors import FeatureMetric
from v2t_eval.distribution.estimators import Estimator, KernelEstimator
from v2t_eval.distribution.kernels import Kernel
from v2t_eval.distribution.metric import DistributionSettings


@dataclass(frozen=True, kw_only=True)
class KernelSettings(DistributionSettings):
    """Choices of the kernel distance.

    Args:
        feature: an extractor, see `v2t_eval.core.features`.
        degree, gamma, coef: of the kernel; `gamma` none means 1/d.
        unbiased: leave out pairs of a vector with itself; the value may then fall below zero.
    """

    feature: str = "starter-tower"
    degree: int = 3
    gamma: float | None = None
    coef: float = 1.0
    unbiased: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        Kernel(degree=self.degree, gamma=self.gamma, coef=self.coef)


class Metric(FeatureMetric):
    name = "kernel_distance"
    value_range = (-math.inf, math.inf)
    detects = "what the clips look like as a set: content, blur, noise; variety that is missing or too great"
    misses = (
        "whether a clip fits its prompt; which clips are bad; with features of single frames also the order of frames: "
        "a reversed clip scores the same"
    )
    Settings: ClassVar[type[Any]] = KernelSettings

    def estimators(self) -> dict[str, Estimator]:
        chosen = self.settings
        kernel = Kernel(degree=chosen.degree, gamma=chosen.gamma, coef=chosen.coef)
        return {"kernel_distance": KernelEstimator(kernel, chosen.unbiased)}
