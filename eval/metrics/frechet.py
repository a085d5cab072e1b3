"""Frechet distance between the clips and a second set, over features of any extractor: `frechet[feature=...]`.

In: two sets of clips. Out: |m1 - m2|^2 + Tr(S1 + S2 - 2 (S1 S2)^(1/2)) of their features. It is FVD only with I3D
(see `fvd`), and numbers of different features cannot be compared. Arithmetic: `v2t_eval.distribution.frechet`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from v2t_eval.distribution.detectors import FeatureMetric
from v2t_eval.distribution.estimators import Estimator, FrechetEstimator, KernelEstimator
from v2t_eval.distribution.frechet import Divisor
from v2t_eval.distribution.metric import DistributionSettings


@dataclass(frozen=True, kw_only=True)
class FrechetSettings(DistributionSettings):
    """Choices of the Frechet distance.

    Args:
        feature: an extractor, see `v2t_eval.core.features`.
        divisor: of the covariance, "n-1" or "n".
    """

    feature: str = "starter-tower"
    divisor: Divisor = "n-1"


class Metric(FeatureMetric):
    name = "frechet"
    detects = "what the clips look like as a set: content, blur, noise; variety that is missing or too great"
    misses = (
        "whether a clip fits its prompt; which clips are bad; with features of single frames also the order of frames: "
        "a reversed clip scores the same"
    )
    Settings: ClassVar[type[Any]] = FrechetSettings

    def estimators(self) -> dict[str, Estimator]:
        return {"frechet": FrechetEstimator(self.settings.divisor), "kernel": KernelEstimator()}
