"""The interval of a share, such as 27 right of 30.

In: counts. Out: a lower and an upper end within [0, 1]. Method: Wilson (1927), which stays honest at 0 and at 1, where
the usual standard error says that nothing is uncertain.
"""

from __future__ import annotations

from math import sqrt
from statistics import NormalDist
from typing import NamedTuple


class Interval(NamedTuple):
    """Lower and upper end."""

    low: float
    high: float


def wilson(right: float, num: float, confidence: float = 0.95) -> Interval:
    """Interval of a share: `right` of `num`, which may be effective numbers of cases. For num = 0 it is (0, 1): nothing
    is known.

    Raises:
        ValueError: when right is not within 0 and num, or confidence not within 0 and 1.
    """
    if not 0 <= right <= num:
        raise ValueError(f"right must be within 0 and {num}, not {right}")
    z = normal_quantile(confidence)
    if num == 0:
        return Interval(0.0, 1.0)
    share, z2 = right / num, z * z
    middle = (share + z2 / (2 * num)) / (1 + z2 / num)
    half = z / (1 + z2 / num) * sqrt(share * (1 - share) / num + z2 / (4 * num * num))
    low = 0.0 if right == 0 else middle - half
    high = 1.0 if right == num else middle + half
    return Interval(max(0.0, low), min(1.0, high))


def normal_quantile(confidence: float) -> float:
    """Standard errors to each side of a normal mean that hold `confidence` of it (1.96 for 0.95).

    Raises:
        ValueError: when confidence is not within 0 and 1.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be between 0 and 1, not {confidence}")
    return NormalDist().inv_cdf((1 + confidence) / 2)
