"""Intervals: pure functions of numbers.

In: counts or values. Out: intervals. Wilson (1927) for shares; percentile bootstrap over clusters (Efron 1979) for
anything else; the square-root rule of Zou and Donner (2008) for a mean of independent shares.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable, Sequence
from math import sqrt
from statistics import NormalDist, fmean
from typing import NamedTuple


class Interval(NamedTuple):
    """Lower and upper end."""

    low: float
    high: float


def wilson(right: int, num: int, confidence: float = 0.95) -> Interval:
    """Interval of a share: `right` of `num`. For num = 0 it is (0, 1): nothing is known.

    Raises:
        ValueError: when right is not within 0 and num, or confidence not within 0 and 1.
    """
    if not 0 <= right <= num:
        raise ValueError(f"right must be within 0 and {num}, not {right}")
    z = _z(confidence)
    if num == 0:
        return Interval(0.0, 1.0)
    share, z2 = right / num, z * z
    middle = (share + z2 / (2 * num)) / (1 + z2 / num)
    half = z / (1 + z2 / num) * sqrt(share * (1 - share) / num + z2 / (4 * num * num))
    low = 0.0 if right == 0 else middle - half
    high = 1.0 if right == num else middle + half
    return Interval(max(0.0, low), min(1.0, high))


def mean_of_shares(parts: Sequence[tuple[int, int]], confidence: float = 0.95) -> tuple[float, Interval]:
    """Plain mean of independent shares (right, num), with its interval (balanced accuracy: two shares).

    Raises:
        ValueError: when there is no share, or one of nothing.
    """
    if not parts or any(num == 0 for _, num in parts):
        raise ValueError("every share needs at least one case")
    shares = [right / num for right, num in parts]
    ends = [wilson(right, num, confidence) for right, num in parts]
    mean = fmean(shares)
    below = sqrt(sum((share - end.low) ** 2 for share, end in zip(shares, ends, strict=True))) / len(parts)
    above = sqrt(sum((end.high - share) ** 2 for share, end in zip(shares, ends, strict=True))) / len(parts)
    return mean, Interval(max(0.0, mean - below), min(1.0, mean + above))


def bootstrap(
    values: Sequence[float],
    *,
    clusters: Sequence[Hashable] | None = None,
    statistic: Callable[[Sequence[float]], float] = fmean,
    num_resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Percentile interval of `statistic`, drawing whole clusters with replacement (each value its own by default).

    Raises:
        ValueError: no value, lengths that differ, or a confidence not within 0 and 1.
    """
    if not values:
        raise ValueError("a bootstrap needs at least one value")
    if clusters is not None and len(clusters) != len(values):
        raise ValueError(f"{len(values)} values but {len(clusters)} clusters")
    _z(confidence)
    groups: dict[Hashable, list[float]] = {}
    for number, value in enumerate(values):
        groups.setdefault(number if clusters is None else clusters[number], []).append(value)
    pool = list(groups.values())
    draw = random.Random(seed).random
    drawn = []
    for _ in range(num_resamples):
        sample = [value for _ in pool for value in pool[int(draw() * len(pool))]]
        drawn.append(statistic(sample))
    drawn.sort()
    tail = (1 - confidence) / 2
    return Interval(_quantile(drawn, tail), _quantile(drawn, 1 - tail))


def _quantile(ordered: Sequence[float], share: float) -> float:
    at = share * (len(ordered) - 1)
    below = int(at)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (at - below)


def _z(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be between 0 and 1, not {confidence}")
    return NormalDist().inv_cdf((1 + confidence) / 2)
