"""Power of a comparison: which harm would be seen, which margin so many prompts can hold.

In: a `Change`, or the standard error of one and the number of clusters. Out: least change, least margin, numbers of
prompts. All of it is advice from a spread, and decides nothing. Letters: G clusters, k tests in one Holm correction.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from v2t_eval.core.bounds import SEED, Change, even_quantiles
from v2t_eval.core.statistics import student

POWER = 0.8  # where no policy says otherwise


def bound_width(se: float, num: int, extreme: float, tail: float) -> float:
    """How far from the mean of G clusters a bound lies that holds with 1 - tail, for differences near to normal: the
    quantile of a normal error and of the weight of one cluster more, at `extreme`."""
    uniform, normal = _standard_draws()
    share = 1 - uniform ** (1 / num)  # Beta(1, G)
    width = float(np.quantile(share * extreme + (1 - share) * se * normal, 1 - tail))
    return max(width, student(num - 1, tail) * se) if num > 1 else width


def least_change(change: Change, *, accepted: float, alpha: float, power: float, num_tests: int) -> float | None:
    """The least harm that fails with a chance of `power`, at alpha/k, the first step of Holm; None where one cluster
    shows no spread, and where even the loss of everything could not be seen.

    Values with a granularity s cannot all fall by a little: a harm of h is the harm of some prompts, which fall by
    whole s, and adds to the spread that an unchanged candidate shows: s^2 f (1 - f) of each prompt, f the fraction of
    h/s.
    A prompt that the sample lacks and that gains the span lies h farther from the others.
    """
    if change.se is None or change.num_clusters < 2:
        return None
    se, num, span = change.se, change.num_clusters, change.span

    def least_harm(harm: float) -> float:
        part = math.fmod(harm / change.granularity, 1.0) if change.granularity else 0.0
        spread = math.sqrt(se**2 + change.granularity**2 * part * (1 - part) / num)
        return accepted + least_margin(spread, num, span + harm, alpha=alpha / num_tests, power=power)

    low = high = least_harm(0.0)
    while least_harm(high) > high:
        low, high = high, 2 * high
        if span and low > span:
            return None
    while high - low > 1e-3 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if least_harm(middle) > middle else (low, middle)
    return high


def least_margin(se: float, num: int, span: float, *, alpha: float, power: float) -> float:
    """The least margin at which G clusters let an unchanged candidate pass with a chance of `power`."""
    return bound_width(se, num, span, alpha) + student(num - 1, 1 - power) * se


def prompts_for(margin: float, se: float, num: int, span: float, *, alpha: float, power: float) -> int | None:
    """The least number of clusters at which an unchanged candidate passes with a chance of `power`, from the standard
    error at `num` clusters; None beyond a million."""

    def passes(count: int) -> bool:
        return least_margin(se * math.sqrt(num / count), count, span, alpha=alpha, power=power) <= margin

    high = 2
    while not passes(high):
        high *= 2
        if high > 1 << 20:
            return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if passes(middle) else (middle, high)
    return high


@lru_cache(maxsize=1)
def _standard_draws() -> tuple[np.ndarray, np.ndarray]:
    from scipy.stats import norm

    rng = np.random.default_rng(SEED)
    return even_quantiles(rng), norm.ppf(even_quantiles(rng))


def invisible_share(num: int, alpha: float) -> float:
    """The share of prompts, one in so many broken, of which G prompts hold none with a chance of alpha: about 3/G."""
    return float(1 - alpha ** (1 / num))
