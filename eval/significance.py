"""Tests: whether numbers differ by more than chance, one test or several, and what a test could have found.

In: differences, or p-values. Out: p-values, adjusted ones, the least change that can be detected. Student's paired
test; the exact sign-flip test of Fisher (1935); Holm (1979), and Benjamini and Hochberg (1995), for several tests.
Intervals are in `v2t_eval.stats`. Letters: n differences, F flips, G clusters.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from statistics import fmean
from typing import NamedTuple

import numpy as np

from v2t_eval.stats import clustered_se

_AT_ONCE = 1 << 22  # draws held in memory at a time
_KEPT = 1 << 21  # draws that are kept for the next metric
_EXACT_FLIPS = 16  # differences up to which every flip of signs is tried


class PairedTest(NamedTuple):
    """Mean difference, its standard error, the statistic, and the two-sided p-value."""

    difference: float
    se: float
    statistic: float
    p: float


def paired_t(first: Sequence[float], second: Sequence[float]) -> PairedTest:
    """Student's paired test of `first` - `second`.

    Raises:
        ValueError: fewer than two pairs, or lengths that differ.
    """
    from scipy.stats import t

    differences = [a - b for a, b in zip(first, second, strict=True)]
    se, mean = clustered_se(differences), fmean(differences)
    if se == 0:
        return PairedTest(mean, 0.0, 0.0, 1.0 if mean == 0 else 0.0)
    return PairedTest(mean, se, mean / se, float(2 * t.sf(abs(mean / se), len(differences) - 1)))


def sign_flip(differences: Sequence[float], num_flips: int = 10000, seed: int = 0, *, one_sided: bool = False) -> float:
    """The p-value of differences that are symmetric around zero: every flip of signs up to 16 differences, else drawn
    ones (the observed one counted in, so p is never 0). For clusters give each one's sum: their signs flip as one.

    Args:
        one_sided: against a sum above zero; else against one that is not zero.

    Raises:
        ValueError: no difference.
    """
    if not len(differences):
        raise ValueError("a sign-flip test needs at least one difference")
    values = np.asarray(differences, dtype=np.float64)
    turned = (lambda sums: sums) if one_sided else np.abs
    observed = turned(values.sum()) - 1e-12 * np.abs(values).sum()  # ties count as reached
    if len(values) <= _EXACT_FLIPS:
        flips = np.arange(1 << len(values))[:, None] >> np.arange(len(values)) & 1  # (2^n, n)
        return float((turned((flips * 2.0 - 1.0) @ values) >= observed).mean())
    parts = [_kept_signs(len(values), num_flips, seed)] if len(values) * num_flips <= _KEPT else None
    hits = sum(int((turned(part @ values) >= observed).sum()) for part in parts or _signs(len(values), num_flips, seed))
    return (hits + 1) / (num_flips + 1)


def _signs(num: int, num_flips: int, seed: int) -> Iterator[np.ndarray]:
    """Drawn signs, (F, n), in parts."""
    draws = np.random.default_rng(seed)
    step = max(1, _AT_ONCE // num)
    for start in range(0, num_flips, step):
        yield draws.integers(0, 2, (min(step, num_flips - start), num)) * 2.0 - 1.0


@lru_cache(maxsize=2)
def _kept_signs(num: int, num_flips: int, seed: int) -> np.ndarray:
    """As `_signs`: a gate asks for the same ones with each of its metrics."""
    return np.concatenate(list(_signs(num, num_flips, seed)))  # (F, n)


def holm(ps: Sequence[float]) -> list[float]:
    """p-values adjusted by Holm (1979), in the order given: one below alpha is a false alarm with a chance of at most
    alpha over all of them together, however they depend on each other.

    Raises:
        ValueError: a p that is not within 0 and 1.
    """
    adjusted, least = [0.0] * len(ps), 0.0
    for rank, place in enumerate(_ranked(ps)):
        least = max(least, min(1.0, (len(ps) - rank) * ps[place]))
        adjusted[place] = least
    return adjusted


def benjamini_hochberg(ps: Sequence[float]) -> list[float]:
    """p-values adjusted by Benjamini and Hochberg (1995), in the order given: of those below alpha a share of at most
    alpha is false, for tests that are independent or lean the same way.

    Raises:
        ValueError: a p that is not within 0 and 1.
    """
    adjusted, least = [0.0] * len(ps), 1.0
    for rank, place in reversed(list(enumerate(_ranked(ps), start=1))):
        least = min(least, len(ps) / rank * ps[place])
        adjusted[place] = least
    return adjusted


def least_detectable(se: float, num_clusters: int, *, alpha: float = 0.05, power: float = 0.8) -> float:
    """The least change that a one-sided test at `alpha` finds with a chance of `power`: standard error times the sum of
    Student's two quantiles, G-1 degrees of freedom (1.645 + 0.842 for many clusters).

    Args:
        se: standard error of the mean change, at or above zero.

    Raises:
        ValueError: fewer than two clusters, alpha or power not within 0 and 1.
    """
    from scipy.stats import t

    if num_clusters < 2 or not 0 < alpha < 1 or not 0 < power < 1:
        raise ValueError(f"{num_clusters} clusters, alpha {alpha}, power {power}")
    return float(t.ppf(1 - alpha, num_clusters - 1) + t.ppf(power, num_clusters - 1)) * se


def _ranked(ps: Sequence[float]) -> list[int]:
    if not all(0 <= p <= 1 for p in ps):
        raise ValueError(f"every p must be within 0 and 1, got {list(ps)}")
    return sorted(range(len(ps)), key=lambda place: ps[place])
