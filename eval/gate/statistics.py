"""How much a metric changed from the baseline, how sure that is, and what could have been seen.

In: paired differences and the clusters they come in, or the figures of two whole sets. Out: a `Change` (value,
interval, standard error, p). All seeds of one prompt are one cluster: an interval resamples clusters (Efron 1979;
Student's t below 30 of them), a p-value flips the signs of whole clusters (Fisher 1935). Where values have two levels,
or no spread, two made-up clusters, one for each side, keep the interval from having no width (Bonett and Price 2012).
The rules made from this are in `v2t_eval.gate.decide`, measured error rates in docs/gate-statistics.md.
Letters: n pairs, G clusters, d difference, k tests in one Holm correction.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from v2t.base.shares import normal_quantile
from v2t_eval.metric import Figure
from v2t_eval.significance import least_detectable, sign_flip
from v2t_eval.stats import FEW, bootstrap_sums

SEED = 6  # of every resample and flip: the same scores give the same verdict
NUM_RESAMPLES = 10_000
_GREATEST = 1e100  # a value beyond, or one that is no number, is none
_SAME = 1e-12  # differences of this share of their size are rounding


@dataclass(frozen=True, kw_only=True)
class Change:
    """Candidate minus baseline.

    Attributes:
        value: mean over clips, or difference of two figures.
        low, high: two-sided 1 - alpha interval; None where one cluster tells nothing of the spread.
        se: standard error, None as above.
        p: of "not worse than the baseline", one-sided; where neither end is better, of "equal", two-sided.
        num_pairs, num_clusters: behind it; 0 pairs for figures of whole sets.
    """

    value: float
    low: float | None
    high: float | None
    se: float | None
    p: float
    num_pairs: int
    num_clusters: int

    @property
    def paired(self) -> bool:
        """Made of pairs of clips."""
        return self.num_pairs > 0


def paired_change(
    differences: Sequence[float],
    clusters: Sequence[Hashable],
    *,
    higher_is_better: bool | None = True,
    alpha: float = 0.05,
    step: float = 0.0,
) -> Change:
    """The change of clips that both sides have.

    Args:
        differences: n, candidate minus baseline, in an order that does not depend on how the clips were listed.
        clusters: n, of each clip.
        step: the least change a single clip can make, see `step_of`; above zero two made-up clusters are added, of as
            many clips as one cluster is worth. Differences without spread, unless all are zero, always get them.

    Raises:
        ValueError: no difference, or lengths that differ.
    """
    if not len(differences) or len(differences) != len(clusters):
        raise ValueError(f"{len(differences)} differences, {len(clusters)} clusters")
    where = {cluster: number for number, cluster in enumerate(dict.fromkeys(clusters))}
    sums = np.zeros((len(where), 3))  # sum, number and sum of squares of a cluster's differences
    for cluster, d in zip(clusters, differences, strict=True):
        sums[where[cluster]] += d, 1, d * d
    value, num = float(sums[:, 0].sum() / len(differences)), len(where)
    p = _p_of(sums[:, 0], higher_is_better)
    if not step and max(differences) - min(differences) <= _SAME * abs(value):
        step = abs(value)
    low: float | None
    high: float | None
    if num == 1:
        still = value == 0 and not step
        low = high = se = 0.0 if still else None
    elif step:
        low, high, se = _with_made_up(sums, step, alpha)
    else:
        se = _clustered(sums)
        half = student(num - 1, alpha / 2) * se
        low, high = value - half, value + half
        if num >= FEW and se > 0:
            drawn = bootstrap_sums(
                sums[:, :2], lambda s: s[:, 0] / s[:, 1], num_resamples=NUM_RESAMPLES, confidence=1 - alpha, seed=SEED
            )
            # Of 40 clusters it holds 93 % and not 95: too small by sqrt((G-1)/G), and without Student's tails.
            wider = half / se / normal_quantile(1 - alpha) * math.sqrt(num / (num - 1))
            low, high = (value + wider * (end - value) for end in drawn)
    if low is not None and high is not None:
        low, high = min(low, value), max(high, value)
    return Change(value=value, low=low, high=high, se=se, p=p, num_pairs=len(differences), num_clusters=num)


def unpaired_change(
    candidate: Figure,
    baseline: Figure,
    num_clusters: int,
    *,
    higher_is_better: bool | None = True,
    alpha: float = 0.05,
) -> Change:
    """The change of a figure of whole sets: both standard errors are taken from the wider half of the 95 % intervals
    and put together as of independent sets, which is too cautious where both have the same prompts.

    Raises:
        ValueError: a figure whose interval has no width says nothing of its spread, unless both are equal to the bit.
    """
    value = candidate.value - baseline.value
    halves = [max(one.high - one.value, one.value - one.low) for one in (candidate, baseline)]
    if candidate == baseline:
        return Change(value=0.0, low=0.0, high=0.0, se=0.0, p=1.0, num_pairs=0, num_clusters=num_clusters)
    if min(halves) <= 0 or num_clusters < 2:
        raise ValueError("a figure without an interval")
    se = math.hypot(*halves) / normal_quantile(0.95)
    half = student(num_clusters - 1, alpha / 2) * se
    p = _tail(num_clusters - 1, value / se, higher_is_better)
    return Change(value=value, low=value - half, high=value + half, se=se, p=p, num_pairs=0, num_clusters=num_clusters)


def step_of(candidate: Sequence[float], baseline: Sequence[float], span: float, *, same_bytes: bool) -> float:
    """What one clip changes at least, for values whose spread cannot be trusted; 0 where it can.

    Two levels, right and wrong: their distance. One level: `span`, the width of the metric's range, if it is finite.
    All differences zero over more levels, or clips of the same bytes: 0, since then no change is a fact.
    """
    levels = sorted({*candidate, *baseline})
    if same_bytes or len(levels) > 2:
        return 0.0
    if len(levels) == 2:
        return levels[1] - levels[0]
    return span if math.isfinite(span) else 0.0


def least_change(change: Change, *, alpha: float, power: float, num_tests: int) -> float | None:
    """The least change for the worse that is found with a chance of `power` at alpha/k, the first step of Holm; None
    where not even the greatest could be, since G clusters cannot give a p below 2^-G."""
    if change.se == 0:
        return 0.0
    if change.se is None or change.num_clusters < least_clusters(alpha, num_tests):
        return None
    return least_detectable(change.se, change.num_clusters, alpha=alpha / num_tests, power=power)


def least_clusters(alpha: float, num_tests: int) -> int:
    """Clusters from which a sign flip can fall below alpha/k at all."""
    return math.floor(math.log2(num_tests / alpha)) + 1


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
    """The value of each item that has a number, by id; NaN and what is beyond all measure count as none."""
    found: dict[str, float] = {}
    for item in items:
        value = item.get("value")
        if isinstance(value, int | float) and abs(value) < _GREATEST:
            found[str(item.get("id"))] = float(value)
    return found


def student(degrees: int, tail: float) -> float:
    """Student's quantile that leaves `tail` above."""
    from scipy.stats import t  # type: ignore[import-untyped]

    return float(t.isf(tail, degrees))


def _tail(degrees: int, statistic: float, higher_is_better: bool | None) -> float:
    from scipy.stats import t

    if higher_is_better is None:
        return float(2 * t.sf(abs(statistic), degrees))
    return float(t.sf(-statistic if higher_is_better else statistic, degrees))


def _p_of(totals: np.ndarray, higher_is_better: bool | None) -> float:
    if higher_is_better is None:
        return sign_flip(totals.tolist(), NUM_RESAMPLES, SEED)
    worse = -totals if higher_is_better else totals
    return sign_flip(worse.tolist(), NUM_RESAMPLES, SEED, one_sided=True)


def _clustered(sums: np.ndarray) -> float:
    """Standard error of the mean over clips, from (G, 2 or more) sums and numbers: that of a ratio (Cochran 1977)."""
    num, total = len(sums), sums[:, 1].sum()
    pull = (sums[:, 0] - sums[:, 0].sum() / total * sums[:, 1]) / total  # (G,)
    return math.sqrt(num / (num - 1) * float((pull**2).sum()))


def _with_made_up(sums: np.ndarray, step: float, alpha: float) -> tuple[float, float, float]:
    """Low, high, standard error with a cluster that got better and one that got worse by `step`. Each has as many clips
    as the design effect says (Kish 1965); without any spread as many as a cluster has."""
    num, total = len(sums), float(sums[:, 1].sum())
    alone = float(sums[:, 2].sum()) / total - (float(sums[:, 0].sum()) / total) ** 2
    size = total / num
    if alone > _SAME * step**2:
        size = min(size, max(1.0, _clustered(sums) ** 2 * total / alone))
    made_up = np.array([[step * size, size], [-step * size, size]])
    both = np.concatenate([sums[:, :2], made_up])  # (G + 2, 2)
    middle, se = float(both[:, 0].sum() / both[:, 1].sum()), _clustered(both)
    half = student(num - 1, alpha / 2) * se
    return middle - half, middle + half, se
