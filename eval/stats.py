"""Intervals and tests: pure functions of numbers.

In: counts or values, and the clusters they come in (five seeds of one prompt are one cluster, never five cases). Out:
intervals, standard errors, p-values. Wilson (1927) for shares; percentile bootstrap over clusters (Efron 1979);
Student's t where clusters are few, since a bootstrap of n has a standard error too small by sqrt((n-1)/n); the
square-root rule of Zou and Donner (2008) for a mean of independent shares; the exact sign-flip test of Fisher (1935);
Holm (1979) and Benjamini and Hochberg (1995) for several tests at once; the least change that a test can detect.
Letters: n values, G clusters, R resamples, k sums.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable, Sequence
from math import fsum, sqrt
from statistics import fmean
from typing import NamedTuple

import numpy as np

from v2t.base.shares import Interval, normal_quantile, wilson

__all__ = ["Interval", "PairedTest", "benjamini_hochberg", "bootstrap", "bootstrap_sums", "clustered_se", "holm",
           "interval_of_sums", "jackknife_interval", "least_detectable", "mean_interval", "mean_of_shares", "paired_t",
           "resampled_sums", "sign_flip", "student_interval", "unless_flat", "weighted_shares", "wilson"]  # fmt: skip
FEW = 30  # clusters below which a bootstrap's interval is too narrow to be trusted
NUM_RESAMPLES = 2000
_AT_ONCE = 1 << 22  # draws held in memory at a time
_IN_CACHE = 1 << 17  # draws that stay near the processor
_EXACT_FLIPS = 16  # differences up to which every flip of signs is tried


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


def weighted_shares(
    right: np.ndarray, num: np.ndarray, weights: Sequence[float], clusters: Sequence[Hashable], confidence: float = 0.95
) -> tuple[float, Interval]:
    """Weighted sum of k shares whose cases come in clusters: k is 1 for one share, 2 for a balanced accuracy.

    Wilson's interval of each share with its number of cases divided by the design effect (Kish 1965: the clustered
    variance over that of independent cases, at least 1; where no share varies, the mean number of cases a cluster),
    put together by the square-root rule. For clusters of one case it is that of `mean_of_shares`.

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
    where = {cluster: number for number, cluster in enumerate(dict.fromkeys(clusters))}
    pull = np.zeros(len(where))  # how far each cluster pulls the value
    np.add.at(pull, [where[cluster] for cluster in clusters], ((right - share * num) * weight / all_num).sum(1))
    alone = float((weight**2 * share * (1 - share) / all_num).sum())
    effect = max(1.0, float((pull**2).sum()) / alone if alone > 0 else all_num.sum() / len(where))
    ends = [
        wilson(r / effect, n / effect, confidence) for r, n in zip(all_right.tolist(), all_num.tolist(), strict=True)
    ]
    value = float((weight * share).sum())
    below = sqrt(sum((w * (p - end.low)) ** 2 for w, p, end in zip(weight, share, ends, strict=True)))
    above = sqrt(sum((w * (end.high - p)) ** 2 for w, p, end in zip(weight, share, ends, strict=True)))
    return value, Interval(max(0.0, value - below), min(1.0, value + above))


def mean_interval(
    values: Sequence[float], clusters: Sequence[Hashable] | None = None, confidence: float = 0.95, seed: int = 0
) -> Interval:
    """Interval of the mean of `values`: bootstrap over clusters, or Student's t where there are fewer than `FEW`.

    A single cluster tells nothing of the spread: the ends are then the least and the greatest value.

    Raises:
        ValueError: no value, or lengths that differ.
    """
    groups = _grouped(values, clusters)
    if len(groups) == 1:
        return Interval(min(values), max(values))
    if len(groups) < FEW:
        return student_interval(values, clusters, confidence)
    sums = np.array([[fsum(group), len(group)] for group in groups])  # (G, 2)
    return bootstrap_sums(sums, lambda drawn: drawn[:, 0] / drawn[:, 1], confidence=confidence, seed=seed)


def student_interval(
    values: Sequence[float], clusters: Sequence[Hashable] | None = None, confidence: float = 0.95
) -> Interval:
    """Mean plus and minus t times the clustered standard error, with G-1 degrees of freedom.

    Raises:
        ValueError: fewer than two clusters.
    """
    from scipy.stats import t  # type: ignore[import-untyped]

    num = len(_grouped(values, clusters))
    if num < 2:
        raise ValueError("Student's interval needs at least two clusters")
    few = 1.0 if num == len(values) else sqrt(num / (num - 1))
    half = float(t.ppf((1 + confidence) / 2, num - 1)) * clustered_se(values, clusters) * few
    mean = fmean(values)
    return Interval(mean - half, mean + half)


def jackknife_interval(value: float, left_out: Sequence[float], confidence: float = 0.95) -> Interval:
    """Interval of a statistic of a set that a bootstrap would spoil, such as a number of different things: `value` plus
    and minus t times the standard error by the jackknife (Tukey 1958).

    Args:
        value: of the whole set.
        left_out: the statistic without each cluster in turn.

    Raises:
        ValueError: fewer than two clusters.
    """
    from scipy.stats import t

    num = len(left_out)
    if num < 2:
        raise ValueError("a jackknife needs at least two clusters")
    mean = fmean(left_out)
    se = sqrt((num - 1) / num * fsum((one - mean) ** 2 for one in left_out))
    half = float(t.ppf((1 + confidence) / 2, num - 1)) * se
    return Interval(value - half, value + half)


def interval_of_sums(
    sums: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray], clusters: Sequence[Hashable]
) -> Interval:
    """95 % interval of a statistic of sums that lies within 0 and 1: `bootstrap_sums`, or the jackknife where clusters
    are fewer than `FEW`; where these say that nothing is uncertain, see `unless_flat`.

    Args:
        sums: float (n, k), what each sample adds.
        statistic: from sums of several sets, float (R, k), to their values, float (R,).
        clusters: n.
    """
    sums = np.asarray(sums, dtype=np.float64)
    where = {cluster: number for number, cluster in enumerate(dict.fromkeys(clusters))}
    merged = np.zeros((len(where), sums.shape[1]))
    np.add.at(merged, [where[cluster] for cluster in clusters], sums)
    value = min(max(float(statistic(merged.sum(0)[None])[0]), 0.0), 1.0)
    found = Interval(value, value)
    if len(where) >= FEW:
        found = bootstrap_sums(merged, statistic)
    elif len(where) > 1:
        found = jackknife_interval(value, statistic(merged.sum(0) - merged).tolist())
    return unless_flat(found, value, len(where))


def unless_flat(
    found: Interval, value: float, num_clusters: int, value_range: tuple[float, float] = (0.0, 1.0)
) -> Interval:
    """`found`, the interval of a mean `value`, kept within the range. A single cluster, or values without any spread,
    are no proof that there is none: within a range with two ends the interval is then Wilson's, as of a share of that
    many clusters."""
    least, most = value_range
    width = most - least
    if np.isfinite(width) and (num_clusters == 1 or found.high - found.low < 1e-9 * width):
        share = min(max((value - least) / width, 0.0), 1.0)
        low, high = (least + width * end for end in wilson(share * num_clusters, num_clusters))
        return Interval(low, high)
    return Interval(min(max(found.low, least), most), min(max(found.high, least), most))


def clustered_se(values: Sequence[float], clusters: Sequence[Hashable] | None = None) -> float:
    """Standard error of the mean: s^2/n, plus what values of one cluster have in common (Miller 2024,
    arXiv:2411.00640); without clusters the usual s / sqrt(n).

    Raises:
        ValueError: fewer than two values.
    """
    num = len(values)
    if num < 2:
        raise ValueError("a standard error needs at least two values")
    mean = fmean(values)
    alone = fsum((value - mean) ** 2 for value in values)
    shared = 0.0
    if clusters is not None:
        for group in _grouped(values, clusters):
            shared += fsum(value - mean for value in group) ** 2 - fsum((value - mean) ** 2 for value in group)
    return sqrt(max(0.0, alone / (num - 1) / num + shared / num**2))


def bootstrap_sums(
    sums: np.ndarray,
    statistic: Callable[[np.ndarray], np.ndarray],
    *,
    clusters: Sequence[Hashable] | None = None,
    num_resamples: int = NUM_RESAMPLES,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Percentile interval of a statistic of sums, such as a corpus BLEU of its n-gram counts or a ratio of two sums.

    Args:
        sums: float (n, k), what each sample adds.
        statistic: from sums of resamples, float (R, k), to values, float (R,).
        clusters: samples that are drawn together; each its own when None.

    Raises:
        ValueError: no row, or lengths that differ.
    """
    found = statistic(resampled_sums(sums, clusters=clusters, num_resamples=num_resamples, seed=seed))
    tail = (1 - confidence) / 2
    low, high = np.quantile(found, (tail, 1 - tail))
    return Interval(float(low), float(high))


def resampled_sums(
    sums: np.ndarray,
    *,
    clusters: Sequence[Hashable] | None = None,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> np.ndarray:
    """The total of `sums`, float (n, k), in each of `num_resamples` draws of clusters with replacement, float (R, k).

    Raises:
        ValueError: no row, or lengths that differ.
    """
    sums = np.asarray(sums, dtype=np.float64)
    if clusters is not None:
        if len(clusters) != len(sums):
            raise ValueError(f"{len(sums)} rows but {len(clusters)} clusters")
        where = {cluster: number for number, cluster in enumerate(dict.fromkeys(clusters))}
        merged = np.zeros((len(where), sums.shape[1]))
        np.add.at(merged, [where[cluster] for cluster in clusters], sums)
        sums = merged  # (G, k)
    if not len(sums):
        raise ValueError("a bootstrap needs at least one value")
    draws = np.random.default_rng(seed)
    num, step = len(sums), max(1, _IN_CACHE // len(sums))
    found = []
    for start in range(0, num_resamples, step):
        picked = draws.integers(0, num, (min(step, num_resamples - start), num))  # (R, G)
        times = np.array([np.bincount(row, minlength=num) for row in picked], dtype=np.float64)  # (R, G)
        found.append(times @ sums)
    return np.concatenate(found)


def bootstrap(
    values: Sequence[float],
    *,
    clusters: Sequence[Hashable] | None = None,
    statistic: Callable[[Sequence[float]], float] = fmean,
    num_resamples: int = NUM_RESAMPLES,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Percentile interval of any `statistic`, drawing whole clusters with replacement (each value its own by default).

    Raises:
        ValueError: no value, lengths that differ, or a confidence not within 0 and 1.
    """
    pool = _grouped(values, clusters)
    normal_quantile(confidence)
    draw = random.Random(seed).random
    drawn = []
    for _ in range(num_resamples):
        sample = [value for _ in pool for value in pool[int(draw() * len(pool))]]
        drawn.append(statistic(sample))
    tail = (1 - confidence) / 2
    low, high = np.quantile(drawn, (tail, 1 - tail))
    return Interval(float(low), float(high))


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
    draws = np.random.default_rng(seed)
    hits, step = 0, max(1, _AT_ONCE // len(values))
    for start in range(0, num_flips, step):
        signs = draws.integers(0, 2, (min(step, num_flips - start), len(values))) * 2.0 - 1.0
        hits += int((turned(signs @ values) >= observed).sum())
    return (hits + 1) / (num_flips + 1)


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


def _grouped(values: Sequence[float], clusters: Sequence[Hashable] | None) -> list[list[float]]:
    if not len(values):
        raise ValueError("a bootstrap needs at least one value")
    if clusters is not None and len(clusters) != len(values):
        raise ValueError(f"{len(values)} values but {len(clusters)} clusters")
    groups: dict[Hashable, list[float]] = {}
    for number, value in enumerate(values):
        groups.setdefault(number if clusters is None else clusters[number], []).append(value)
    return list(groups.values())
