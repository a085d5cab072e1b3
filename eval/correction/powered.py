"""Prediction-powered inference: a mean of truth, where few clips have the truth and all have a judge's value.

In: a judged value of each clip and, of some, the true one. Out: a `PoweredMean`. The mean of the truth is that of the
labelled clips, moved by weight times (judged mean of the others - judged mean of the labelled): right on average
whatever the judge is worth, if the labelled clips were drawn at random (Angelopoulos et al. 2023, PPI++,
arXiv:2311.01453). The weight is the one of least variance, within 0 and 1: 0 leaves the judge out. Clips of one prompt
are one case: pulls of prompts take the place of those of clips, in the weight as in the interval.
Letters: N clips, G prompts.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

from cineloop.intervals import Interval
from v2t_eval.core.statistics import interval_of_pulls, number_clusters, sum_by_cluster, unless_flat

LEAST_PROMPTS = 40  # with labels; of 20 the interval holds in 89 % of simulations (docs/figures/correction.md)


@dataclass(frozen=True, kw_only=True)
class PoweredMean:
    """A mean of truth in [0, 1] with its interval of 95 %; `weight` of the judge; `prompts` with labels."""

    value: float
    low: float
    high: float
    weight: float
    prompts: int


def powered_mean(judged: np.ndarray, truth: np.ndarray, clusters: Sequence[Hashable]) -> PoweredMean:
    """The mean of the truth over all clips; see the module's head.

    Args:
        judged: (N,) in [0, 1].
        truth: (N,) in [0, 1], NaN where it is not known.
        clusters: N.

    Raises:
        ValueError: fewer than two prompts have the truth.
    """
    known = ~np.isnan(truth)
    at, num = number_clusters(clusters)
    labelled = np.bincount(at[known], minlength=num) > 0  # (G,)
    prompts = int(labelled.sum())
    if prompts < 2:
        raise ValueError(f"prediction-powered inference needs labels of two prompts or more, got {prompts}")
    of_truth = _pulls(truth, known, at, num)  # (G,)
    of_judge = _pulls(judged, known, at, num) - _pulls(judged, ~known, at, num)  # (G,)
    spread = float(of_judge @ of_judge)
    others = ~known
    weight = min(max(float(of_truth @ of_judge) / spread, 0.0), 1.0) if spread > 0 and others.any() else 0.0
    gap = float(judged[others].mean() - judged[known].mean()) if others.any() else 0.0
    value = float(truth[known].mean()) + weight * gap
    pulls = of_truth - weight * of_judge  # (G,)
    low, high = interval_of_pulls(value, pulls[labelled])
    rest = pulls[~labelled]
    if weight and len(rest) > 1:  # independent of the labelled prompts
        more = interval_of_pulls(value, rest)
        low, high = (
            value - sqrt((value - low) ** 2 + (value - more.low) ** 2),
            value + sqrt((high - value) ** 2 + (more.high - value) ** 2),
        )
    value = min(max(value, 0.0), 1.0)
    low, high = unless_flat(Interval(low, high), value, prompts)
    return PoweredMean(value=value, low=min(low, value), high=max(high, value), weight=weight, prompts=prompts)


def _pulls(values: np.ndarray, which: np.ndarray, at: np.ndarray, num: int) -> np.ndarray:
    """How far the clips `which` of each prompt pull the mean over all of these, (G,)."""
    if not which.any():
        return np.zeros(num)
    own = values[which]
    return sum_by_cluster((own - own.mean()) / len(own), at[which], num)
