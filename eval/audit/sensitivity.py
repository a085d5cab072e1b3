"""What a metric sees of a planted fault: how its scores change as the fault grows.

In: scores of n clips without a fault and at each severity. Out: a `Cell` of the sensitivity table. Blindness is exact:
a cell is `equal` only when every score is the same to the bit. Letters: n clips, S severities.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from v2t_eval.stats import Interval, interval_of_sums, mean_interval


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One metric under one fault.

    Attributes:
        equal: all n scores at every severity are those of the clean clips, to the bit.
        tau: median over clips of Kendall's tau-b between severity (0 for clean) and score; -1 falls always, 1 rises
            always, 0 where the score never changes.
        change: mean of score minus clean score at the greatest severity; `low`, `high` its 95 % interval.
        auroc: share of pairs (a clean clip, a spoiled clip) in which the clean one scores higher, ties one half;
            `auroc_low`, `auroc_high` its interval. 0.5 tells nothing, 0 means that spoiled clips score higher.
        n: clips.
    """

    equal: bool
    tau: float
    change: float
    low: float
    high: float
    auroc: float
    auroc_low: float
    auroc_high: float
    n: int

    def mark(self, higher_is_better: bool | None) -> str:
        """= exactly equal · ~ nothing that a threshold could tell: the interval of the change holds 0, or that of the
        AUROC one half · else the way it moves, with "!" where a worse clip scores better: the metric is fooled."""
        if self.equal:
            return "="
        if self.low <= 0 <= self.high or self.auroc_low <= 0.5 <= self.auroc_high:
            return "~"
        rises = self.change > 0
        fooled = higher_is_better is not None and rises == higher_is_better
        return ("up" if rises else "down") + ("!" if fooled else "")


def cell(
    clean: Sequence[float], spoiled: Sequence[Sequence[float]], clusters: Sequence[Hashable] | None = None
) -> Cell:
    """The cell of one metric and one fault.

    Args:
        clean: n scores.
        spoiled: S lists of n scores, by rising severity.
        clusters: clips that are not independent.

    Raises:
        ValueError: no clip, no severity, or lengths that differ.
    """
    first, rest = np.asarray(clean, dtype=np.float64), np.asarray(spoiled, dtype=np.float64)  # (n,), (S, n)
    if rest.ndim != 2 or not first.size or not rest.size or rest.shape[1:] != first.shape:
        raise ValueError(f"expected {first.size} scores for each of some severities, got an array of {rest.shape}")
    changes = rest[-1] - first  # (n,)
    low, high = mean_interval(list(changes), clusters)
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
    wins = (above[:, None] > below[None]) + 0.5 * (above[:, None] == below[None])  # (n, n)
    num = len(above)
    # Counts c of the clips give the area c'Wc / (sum c)^2.
    interval = interval_of_sums(
        np.eye(num),
        lambda times: np.einsum("ri,ij,rj->r", times, wins, times, optimize=True) / times.sum(1) ** 2,
        range(num) if clusters is None else clusters,
    )
    area = float(wins.mean())
    return area, Interval(min(interval.low, area), max(interval.high, area))
