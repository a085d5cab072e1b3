"""Arithmetic of a change: its bounds and p-value.

In: paired differences and the clusters they come in (a prompt; all its seeds are one), or the figures of two whole
sets. Out: a `Change`; of many sets at once, so that a simulation asks what a gate asks, bounds and p-values.

No test of a mean is valid for every distribution of the differences (Bahadur and Savage 1956): a sample may lack the
few prompts that carry all the harm. It takes a statement of how much one prompt can lose: all of its own value, and
the prompts that the sample lacks may be the best ones, so the `span` from the best value to the worst. With it, the
bound of Gaffke (2005; Learned-Miller and Thomas 2020) holds: the quantile of the mean under Dirichlet weights (the
Bayesian bootstrap of Rubin 1981) of the prompts and one more that loses the span. It allows for skew, ties,
right-or-wrong values and differences without spread; of n prompts without any change it is Clopper and Pearson's.
Student's bound is computed too, and the more careful of the two counts. Error rates: docs/gate-statistics.md.
Letters: n pairs, G clusters, d difference, R sets.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from cineloop.intervals import normal_quantile
from v2t_eval.core.metric import Figure
from v2t_eval.core.statistics import number_clusters, student, sum_by_cluster

SEED = 6  # of every draw: the same scores give the same verdict
NUM_DRAWS = 10_000
_AT_ONCE = 1 << 21  # weights in memory at a time
ROUNDING = 1e-12  # of the greatest difference


@dataclass(frozen=True, kw_only=True)
class Change:
    """Candidate minus baseline.

    Attributes:
        value: mean over clips, or difference of two figures.
        low, high: bounds that each hold with 1 - alpha.
        se: standard error; None where one cluster shows no spread.
        p: of "not worse than accepted", one-sided; without a preferred direction, of "equal", two-sided.
        num_pairs, num_clusters: behind it; 0 pairs for figures of whole sets.
        span: how much a prompt that the sample lacks can lose or gain.
        granularity: least distance of two values of the metric, 0 where they are as good as continuous.
    """

    value: float
    low: float
    high: float
    se: float | None
    p: float
    num_pairs: int
    num_clusters: int
    span: float = 0.0
    granularity: float = 0.0


def paired_change(
    differences: Sequence[float],
    clusters: Sequence[Hashable],
    *,
    span: float,
    gain: float | None = None,
    granularity: float = 0.0,
    higher_is_better: bool | None = True,
    accepted: float = 0.0,
    alpha: float = 0.05,
) -> Change:
    """The change of clips that both sides have.

    Args:
        differences: n, candidate minus baseline, in an order that does not depend on how the clips were listed.
        clusters: n, of each clip.
        span: how much a prompt that the sample lacks can lose or gain: from the best value that one can have to the
            worst; never less than what the differences show.
        gain: how much it can gain, where that is known to be less than the span.
        granularity: see `Change`.
        accepted: the harm that `p` allows, at or above zero.

    Raises:
        ValueError: no difference, or lengths that differ.
    """
    if not len(differences) or len(differences) != len(clusters):
        raise ValueError(f"{len(differences)} differences, {len(clusters)} clusters")
    sign = -1.0 if higher_is_better is False else 1.0
    sums = cluster_sums([sign * d for d in differences], clusters)
    negated = sums * (-1.0, 1.0)
    num, means = len(sums), sums[:, 0] / sums[:, 1]
    span = max(span, float(np.abs(means).max()))
    value, se = float(sums[:, 0].sum() / sums[:, 1].sum()), clustered_error(sums)
    bounds = float(lower_bounds(sums[None], span, alpha)[0]), float(-lower_bounds(negated[None], span, alpha)[0])
    most = span if gain is None else min(span, max(gain, float(means.max())))
    p = float(p_values(sums[None], most, accepted)[0])
    if higher_is_better is None:
        p = min(1.0, 2 * min(p, float(p_values(negated[None], span, 0.0)[0])))
    low, high = sorted(sign * end + 0.0 for end in bounds)  # no -0
    return Change(value=sign * value, low=low, high=high, se=se, p=p, num_pairs=len(differences), num_clusters=num,
                  span=span, granularity=granularity)  # fmt: skip


def no_change(num_pairs: int, num_clusters: int) -> Change:
    """Of clips with the same bytes on both sides: a fact, not an estimate."""
    return Change(value=0.0, low=0.0, high=0.0, se=0.0, p=1.0, num_pairs=num_pairs, num_clusters=num_clusters)


def unpaired_change(
    candidate: Figure,
    baseline: Figure,
    num_clusters: int,
    *,
    higher_is_better: bool | None = True,
    accepted: float = 0.0,
    alpha: float = 0.05,
) -> Change:
    """The change of a figure of whole sets: both standard errors are taken from the wider half of the 95 % intervals
    and put together as of independent sets, which is too cautious where both have the same prompts.

    Raises:
        ValueError: a figure whose interval has no width says nothing of its spread, unless both are equal to the bit.
    """
    from scipy.stats import t  # type: ignore[import-untyped]

    value = candidate.value - baseline.value
    if candidate == baseline:
        return no_change(0, num_clusters)
    halves = [max(one.high - one.value, one.value - one.low) for one in (candidate, baseline)]
    if min(halves) <= 0 or num_clusters < 2:
        raise ValueError("a figure without an interval")
    se, sign = math.hypot(*halves) / normal_quantile(0.95), -1.0 if higher_is_better is False else 1.0
    half = student(num_clusters - 1, alpha) * se
    if higher_is_better is None:
        p = float(2 * t.sf(abs(value / se), num_clusters - 1))
    else:
        p = float(t.cdf((sign * value + accepted) / se, num_clusters - 1))
    return Change(value=value, low=value - half, high=value + half, se=se, p=p, num_pairs=0, num_clusters=num_clusters)


def least_distance(values: Sequence[float]) -> float:
    """The least distance of two values that differ, 0 where all are equal."""
    levels = np.unique(np.asarray(values, dtype=np.float64))
    gaps = np.diff(levels)
    gaps = gaps[gaps > ROUNDING * np.abs(levels).max(initial=0.0)]
    return float(gaps.min()) if len(gaps) else 0.0


def cluster_sums(values: Sequence[float], clusters: Sequence[Hashable]) -> np.ndarray:
    """Sum and number of the values of each cluster, float (G, 2), clusters in the order they first appear."""
    return sum_by_cluster(np.stack([values, np.ones(len(values))], axis=1), *number_clusters(clusters))


def lower_bounds(sums: np.ndarray, span: float | np.ndarray, alpha: float, *, num_draws: int = NUM_DRAWS) -> np.ndarray:
    """Lower bounds (R,) of the mean over clips that each hold with 1 - alpha.

    Args:
        sums: (R, G, 2), see `cluster_sums`: R sets of G clusters; a cluster without a clip has the row 0, 0.
        span: how far below zero a cluster that the sample lacks can be, or (R,).
        num_draws: of weights; a simulation of many sets takes fewer than a gate.
    """
    gaffke: np.ndarray = np.quantile(weighted_means(sums, -np.asarray(span), num_draws), alpha, axis=0)  # (R,)
    num = sums.shape[1]
    if num < 2:
        return gaffke
    value, se = _ratio_and_error(sums)
    lower: np.ndarray = np.minimum(gaffke, value - student(num - 1, alpha) * se)
    return lower


def p_values(
    sums: np.ndarray,
    span: float | np.ndarray,
    accepted: float | np.ndarray,
    weighted: np.ndarray | None = None,
    *,
    num_draws: int = NUM_DRAWS,
) -> np.ndarray:
    """P (R,) of "the mean over clips is not below -accepted": the share of the weighted means that are not, and
    Student's p, whichever is greater.

    Args:
        sums, span, num_draws: see `lower_bounds`.
        accepted: at or above zero, or (R,).
        weighted: `weighted_means(sums, span)` where they are known.
    """
    from scipy.stats import t  # type: ignore[import-untyped]

    if weighted is None:
        weighted = weighted_means(sums, np.asarray(span), num_draws)  # (draws, R)
    near = ROUNDING * np.abs(_cluster_means(sums)).max(1)
    p = ((weighted >= -accepted - near).sum(0) + 1) / (len(weighted) + 1)
    value, se = _ratio_and_error(sums)
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic = np.where(se > 0, (value + accepted) / se, np.copysign(np.inf, value + accepted))
    num = _num_present(sums)  # (R,)
    student_p = t.cdf(np.where(np.isnan(statistic), 0.0, statistic), np.maximum(num - 1, 1))
    greater: np.ndarray = np.where(num > 1, np.maximum(p, student_p), p)
    return greater


def clustered_error(sums: np.ndarray) -> float | None:
    """Standard error of the mean over clips, from (G, 2) sums and numbers: that of a ratio (Cochran 1977)."""
    return float(_ratio_and_error(sums[None])[1][0]) if len(sums) > 1 else None


def _ratio_and_error(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means over clips (R,) and their standard errors (R,), 0 of a single cluster."""
    num, total = _num_present(sums), sums[..., 1].sum(1)  # (R,)
    value = sums[..., 0].sum(1) / np.maximum(total, 1)
    pull = (sums[..., 0] - value[:, None] * sums[..., 1]) / np.maximum(total, 1)[:, None]  # (R, G)
    size = np.abs(_cluster_means(sums)).max(1)
    se = np.sqrt(num / np.maximum(num - 1, 1) * (pull**2).sum(1))
    return value, np.where(se <= ROUNDING * size, 0.0, se)


def _num_present(sums: np.ndarray) -> np.ndarray:
    """How many clusters have a clip, (R,)."""
    return np.asarray((sums[..., 1] > 0).sum(1))


def _cluster_means(sums: np.ndarray) -> np.ndarray:
    """(R, G), 0 where a cluster has no clip."""
    return np.asarray(np.divide(sums[..., 0], sums[..., 1], out=np.zeros(sums.shape[:-1]), where=sums[..., 1] > 0))


def weighted_means(sums: np.ndarray, extreme: np.ndarray, num_draws: int = NUM_DRAWS) -> np.ndarray:
    """Means over clips (draws, R) under Dirichlet weights of the clusters and of one more at `extreme`, which has as
    many clips as clusters have on average."""
    num = sums.shape[1]
    size = sums[..., 1].sum(1) / np.maximum(_num_present(sums), 1)  # (R,)
    more = np.stack([extreme * size, size], axis=1)  # (R, 2)
    all_sums = np.concatenate([sums, more[:, None]], axis=1)  # (R, G + 1, 2)
    parts = [_cached_weights(num, num_draws)] if num * num_draws <= _AT_ONCE else _weights(num, num_draws)
    equal = bool((sums[..., 1] == size[:, None]).all())  # then the weights, of sum 1, give the same number of clips
    means = []
    for weights in parts:
        above = weights @ all_sums[..., 0].T  # (draws, R)
        means.append(above / (size if equal else weights @ all_sums[..., 1].T))
    return np.concatenate(means)


def _weights(num: int, num_draws: int) -> Iterator[np.ndarray]:
    """Weights (draws, G + 1), in parts; the last one, which is Beta(1, G), from evenly spaced quantiles, so that bounds
    that it alone decides do not vary with the draws."""
    rng, step = np.random.default_rng(SEED), max(1, _AT_ONCE // (num + 1))
    last = 1 - even_quantiles(rng, num_draws) ** (1 / num)  # (draws,)
    for start in range(0, num_draws, step):
        more = last[start : start + step, None]
        rest = rng.standard_exponential((len(more), num))
        yield np.concatenate([rest / rest.sum(1, keepdims=True) * (1 - more), more], axis=1)


def even_quantiles(rng: np.random.Generator, num_draws: int = NUM_DRAWS) -> np.ndarray:
    """Evenly spaced quantiles of the uniform distribution in random order, (draws,)."""
    return (rng.permutation(num_draws) + 0.5) / num_draws


@lru_cache(maxsize=2)
def _cached_weights(num: int, num_draws: int) -> np.ndarray:
    """As `_weights`: a gate asks for the same ones with each of its metrics."""
    return np.concatenate(list(_weights(num, num_draws)))


def beyond(values: np.ndarray) -> np.ndarray:
    """The best value (...) that prompts may have where the metric's range is open, from (..., G) of those there are:
    above the best one by 2.5 + 40 / G times the mean excess of the best tenth (three at least) over the next one.

    The best value of G prompts itself is not enough: of a set with a long tail the sample lacks the best 3/G as easily
    as broken prompts. No such rule holds for every tail: docs/gate-statistics.md has the rates.
    """
    ordered = np.sort(values, axis=-1)[..., ::-1]
    num = ordered.shape[-1]
    top = min(max(3, num // 10), num - 1)
    if not top:
        return np.asarray(ordered[..., 0])
    excess = ordered[..., :top].mean(-1) - ordered[..., top]
    return np.asarray(ordered[..., 0] + (2.5 + 40 / num) * excess)
