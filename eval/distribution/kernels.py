"""Kernel distances: squared maximum mean discrepancy under a polynomial kernel (Gretton et al. 2012).

In: sets of feature vectors (N, d) and (M, d). Out: MMD^2 = mean k(x, x') + mean k(y, y') - 2 mean k(x, y), with
k(x, y) = (gamma x.y + coef)^degree. Unbiased leaves out every pair of a vector with itself and divides by n(n-1), so it
may be negative, as it should be about half the time for two sets of one distribution; it is never cut off at zero.
KID (Binkowski et al. 2018) and KVD: unbiased, (x.y/d + 1)^3. JEDi (Luo et al. 2024): 100 times the biased form under
((1/d) x.y)^2. Letters: N M vectors, d dimensions, G groups.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from v2t_eval.distribution.frechet import as_matrix

_AT_ONCE = 1 << 24  # kernel values held in memory at a time


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """(gamma x.y + coef)^degree; `gamma` None means 1/d."""

    degree: int = 3
    gamma: float | None = None
    coef: float = 1.0

    def __post_init__(self) -> None:
        if self.degree < 1:
            raise ValueError(f"degree must be at least 1, got {self.degree}")
        if self.gamma is not None and not self.gamma > 0:
            raise ValueError(f"gamma must be above 0, or none for 1/d, got {self.gamma}")

    def __call__(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Values (n, m) of vectors (n, d) and (m, d)."""
        gamma = 1 / first.shape[1] if self.gamma is None else self.gamma
        base = (first @ second.T) * gamma + self.coef  # (n, m)
        value = base.copy()
        for _ in range(self.degree - 1):  # a power by repeated product: np.power is twenty times slower
            value *= base
        return value


CUBIC = Kernel()
QUADRATIC = Kernel(degree=2, coef=0.0)  # JEDi's


@dataclass(frozen=True, eq=False)
class KernelSums:
    """Sums of kernel values between groups of vectors, from which MMD^2 without any one group follows at once.

    Attributes:
        num, num_reference: vectors of each group, int (G,).
        own, own_reference: sums within a set, float64 (G, G); `self`, `self_reference`: of a vector with itself, (G,).
        cross: sums between the sets, (G, G).
    """

    num: np.ndarray
    num_reference: np.ndarray
    own: np.ndarray
    own_reference: np.ndarray
    self: np.ndarray
    self_reference: np.ndarray
    cross: np.ndarray

    def mmd(self, *, unbiased: bool = True, without: int | None = None) -> float:
        """MMD^2 of all groups, or of all but group `without` on both sides.

        Raises:
            ValueError: too few vectors are left: 2 a side when unbiased, else 1.
        """
        kept = np.ones(len(self.num), dtype=bool)
        if without is not None:
            kept[without] = False
        num, num_reference = int(self.num[kept].sum()), int(self.num_reference[kept].sum())
        if min(num, num_reference) < (2 if unbiased else 1):
            raise ValueError(f"MMD needs at least {2 if unbiased else 1} vectors a side, got {num} and {num_reference}")
        both = np.ix_(kept, kept)
        own, own_reference = self.own[both].sum(), self.own_reference[both].sum()
        if unbiased:
            own = (own - self.self[kept].sum()) / (num * (num - 1))
            own_reference -= self.self_reference[kept].sum()
            own_reference /= num_reference * (num_reference - 1)
        else:
            own, own_reference = own / num**2, own_reference / num_reference**2
        return float(own + own_reference - 2 * self.cross[both].sum() / (num * num_reference))


def kernel_sums(
    first: np.ndarray,
    second: np.ndarray,
    kernel: Kernel = CUBIC,
    groups: np.ndarray | None = None,
    groups_reference: np.ndarray | None = None,
) -> KernelSums:
    """Sums of the kernel of vectors (N, d) and (M, d), by groups numbered 0 to G-1: int (N,) and (M,); one group of all
    when None.

    Raises:
        ValueError: no vector, values that are not finite, lengths that differ.
    """
    first, second = as_matrix(first), as_matrix(second)
    if first.shape[1] != second.shape[1]:
        raise ValueError(f"features have {first.shape[1]} and {second.shape[1]} dimensions, expected the same")
    one = np.zeros(len(first), dtype=np.int64) if groups is None else groups
    two = np.zeros(len(second), dtype=np.int64) if groups_reference is None else groups_reference
    num = int(max(one.max(), two.max())) + 1
    return KernelSums(
        num=np.bincount(one, minlength=num),
        num_reference=np.bincount(two, minlength=num),
        own=_block_sums(first, first, kernel, one, one, num),
        own_reference=_block_sums(second, second, kernel, two, two, num),
        self=np.bincount(one, weights=_with_itself(first, kernel), minlength=num),
        self_reference=np.bincount(two, weights=_with_itself(second, kernel), minlength=num),
        cross=_block_sums(first, second, kernel, one, two, num),
    )


def mmd(first: np.ndarray, second: np.ndarray, kernel: Kernel = CUBIC, *, unbiased: bool = True) -> float:
    """MMD^2 of vectors (N, d) and (M, d); see the module's head.

    Raises:
        ValueError: too few vectors, values that are not finite, lengths that differ.
    """
    return kernel_sums(first, second, kernel).mmd(unbiased=unbiased)


def subset_mmds(
    first: np.ndarray,
    second: np.ndarray,
    kernel: Kernel = CUBIC,
    *,
    num_subsets: int = 100,
    subset_size: int = 1000,
    seed: int = 0,
) -> np.ndarray:
    """Unbiased MMD^2 (num_subsets,) of random subsets of equal size, drawn from each set without replacement: the form
    of KID in torchmetrics and torch-fidelity. Their mean is the score; their spread is not its standard error, since
    subsets share vectors.

    Raises:
        ValueError: a set smaller than the subsets.
    """
    first, second = as_matrix(first), as_matrix(second)
    if subset_size > min(len(first), len(second)):
        raise ValueError(f"subsets of {subset_size} cannot be drawn from {len(first)} and {len(second)} vectors")
    draws = np.random.default_rng(seed)
    mmds = []
    for _ in range(num_subsets):
        one = draws.permutation(len(first))[:subset_size]
        two = draws.permutation(len(second))[:subset_size]
        mmds.append(mmd(first[one], second[two], kernel))
    return np.array(mmds)


def _with_itself(vectors: np.ndarray, kernel: Kernel) -> np.ndarray:
    """k(x, x) of vectors (n, d): (n,)."""
    gamma = 1 / vectors.shape[1] if kernel.gamma is None else kernel.gamma
    base: np.ndarray = np.einsum("nd,nd->n", vectors, vectors) * gamma + kernel.coef
    return base**kernel.degree


def _block_sums(
    first: np.ndarray, second: np.ndarray, kernel: Kernel, one: np.ndarray, two: np.ndarray, num: int
) -> np.ndarray:
    """Sums (G, G) of kernel values between groups `one` (N,) and `two` (M,)."""
    picks = np.zeros((len(second), num))  # (M, G)
    picks[np.arange(len(second)), two] = 1.0
    sums = np.zeros((num, num))
    step = max(1, _AT_ONCE // len(second))
    for start in range(0, len(first), step):
        rows = kernel(first[start : start + step], second) @ picks  # (step, G)
        np.add.at(sums, one[start : start + step], rows)
    return sums
