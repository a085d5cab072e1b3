"""Sensitivity of a metric to a planted fault: how its scores change with severity.

In: scores of n clips without a fault and at each severity. Out: a `Cell` of the sensitivity table
(`v2t_eval.audit.record`). Blindness is exact: a cell is `equal` only when every score is bit-identical. Letters: n
clips, S severities.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from cineloop.intervals import Interval
from v2t_eval.audit.record import Cell
from v2t_eval.core import statistics as stats
from v2t_eval.core.statistics import estimate_of_sums, mean_interval, number_clusters, unless_flat


def cell(
    clean: Sequence[float], corrupted: Sequence[Sequence[float]], clusters: Sequence[Hashable] | None = None
) -> Cell:
    """The cell of one metric and one fault. `clean`: n scores; `corrupted`: S lists of n, by rising severity.

    Raises:
        ValueError: no clip, no severity, or lengths that differ.
    """
    first, rest = np.asarray(clean, dtype=np.float64), np.asarray(corrupted, dtype=np.float64)  # (n,), (S, n)
    if rest.ndim != 2 or not first.size or not rest.size or rest.shape[1:] != first.shape:
        raise ValueError(f"expected {first.size} scores for each of some severities, got an array of {rest.shape}")
    changes = rest[-1] - first  # (n,)
    at, num = number_clusters(range(len(first)) if clusters is None else clusters)
    groups = np.eye(num)[:, at]  # which clips each cluster holds, (G, n)
    low, high = mean_interval(list(changes), clusters)
    wins = np.stack([groups @ ((changes < 0) + 0.5 * (changes == 0)), groups.sum(1)], 1)  # (G, 2)
    won, won_ends = _unless_flat(num, *estimate_of_sums(wins, lambda s: s[:, 0] / s[:, 1]))
    taus = [kendall_tau(range(len(rest) + 1), column) for column in np.vstack([first, rest]).T]
    area, ends = auroc(first, rest[-1], clusters)
    return Cell(
        equal=bool((rest == first).all()),
        tau=float(np.median(taus)),
        change=float(changes.mean()),
        low=low,
        high=high,
        auroc=area,
        auroc_low=ends.low,
        auroc_high=ends.high,
        n=len(first),
        clusters=num,
        wins=won,
        wins_low=won_ends.low,
        wins_high=won_ends.high,
        p=_sign_flip(groups @ changes),
    )


def kendall_tau(first: Sequence[float], second: Sequence[float]) -> float:
    """Kendall's tau-b of two rankings with ties, in [-1, 1]; 0 where one of them never changes."""
    from scipy.stats import kendalltau  # type: ignore[import-untyped]

    if len(set(first)) < 2 or len(set(second)) < 2:
        return 0.0
    return float(kendalltau(first, second).statistic)


def auroc(
    higher: Sequence[float] | np.ndarray,
    lower: Sequence[float] | np.ndarray,
    clusters: Sequence[Hashable] | None = None,
) -> tuple[float, Interval]:
    """Area under the ROC curve of scores that ought to be higher against scores that ought to be lower, with its 95 %
    interval. The two lists are of the same clips in the same order: a clip is drawn with both its scores.

    Raises:
        ValueError: no score, or lengths that differ.
    """
    above, below = np.asarray(higher, dtype=np.float64), np.asarray(lower, dtype=np.float64)
    if not above.size or above.shape != below.shape:
        raise ValueError(f"expected two lists of equal length, got {above.shape} and {below.shape}")
    at, num = number_clusters(range(len(above)) if clusters is None else clusters)
    return _unless_flat(num, *stats.auroc(above, below, at, at, num))


def _unless_flat(num: int, value: float, interval: Interval) -> tuple[float, Interval]:
    """A share and its interval; unchanged for a single cluster."""
    return value, unless_flat(interval, value, num) if num > 1 else interval


def _sign_flip(sums: np.ndarray) -> float:
    """P of changes summed by cluster (G,) under sign changes of whole clusters, two-sided; exact for few clusters."""
    from scipy.stats import permutation_test  # type: ignore[import-untyped]

    if len(sums) < 2 or not sums.any():
        return 1.0
    test = permutation_test((sums,), np.mean, permutation_type="samples", n_resamples=9999, vectorized=True, rng=0)
    return float(test.pvalue)
