"""Distances between two sets of feature vectors: Frechet and kernel distance, with their settings.

In: sets (N, d) and (M, d). Out: a value, and the values without each of G groups, from which an interval follows. The
metrics of `v2t_eval.metrics` differ in features and in which of these they use. Letters: N M vectors, d dimensions, G
groups.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from v2t_eval.distribution.frechet import Divisor, frechet
from v2t_eval.distribution.kernels import CUBIC, Kernel, kernel_sums, mmd, subset_mmds


class Estimator(ABC):
    """A distance between two sets of vectors.

    Attributes:
        least: fewest vectors a side.
        lowest: no value is below.
        limited: its bias falls as 1/N, so that the value of endlessly many vectors can be read off.
    """

    least: int = 2
    lowest: float = 0.0
    limited: bool = False

    @abstractmethod
    def __str__(self) -> str:
        """The estimator in words."""

    @abstractmethod
    def value(self, first: np.ndarray, second: np.ndarray) -> float:
        """The distance between vectors (N, d) and (M, d).

        Raises:
            ValueError: too few vectors, values that are not finite, lengths that differ.
        """

    def part(self, first: np.ndarray, second: np.ndarray) -> float:
        """The same distance for parts of the sets, where `value` is for whole sets only."""
        return self.value(first, second)

    def without_each(
        self, first: np.ndarray, second: np.ndarray, groups: np.ndarray, groups_reference: np.ndarray
    ) -> np.ndarray:
        """Distances (G,) when group 0, 1 ... is left out on both sides; groups int (N,) and (M,)."""
        numbers = range(int(groups.max()) + 1)
        return np.array([self.part(first[groups != g], second[groups_reference != g]) for g in numbers])


@dataclass(frozen=True)
class FrechetEstimator(Estimator):
    """Frechet distance of Gaussians; `divisor` of the covariance: "n-1" or "n"."""

    divisor: Divisor = "n-1"
    limited = True

    def __str__(self) -> str:
        return f"Frechet distance, covariance by {self.divisor}, float64"

    def value(self, first: np.ndarray, second: np.ndarray) -> float:
        return frechet(first, second, self.divisor)


@dataclass(frozen=True)
class KernelEstimator(Estimator):
    """`scale` times MMD^2 under a polynomial kernel."""

    kernel: Kernel = CUBIC
    unbiased: bool = True
    scale: float = 1.0

    @property
    def lowest(self) -> float:  # type: ignore[override]
        """The biased form is a squared norm; the unbiased one falls below zero."""
        return -math.inf if self.unbiased else 0.0

    def __str__(self) -> str:
        gamma = "1/d" if self.kernel.gamma is None else f"{self.kernel.gamma:g}"
        times = f"{self.scale:g} x " if self.scale != 1 else ""
        kind = "unbiased" if self.unbiased else "biased"
        return f"{times}{kind} MMD^2, kernel ({gamma} x.y + {self.kernel.coef:g})^{self.kernel.degree}, float64"

    def value(self, first: np.ndarray, second: np.ndarray) -> float:
        return self._to_scale(mmd(first, second, self.kernel, unbiased=self.unbiased))

    def without_each(
        self, first: np.ndarray, second: np.ndarray, groups: np.ndarray, groups_reference: np.ndarray
    ) -> np.ndarray:
        """From the sums of one kernel matrix."""
        sums = kernel_sums(first, second, self.kernel, groups, groups_reference)
        return np.array([self._to_scale(sums.mmd(unbiased=self.unbiased, without=g)) for g in range(len(sums.num))])

    def _to_scale(self, squared: float) -> float:
        return self.scale * (squared if self.unbiased else max(0.0, squared))  # below zero by rounding alone


@dataclass(frozen=True)
class SubsetEstimator(KernelEstimator):
    """Mean of the unbiased MMD^2 of random subsets of equal size; its interval is that of the form of all vectors,
    which estimates the same."""

    num_subsets: int = 100
    subset_size: int = 1000
    seed: int = 0

    @property
    def least(self) -> int:  # type: ignore[override]
        """A subset is drawn without repeats."""
        return self.subset_size

    def __str__(self) -> str:
        return f"mean of {self.num_subsets} subsets of {self.subset_size}: {super().__str__()}"

    def value(self, first: np.ndarray, second: np.ndarray) -> float:
        mmds = subset_mmds(
            first, second, self.kernel, num_subsets=self.num_subsets, subset_size=self.subset_size, seed=self.seed
        )
        return self.scale * float(mmds.mean())

    def part(self, first: np.ndarray, second: np.ndarray) -> float:
        """Parts may be smaller than a subset: the form of all vectors."""
        return KernelEstimator.value(self, first, second)
