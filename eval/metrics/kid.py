"""KID (Binkowski et al. 2018) of frames: unbiased cubic MMD^2 of Inception's 2048 numbers, Inception given by path.

In: two sets of clips, of which the frames named by `frames` are the images. Out: a number about zero for two sets of
one distribution, below it half the time. `form` "full" uses all pairs; "subsets" is the mean over random subsets of
equal size, as torchmetrics and torch-fidelity do. Arithmetic: `v2t_eval.distribution.kernels`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from v2t_eval.distribution.detectors import InceptionMetric, InceptionSettings
from v2t_eval.distribution.estimators import Estimator, KernelEstimator, SubsetEstimator


@dataclass(frozen=True, kw_only=True)
class KidSettings(InceptionSettings):
    """Choices of KID.

    Args:
        form: "full" or "subsets".
        num_subsets, subset_size: of the form "subsets"; drawn from `seed`.
    """

    form: Literal["full", "subsets"] = "full"
    num_subsets: int = 100
    subset_size: int = 1000

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_subsets < 1 or self.subset_size < 2:
            raise ValueError(f"expected subsets of 2 or more, got {self.num_subsets} of {self.subset_size}")


class Metric(InceptionMetric):
    name = "kid"
    value_range = (-math.inf, math.inf)
    detects = "what single frames look like as a set: content, blur, noise, colour; variety that is missing"
    misses = "all motion and the order of frames; whether a clip fits its prompt; which clips are bad"
    Settings: ClassVar[type[Any]] = KidSettings

    def estimators(self) -> dict[str, Estimator]:
        chosen = self.settings
        if chosen.form == "full":
            return {"kid": KernelEstimator()}
        return {
            "kid": SubsetEstimator(num_subsets=chosen.num_subsets, subset_size=chosen.subset_size, seed=chosen.seed)
        }
