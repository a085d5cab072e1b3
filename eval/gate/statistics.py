"""Change of a metric from the baseline: interval, p-value, and detectable change.

In: paired differences and the clusters they come in, or the figures of two whole sets. Out: a `Change`: value, a bound
on either side, a p-value. All seeds of one prompt are one cluster.

No test of a mean is valid for every distribution of the differences (Bahadur and Savage 1956): a sample may lack the
few prompts that carry all the harm. It takes a statement of how much one prompt can lose: all of its own value, and
the prompts that the sample lacks may be the best ones, so the `span` from the best value to the worst. With it, the
bound of Gaffke (2005; Learned-Miller and Thomas 2020) holds: the quantile of the mean under Dirichlet weights (the
Bayesian bootstrap of Rubin 1981) of the prompts and one more that loses the span. It allows for skew, ties,
right-or-wrong values and differences without spread; of n prompts without any change it is Clopper and Pearson's.
Student's bound is computed too, and the more careful of the two counts. Error rates: docs/gate-statistics.md.
Letters: n pairs, G clusters, d difference, k tests in one Holm correction, R draws.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from cineloop.intervals import normal_quantile
from v2t_eval.core.metric import Figure
from v2t_eval.core.statistics import numbered, student, summed

SEED = 6  # of every draw: the same scores give the same verdict
NUM_DRAWS = 10_000
_AT_ONCE = 1 << 21  # weights in memory at a time
_GREATEST = 1e100  # a value beyond, or one that is not a number, is missing
_ROUNDING = 1e-12  # of the greatest difference


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
        step: least distance of two values of the metric, 0 where they are as good as continuous.
    """

    value: float
    low: float
    high: float
    se: float | None
    p: float
    num_pairs: int
    num_clusters: int
    span: float = 0.0
    step: float = 0.0


def paired_change(
    differences: Sequence[float],
    clusters: Sequence[Hashable],
    *,
    span: float,
    step: float = 0.0,
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
        step: see `Change`.
        accepted: the harm that `p` allows, at or above zero.

    Raises:
        ValueError: no difference, or lengths that differ.
    """
    if not len(differences) or len(differences) != len(clusters):
        raise ValueError(f"{len(differences)} differences, {len(clusters)} clusters")
    sign = -1.0 if higher_is_better is False else 1.0
    sums = sums_of([sign * d for d in differences], clusters)
    num, means = len(sums), sums[:, 0] / sums[:, 1]
    span = max(span, float(np.abs(means).max()))
    value, se = float(sums[:, 0].sum() / sums[:, 1].sum()), clustered_error(sums)
    ends = (
        float(lower_bounds(sums[None], span, alpha)[0]),
        float(-lower_bounds(_negated_sums(sums)[None], span, alpha)[0]),
    )
    p = float(p_values(sums[None], span, accepted)[0])
    if higher_is_better is None:
        p = min(1.0, 2 * min(p, float(p_values(_negated_sums(sums)[None], span, 0.0)[0])))
    low, high = sorted(sign * end + 0.0 for end in ends)  # no -0
    return Change(value=sign * value, low=low, high=high, se=se, p=p, num_pairs=len(differences), num_clusters=num,
                  span=span, step=step)  # fmt: skip


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


# --- bounds and p-values of many sets at once, so that a simulation asks what the gate asks


def sums_of(values: Sequence[float], clusters: Sequence[Hashable]) -> np.ndarray:
    """Sum and number of the values of each cluster, float (G, 2), clusters in the order they first appear."""
    return summed(np.stack([values, np.ones(len(values))], axis=1), *numbered(clusters))


def lower_bounds(sums: np.ndarray, span: float | np.ndarray, alpha: float) -> np.ndarray:
    """Lower bounds (R,) of the mean over clips that each hold with 1 - alpha.

    Args:
        sums: (R, G, 2), see `sums_of`: R sets of G clusters.
        span: how far below zero a cluster that the sample lacks can be, or (R,).
    """
    found = np.quantile(_weighted_means(sums, -np.asarray(span)), alpha, axis=0)  # (R,)
    num = sums.shape[1]
    if num < 2:
        return np.asarray(found)
    value, se = _ratio_and_error(sums)
    lower: np.ndarray = np.minimum(found, value - student(num - 1, alpha) * se)
    return lower


def p_values(sums: np.ndarray, span: float | np.ndarray, accepted: float) -> np.ndarray:
    """P (R,) of "the mean over clips is not below -accepted": the share of the weighted means that are not, and
    Student's p, whichever is greater; arguments as of `lower_bounds`."""
    from scipy.stats import t

    weighted = _weighted_means(sums, np.asarray(span))  # (draws, R)
    near = _ROUNDING * np.abs(sums[..., 0] / sums[..., 1]).max(1)
    p = ((weighted >= -accepted - near).sum(0) + 1) / (len(weighted) + 1)
    num = sums.shape[1]
    if num < 2:
        return np.asarray(p)
    value, se = _ratio_and_error(sums)
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic = np.where(se > 0, (value + accepted) / se, np.copysign(np.inf, value + accepted))
    greater: np.ndarray = np.maximum(p, t.cdf(np.where(np.isnan(statistic), 0.0, statistic), num - 1))
    return greater


def clustered_error(sums: np.ndarray) -> float | None:
    """Standard error of the mean over clips, from (G, 2) sums and numbers: that of a ratio (Cochran 1977)."""
    return float(_ratio_and_error(sums[None])[1][0]) if len(sums) > 1 else None


def _ratio_and_error(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means over clips (R,) and their standard errors (R,)."""
    num, total = sums.shape[1], sums[..., 1].sum(1)  # (R,)
    value = sums[..., 0].sum(1) / total
    pull = (sums[..., 0] - value[:, None] * sums[..., 1]) / total[:, None]  # (R, G)
    size = np.abs(sums[..., 0] / sums[..., 1]).max(1)
    se = np.sqrt(num / (num - 1) * (pull**2).sum(1))
    return value, np.where(se <= _ROUNDING * size, 0.0, se)


def _negated_sums(sums: np.ndarray) -> np.ndarray:
    """The same with the other sign."""
    return sums * (-1.0, 1.0)


def _weighted_means(sums: np.ndarray, extreme: np.ndarray) -> np.ndarray:
    """Means over clips (draws, R) under Dirichlet weights of the clusters and of one more at `extreme`, which has as
    many clips as clusters have on average."""
    num = sums.shape[1]
    size = sums[..., 1].mean(1)  # (R,)
    more = np.stack([extreme * size, size], axis=1)  # (R, 2)
    all_sums = np.concatenate([sums, more[:, None]], axis=1)  # (R, G + 1, 2)
    parts = [_kept_weights(num)] if num * NUM_DRAWS <= _AT_ONCE else _weights(num)
    equal = bool((sums[..., 1] == size[:, None]).all())  # then the weights, of sum 1, give the same number of clips
    means = []
    for weights in parts:
        above = weights @ all_sums[..., 0].T  # (draws, R)
        means.append(above / (size if equal else weights @ all_sums[..., 1].T))
    return np.concatenate(means)


def _weights(num: int) -> Iterator[np.ndarray]:
    """Weights (draws, G + 1), in parts; the last one, which is Beta(1, G), from evenly spaced quantiles, so that bounds
    that it alone decides do not vary with the draws."""
    rng, step = np.random.default_rng(SEED), max(1, _AT_ONCE // (num + 1))
    last = 1 - _even(rng) ** (1 / num)  # (NUM_DRAWS,)
    for start in range(0, NUM_DRAWS, step):
        more = last[start : start + step, None]
        rest = rng.standard_exponential((len(more), num))
        yield np.concatenate([rest / rest.sum(1, keepdims=True) * (1 - more), more], axis=1)


def _even(rng: np.random.Generator) -> np.ndarray:
    """Evenly spaced quantiles of the uniform distribution in random order, (NUM_DRAWS,)."""
    return (rng.permutation(NUM_DRAWS) + 0.5) / NUM_DRAWS


@lru_cache(maxsize=2)
def _kept_weights(num: int) -> np.ndarray:
    """As `_weights`: a gate asks for the same ones with each of its metrics."""
    return np.concatenate(list(_weights(num)))


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


# --- what could have been seen


def reach(se: float, num: int, extreme: float, tail: float) -> float:
    """How far from the mean of G clusters a bound lies that holds with 1 - tail, for differences near to normal: the
    quantile of a normal error and of the weight of one cluster more, at `extreme`."""
    uniform, normal = _standard_draws()
    share = 1 - uniform ** (1 / num)  # Beta(1, G)
    found = float(np.quantile(share * extreme + (1 - share) * se * normal, 1 - tail))
    return max(found, student(num - 1, tail) * se) if num > 1 else found


def least_change(change: Change, *, accepted: float, alpha: float, power: float, num_tests: int) -> float | None:
    """The least harm that fails with a chance of `power`, at alpha/k, the first step of Holm; None where one cluster
    shows no spread, and where even the loss of everything could not be seen.

    Values with a step cannot all fall by a little: a harm of h is the harm of some prompts, which fall by whole steps,
    and adds to the spread that an unchanged candidate shows: step^2 f (1 - f) of each prompt, f the fraction of h/step.
    A prompt that the sample lacks and that gains the span lies h farther from the others.
    """
    if change.se is None or change.num_clusters < 2:
        return None
    se, num, span = change.se, change.num_clusters, change.span

    def least_harm(harm: float) -> float:
        part = math.fmod(harm / change.step, 1.0) if change.step else 0.0
        spread = math.sqrt(se**2 + change.step**2 * part * (1 - part) / num)
        return accepted + _to_see(spread, num, span + harm, alpha / num_tests, power)

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
    return _to_see(se, num, span, alpha, power)


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


def _to_see(se: float, num: int, extreme: float, tail: float, power: float) -> float:
    return reach(se, num, extreme, tail) + student(num - 1, 1 - power) * se


@lru_cache(maxsize=1)
def _standard_draws() -> tuple[np.ndarray, np.ndarray]:
    from scipy.stats import norm

    rng = np.random.default_rng(SEED)
    return _even(rng), norm.ppf(_even(rng))


def invisible_share(num: int, alpha: float) -> float:
    """The share of prompts, one in so many broken, of which G prompts hold none with a chance of alpha: about 3/G."""
    return float(1 - alpha ** (1 / num))


def least_step(values: Sequence[float]) -> float:
    """The least distance of two values that differ, 0 where all are equal."""
    levels = np.unique(np.asarray(values, dtype=np.float64))
    gaps = np.diff(levels)
    gaps = gaps[gaps > _ROUNDING * np.abs(levels).max(initial=0.0)]
    return float(gaps.min()) if len(gaps) else 0.0


def parts_of_variance(values: Sequence[float], clusters: Sequence[Hashable]) -> tuple[float, float] | None:
    """Variance between clusters and within them, by the analysis of variance of one way with clusters of any size
    (Searle 1971); None where no cluster has two values or there is one cluster."""
    groups: dict[Hashable, list[float]] = {}
    for value, cluster in zip(values, clusters, strict=True):
        groups.setdefault(cluster, []).append(value)
    num, parts = len(values), len(groups)
    if parts < 2 or num == parts:
        return None
    mean = math.fsum(values) / num
    means = {cluster: math.fsum(group) / len(group) for cluster, group in groups.items()}
    inside = math.fsum((v - means[c]) ** 2 for v, c in zip(values, clusters, strict=True)) / (num - parts)
    across = math.fsum(len(group) * (means[c] - mean) ** 2 for c, group in groups.items()) / (parts - 1)
    size = (num - sum(len(group) ** 2 for group in groups.values()) / num) / (parts - 1)
    return max(0.0, (across - inside) / size), inside


def finite_values(items: Sequence[Mapping[str, object]]) -> dict[str, float]:
    """The value of each item that has a number, by id; NaN and out-of-range values count as missing."""
    found: dict[str, float] = {}
    for item in items:
        value = item.get("value")
        if isinstance(value, int | float) and abs(value) < _GREATEST:
            found[str(item.get("id"))] = float(value)
    return found
