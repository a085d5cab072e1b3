"""Intervals: pure functions of numbers.

In: counts or values, and the clusters they come in (five seeds of one prompt are one cluster, never five cases). Out:
intervals and standard errors. Wilson (1927) for shares, with the design effect of Kish (1965). For means and all other
statistics of sums one rule, `interval_of_pulls`: how far each cluster pulls the value (exact for a mean, by the
jackknife of Tukey 1958 for the rest), Student's t, and Hall's (1992) correction for skew; the wider end counts. How
often they hold: docs/gate-statistics.md. Letters: n values, G clusters, k sums.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import fsum, sqrt
from statistics import fmean

import numpy as np

from cineloop.intervals import Interval, normal_quantile, wilson

NUM_RESAMPLES = 2000
CONFIDENCE = 0.95
TAIL = (1 - CONFIDENCE) / 2  # beyond either end of an interval


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """One number: a value, its 95 % interval, the number of cases behind it."""

    value: float
    low: float
    high: float
    n: int


class UndefinedError(ValueError):
    """A statistic is undefined, of the whole set or without one of `lost` clusters (0: of the whole set)."""

    def __init__(self, lost: int) -> None:
        super().__init__(f"the statistic is undefined without one of {lost} clusters" if lost else "it is undefined")
        self.lost = lost


def number_clusters(clusters: Iterable[Hashable]) -> tuple[np.ndarray, int]:
    """The number of each case's cluster (n,), from 0 in the order in which they come, and how many there are."""
    where: dict[Hashable, int] = {}
    at = np.array([where.setdefault(cluster, len(where)) for cluster in clusters], dtype=np.int64)
    return at, len(where)


def sum_by_cluster(rows: np.ndarray, at: np.ndarray, num: int) -> np.ndarray:
    """Sums of the rows (n, ...) of each of `num` clusters: (G, ...)."""
    sums = np.zeros((num, *rows.shape[1:]))
    np.add.at(sums, at, rows)
    return sums


def weighted_shares(
    right: np.ndarray, num: np.ndarray, weights: Sequence[float], clusters: Sequence[Hashable]
) -> tuple[float, Interval]:
    """Weighted sum of k shares whose cases come in clusters: k is 1 for one share, 2 for a balanced accuracy.

    Wilson's interval of each share with its number of cases divided by the design effect (Kish 1965: the clustered
    variance over that of independent cases, at least 1; where no share varies, the mean number of cases a cluster),
    put together by the square-root rule. For clusters of one case it is Wilson's alone.

    Args:
        right, num: (n, k), how many cases each sample adds to each share, and how many of them are right.
        weights: k, above zero, of sum 1.
        clusters: n; samples of one cluster are not independent.

    Raises:
        ValueError: a share of nothing, or shapes that do not fit.
    """
    right, num = np.asarray(right, dtype=np.float64), np.asarray(num, dtype=np.float64)  # (n, k)
    weight = np.asarray(weights, dtype=np.float64)  # (k,)
    if right.ndim != 2 or right.shape != num.shape or right.shape != (len(clusters), len(weight)):
        raise ValueError(f"right {right.shape}, num {num.shape}, {len(weight)} weights, {len(clusters)} clusters")
    all_right, all_num = right.sum(0), num.sum(0)  # (k,)
    if not (all_num > 0).all():
        raise ValueError("every share needs at least one case")
    share = all_right / all_num
    at, groups = number_clusters(clusters)
    pull = sum_by_cluster(((right - share * num) * weight / all_num).sum(1), at, groups)  # how far each pulls the value
    alone = float((weight**2 * share * (1 - share) / all_num).sum())
    effect = max(1.0, float((pull**2).sum()) / alone if alone > 0 else all_num.sum() / groups)
    if alone > 0 and 1 < groups < all_num.sum():  # the effect is an estimate: Student's quantile (Korn, Graubard 1998)
        spread = student(groups - 1, TAIL) / normal_quantile(CONFIDENCE)
        effect = max(1.0, groups / (groups - 1) * effect) * spread**2
    ends = [wilson(r / effect, n / effect) for r, n in zip(all_right.tolist(), all_num.tolist(), strict=True)]
    value = float((weight * share).sum())
    below = sqrt(sum((w * (p - end.low)) ** 2 for w, p, end in zip(weight, share, ends, strict=True)))
    above = sqrt(sum((w * (end.high - p)) ** 2 for w, p, end in zip(weight, share, ends, strict=True)))
    return value, Interval(max(0.0, value - below), min(1.0, value + above))


def interval_of_pulls(value: float, pulls: Sequence[float] | np.ndarray) -> Interval:
    """Interval of a value that is a mean, or close to one, over clusters: Student's t and its transformation by
    Hall (1992), which corrects for skew to the first order; of either end the one farther out.

    Args:
        pulls: (G,), how far each cluster pulls the value, of sum zero; (cluster's mean - value) / G
            for a plain mean.

    Raises:
        ValueError: fewer than two clusters.
    """
    pull = np.asarray(pulls, dtype=np.float64)
    num = len(pull)
    if num < 2:
        raise ValueError(f"an interval needs at least two clusters, got {num}")
    pull = pull - pull.mean()
    squares = float((pull**2).sum())
    se, quantile = sqrt(num / (num - 1) * squares), student(num - 1, TAIL)
    low, high = value - quantile * se, value + quantile * se
    if num < 3 or squares <= 0:
        return Interval(low, high)
    skew = float((pull**3).mean()) / (squares / num) ** 1.5 * sqrt(num * (num - 1)) / (num - 2)
    a = skew / sqrt(num)
    if abs(a) < 1e-6:
        return Interval(low, high)
    ends = [3 / a * (float(np.cbrt(1 + a * (x - a / 6))) - 1) for x in (quantile, -quantile)]
    return Interval(min(low, value - ends[0] * se), max(high, value - ends[1] * se))


def mean_interval(values: Sequence[float], clusters: Sequence[Hashable] | None = None) -> Interval:
    """Interval of the mean of `values`, see `interval_of_pulls`.

    A single cluster has no spread: the ends are then the least and the greatest value.

    Raises:
        ValueError: no value, or lengths that differ.
    """
    groups = _values_by_cluster(values, clusters)
    if len(groups) == 1:
        return Interval(min(values), max(values))
    mean, num = fmean(values), len(values)
    return interval_of_pulls(mean, [(fsum(group) - mean * len(group)) / num for group in groups])


@lru_cache(maxsize=256)
def student(degrees: int, tail: float) -> float:
    """Student's quantile that leaves `tail` above."""
    from scipy.stats import t  # type: ignore[import-untyped]

    return float(t.isf(tail, degrees))


def jackknife_interval(value: float, left_out: Sequence[float] | np.ndarray) -> Interval:
    """Interval of any smooth statistic of clusters, see `interval_of_pulls`. `left_out`: the statistic without each
    cluster in turn.

    Raises:
        ValueError: fewer than two clusters.
    """
    left = np.asarray(left_out, dtype=np.float64)
    return interval_of_pulls(value, (len(left) - 1) / max(len(left), 1) * (left.mean() - left))


def interval_of_sums(
    sums: np.ndarray,
    statistic: Callable[[np.ndarray], np.ndarray],
    clusters: Sequence[Hashable],
    value_range: tuple[float, float] = (0.0, 1.0),
) -> Interval:
    """95 % interval of a statistic of sums, such as a corpus BLEU of its n-gram counts or a ratio of two sums, by the
    jackknife over clusters; for zero width see `unless_flat`.

    Args:
        sums: float (n, k), what each sample adds.
        statistic: from sums of several sets, float (R, k), to their values, float (R,).
        clusters: n.

    Raises:
        ValueError: no row, or lengths that differ.
    """
    sums = np.asarray(sums, dtype=np.float64)
    if not len(sums) or len(sums) != len(clusters):
        raise ValueError(f"{len(sums)} rows of sums, {len(clusters)} clusters")
    merged = sum_by_cluster(sums, *number_clusters(clusters))
    value, interval = estimate_of_sums(merged, statistic, value_range)
    return unless_flat(interval if len(merged) > 1 else Interval(value, value), value, len(merged), value_range)


def estimate_of_sums(
    sums: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray], value_range: tuple[float, float] = (0.0, 1.0)
) -> tuple[float, Interval]:
    """A statistic of the sums of clusters, float (G, k), and its jackknife interval within the range, which is the
    whole range for a single cluster.

    Raises:
        UndefinedError: it is not finite, of all clusters or without one of them.
    """
    value = float(statistic(sums.sum(0)[None])[0])
    left = statistic(sums.sum(0) - sums) if len(sums) > 1 and np.isfinite(value) else np.full(len(sums), np.nan)
    return estimate_without_each(value, left, value_range)


def estimate_without_each(
    value: float, left: np.ndarray, value_range: tuple[float, float] = (0.0, 1.0)
) -> tuple[float, Interval]:
    """See `estimate_of_sums`; `left`: the statistic without each of the clusters (G,)."""
    least, most = value_range
    if not np.isfinite(value):
        raise UndefinedError(0)
    value = min(max(value, least), most)
    if len(left) == 1:
        return value, Interval(least, most)
    if lost := int((~np.isfinite(left)).sum()):
        raise UndefinedError(lost)
    low, high = jackknife_interval(value, left)
    return value, Interval(max(least, min(low, value)), min(most, max(high, value)))


def auroc(
    above: np.ndarray, below: np.ndarray, above_at: np.ndarray, below_at: np.ndarray, num: int
) -> tuple[float, Interval]:
    """Area under the ROC curve of scores that should be higher (n,) against scores that should be lower (m,), ties
    one half, with its jackknife interval over `num` clusters: from 0 to 1 where one cluster holds a whole side. Memory
    grows with n + m.

    Args:
        above_at, below_at: the cluster of each score; leaving a cluster out removes all pairs with it on either side.

    Raises:
        UndefinedError: a side has no score.
    """
    if not above.size or not below.size:
        raise UndefinedError(0)
    each, other = np.arange(above.size), np.arange(below.size)
    areas = aurocs_without_each(above, below, (each, above_at), (other, below_at), num)
    if np.isnan(areas).any():
        return float(areas[0]), Interval(0.0, 1.0)
    low, high = jackknife_interval(float(areas[0]), areas[1:])
    return float(areas[0]), Interval(max(0.0, min(low, float(areas[0]))), min(1.0, max(high, float(areas[0]))))


Members = tuple[np.ndarray, np.ndarray]  # the number of a score and of a cluster that it depends on, (m,) each


def aurocs_without_each(
    above: np.ndarray, below: np.ndarray, above_in: Members, below_in: Members, num: int
) -> np.ndarray:
    """`auroc` of all scores, then without each of `num` clusters (G + 1,), NaN where no pair is left; a score may
    depend on several clusters. Of all pairs those of a cluster's scores on either side are taken, and the pairs that
    are of both are given back."""
    wins, losses = _wins(above, below), above.size - _wins(below, above)
    total = _without_each(wins, above_in, num) - losses.sum() + _without_each(losses, below_in, num)
    pairs = _without_each(np.ones(above.size), above_in, num) * _without_each(np.ones(below.size), below_in, num)
    for g, (mine, others) in enumerate(zip(_by_cluster(above_in, num), _by_cluster(below_in, num), strict=True)):
        if mine.size and others.size:
            total[g + 1] += _wins(above[mine], below[others]).sum()
    ratios: np.ndarray = np.divide(total, pairs, out=np.full(num + 1, np.nan), where=pairs > 0)
    return ratios


def _by_cluster(members: Members, num: int) -> list[np.ndarray]:
    """The numbers of the scores of each cluster."""
    at, clusters = members
    return np.split(at[np.argsort(clusters, kind="stable")], np.searchsorted(np.sort(clusters), np.arange(1, num)))


def _without_each(values: np.ndarray, members: Members, num: int) -> np.ndarray:
    """The sum of all values, then without those of each cluster, (G + 1,)."""
    at, clusters = members
    return np.asarray(values.sum() - np.concatenate([[0.0], np.bincount(clusters, values[at], num)]))


def _wins(scores: np.ndarray, others: np.ndarray) -> np.ndarray:
    """How many of the others each score is above, ties one half."""
    ordered = np.sort(others)
    return (np.searchsorted(ordered, scores, "left") + np.searchsorted(ordered, scores, "right")) / 2


def parts_of_variance(values: Sequence[float], clusters: Sequence[Hashable]) -> tuple[float, float] | None:
    """Variance between clusters and within them, by the analysis of variance of one way with clusters of any size
    (Searle 1971); None where no cluster has two values or there is one cluster."""
    groups: dict[Hashable, list[float]] = {}
    for value, cluster in zip(values, clusters, strict=True):
        groups.setdefault(cluster, []).append(value)
    num, parts = len(values), len(groups)
    if parts < 2 or num == parts:
        return None
    mean = fsum(values) / num
    means = {cluster: fsum(group) / len(group) for cluster, group in groups.items()}
    inside = fsum((v - means[c]) ** 2 for v, c in zip(values, clusters, strict=True)) / (num - parts)
    across = fsum(len(group) * (means[c] - mean) ** 2 for c, group in groups.items()) / (parts - 1)
    size = (num - sum(len(group) ** 2 for group in groups.values()) / num) / (parts - 1)
    return max(0.0, (across - inside) / size), inside


def unless_flat(
    interval: Interval, value: float, num_clusters: int, value_range: tuple[float, float] = (0.0, 1.0)
) -> Interval:
    """The interval of a mean `value`, kept within the range. For a single cluster, or zero
    sample variance, a range with two ends gives Wilson's interval, as for a share of that many clusters."""
    least, most = value_range
    width = most - least
    if np.isfinite(width) and (num_clusters == 1 or interval.high - interval.low < 1e-9 * width):
        share = min(max((value - least) / width, 0.0), 1.0)
        low, high = (least + width * end for end in wilson(share * num_clusters, num_clusters))
        return Interval(low, high)
    return Interval(min(max(interval.low, least), most), min(max(interval.high, least), most))


def bootstrap(
    values: Sequence[float],
    *,
    clusters: Sequence[Hashable] | None = None,
    statistic: Callable[[Sequence[float]], float] = fmean,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Percentile interval of a statistic that no jackknife fits, such as a median, drawing whole clusters with
    replacement (each value its own by default).

    Raises:
        ValueError: no value, or lengths that differ.
    """
    pool = _values_by_cluster(values, clusters)
    draw = random.Random(seed).random
    drawn = []
    for _ in range(num_resamples):
        sample = [value for _ in pool for value in pool[int(draw() * len(pool))]]
        drawn.append(statistic(sample))
    low, high = np.quantile(drawn, (TAIL, 1 - TAIL))
    return Interval(float(low), float(high))


def _values_by_cluster(values: Sequence[float], clusters: Sequence[Hashable] | None) -> list[list[float]]:
    if not len(values):
        raise ValueError("a bootstrap needs at least one value")
    if clusters is not None and len(clusters) != len(values):
        raise ValueError(f"{len(values)} values but {len(clusters)} clusters")
    groups: dict[Hashable, list[float]] = {}
    for number, value in enumerate(values):
        groups.setdefault(number if clusters is None else clusters[number], []).append(value)
    return list(groups.values())


def f1(recall: float | None, precision: float | None) -> float:
    """2 r p / (r + p); 0 where one is not positive or not known."""
    if recall is None or precision is None or recall <= 0 or precision <= 0:
        return 0.0
    return 2 * recall * precision / (recall + precision)


def holm(ps: Sequence[float]) -> list[float]:
    """p-values adjusted by Holm (1979), in the order given: one below alpha is a false alarm with a chance of at most
    alpha over all of them together, however they depend on each other.

    Raises:
        ValueError: a p that is not within 0 and 1.
    """
    if not all(0 <= p <= 1 for p in ps):
        raise ValueError(f"every p must be within 0 and 1, got {list(ps)}")
    adjusted, least = [0.0] * len(ps), 0.0
    for rank, place in enumerate(sorted(range(len(ps)), key=lambda place: ps[place])):
        least = max(least, min(1.0, (len(ps) - rank) * ps[place]))
        adjusted[place] = least
    return adjusted


def benjamini_hochberg(ps: Sequence[float]) -> list[float]:
    """p-values adjusted by Benjamini and Hochberg (1995), in the order given: of those below alpha a share of at most
    alpha is false, for tests that are independent or lean the same way.

    Raises:
        ValueError: a p that is not within 0 and 1.
    """
    from scipy.stats import false_discovery_control

    return [float(p) for p in false_discovery_control(ps)] if ps else []
