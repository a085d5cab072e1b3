"""Strengths of generators from comparisons in pairs: Bradley and Terry (1952) with ties by Davidson (1970).

In: comparisons (left, right, who won), each with its prompt. Out: `Strengths`: log-odds of sum zero with intervals, who
cannot be distinguished from whom. With strengths s, a tie parameter t and a position p the chances of left, tie and
right are in proportion to exp(s_l + p/2), exp(t + (s_l + s_r)/2), exp(s_r - p/2): Davidson's ties are an exponential
family in which a tie counts as half a win for either, and p is the order effect of Davidson and Beaver (1977). The
prior keeps the strengths finite where one generator wins every comparison: normal, of standard deviation `PRIOR_SD` for
a strength and a position, `TIE_SD` for t. Intervals: the sandwich over prompts (White 1982, Liang and Zeger 1986) with
Student's t of prompts less one, or the inverse of the curvature with the normal quantile, whichever is wider for that
difference. The sandwich knows that answers about one prompt go together, the curvature what few prompts without
a loss do not show. How often they hold: docs/figures/ranking.md.
Letters: n comparisons, P cells (a pair in an order), k generators, G prompts.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist

import numpy as np

from cineloop.intervals import Interval, normal_quantile
from v2t_eval.core.statistics import CONFIDENCE, TAIL, holm, number_clusters, student, sum_by_cluster

LEFT, TIE, RIGHT = 0, 1, 2
ALPHA = 0.05
PRIOR_SD, TIE_SD = 3.0, 3.0
_STEPS, _CLOSE = 60, 1e-9


@dataclass(frozen=True, kw_only=True)
class Strengths:
    """What comparisons say of k generators.

    Attributes:
        values: (k,) strengths in log-odds, of sum zero.
        half: (k, k) half the width of the 95 % interval of each difference of two, 0 on the diagonal.
        alone: (k,) the same of each strength, which is a difference to the mean of all.
        tie: t, see the module's head.
        position: p, and half the width of its interval; above zero where left is preferred. None: not in the model.
    """

    values: np.ndarray
    half: np.ndarray
    alone: np.ndarray
    tie: float
    position: tuple[float, float] | None

    def interval(self, number: int) -> Interval:
        """95 % interval of a strength."""
        return _around(float(self.values[number]), float(self.alone[number]))

    def difference(self, first: int, second: int) -> tuple[float, Interval, float]:
        """By how much the first is stronger, with its 95 % interval, and p of "they are equal", two-sided."""
        value, half = float(self.values[first] - self.values[second]), float(self.half[first, second])
        return value, _around(value, half), _p(value, half)

    def position_interval(self) -> Interval | None:
        """95 % interval of the position; None where it is not in the model."""
        return None if self.position is None else _around(*self.position)

    def chance(self, first: int, second: int) -> float:
        """The chance that the first is preferred to the second where one of them is, in either order alike."""
        return float(1 / (1 + np.exp(self.values[second] - self.values[first])))

    def apart(self) -> np.ndarray:
        """(k, k) bool: whether the row is stronger than the column, at 5 % over all pairs together (Holm)."""
        num = len(self.values)
        pairs = [(a, b) for a in range(num) for b in range(a + 1, num)]
        adjusted = holm([self.difference(a, b)[2] for a, b in pairs])
        stronger = np.zeros((num, num), dtype=bool)
        for (a, b), p in zip(pairs, adjusted, strict=True):
            if p < ALPHA:
                first, second = (a, b) if self.values[a] > self.values[b] else (b, a)
                stronger[first, second] = True
        return stronger


def _around(value: float, half: float) -> Interval:
    return Interval(value - half, value + half)


def _p(value: float, half: float) -> float:
    """Below .05 where the interval leaves out 0: of the normal distribution, to which an interval is scaled."""
    return float(2 * NormalDist().cdf(-abs(value) / half * normal_quantile(CONFIDENCE))) if half > 0 else 1.0


def order_of(values: np.ndarray) -> list[int]:
    """Numbers from strong to weak; of equal ones the first."""
    return [int(each) for each in np.argsort(-np.round(values, 9), kind="stable")]


def ranks(apart: np.ndarray) -> list[tuple[int, int]]:
    """For each generator the best and the worst place that the comparisons leave open: one more than are stronger for
    sure, and all but those that are weaker for sure."""
    num = len(apart)
    return [(1 + int(apart[:, one].sum()), num - int(apart[one].sum())) for one in range(num)]


def groups(values: np.ndarray, apart: np.ndarray) -> list[tuple[int, ...]]:
    """Generators that cannot be distinguished: the largest stretches of the order from strong to weak in which no pair
    is apart. One may be in several."""
    order = order_of(values)
    stretches: list[tuple[int, int]] = []
    for first in range(len(order)):
        last = first
        while last + 1 < len(order) and not any(apart[order[n], order[last + 1]] for n in range(first, last + 1)):
            last += 1
        if not stretches or last > stretches[-1][1]:
            stretches.append((first, last))
    return [tuple(order[first : last + 1]) for first, last in stretches]


def best(apart: np.ndarray) -> int | None:
    """The generator that is stronger than every other one for sure; None where there is none."""
    sure = np.flatnonzero(apart.sum(1) == len(apart) - 1)
    return int(sure[0]) if len(sure) else None


def fit(
    left: Sequence[int] | np.ndarray, right: Sequence[int] | np.ndarray, winner: Sequence[int] | np.ndarray,
    prompts: Sequence[Hashable], num: int, *, position: bool = False,
) -> Strengths:  # fmt: skip
    """The strengths of `num` generators.

    Args:
        left, right: (n,) numbers of generators.
        winner: (n,) of LEFT, TIE, RIGHT.
        prompts: (n,) what the comparisons are clustered by.
        position: whether left may have an advantage as such; not for comparisons that were made in both orders.

    Raises:
        ValueError: fewer than two generators or prompts, or a generator compared with itself.
    """
    left, right, winner = (np.asarray(each, dtype=np.int64) for each in (left, right, winner))
    at, clusters = number_clusters(prompts)
    if num < 2 or clusters < 2 or (left == right).any():
        raise ValueError(f"strengths need two generators and two prompts or more, got {num} and {clusters}")
    cells, where = np.unique(left * num + right, return_inverse=True)
    features = _features(cells // num, cells % num, num, position=position)  # (P, 3, d)
    counts = np.zeros((len(cells), 3))
    np.add.at(counts, (where, winner), 1.0)
    beta, curvature = maximum(features, counts, num)
    chances = _chances(features, beta)  # (P, 3)
    pulls = features[where, winner] - np.einsum("po,pod->pd", chances, features)[where]  # (n, d)
    scores = sum_by_cluster(pulls, at, clusters)  # (G, d)
    inverse = np.linalg.inv(curvature)
    sandwich = inverse @ (scores.T @ scores) @ inverse * clusters / (clusters - 1)
    scale = np.array([student(clusters - 1, TAIL), normal_quantile(CONFIDENCE)]) ** 2
    covariances = np.stack([sandwich, inverse]) * scale[:, None, None]  # (2, d, d)
    centre = np.eye(num) - 1 / num
    wide = centre @ covariances[:, :num, :num] @ centre  # (2, k, k)
    variances = np.diagonal(wide, axis1=1, axis2=2)  # (2, k)
    pairs = variances[:, :, None] + variances[:, None, :] - 2 * wide
    return Strengths(
        values=beta[:num] - beta[:num].mean(),
        half=np.sqrt(np.maximum(pairs.max(0), 0.0)),
        alone=np.sqrt(variances.max(0)),
        tie=float(beta[num]),
        position=(float(beta[-1]), sqrt(covariances[:, -1, -1].max())) if position else None,
    )


def maximum(features: np.ndarray, counts: np.ndarray, num: int) -> tuple[np.ndarray, np.ndarray]:
    """The likeliest parameters (d,) under the prior, and the curvature (d, d) there, by Newton's method: the logarithm
    of the likelihood is concave.

    Args:
        features: (P, 3, d), see the module's head. counts: (P, 3), how often each came; any number of 0 or more.
    """
    size = features.shape[2]
    deviations = np.full(size, PRIOR_SD)
    deviations[num] = TIE_SD
    precision = 1 / deviations**2
    beta, totals = np.zeros(size), counts.sum(1)

    def value(at: np.ndarray) -> float:
        utilities = features @ at
        top = utilities.max(1)
        norm = top + np.log(np.exp(utilities - top[:, None]).sum(1))
        return float((counts * utilities).sum() - totals @ norm - 0.5 * precision @ at**2)

    for _ in range(_STEPS):
        chances = _chances(features, beta)
        mean = np.einsum("po,pod->pd", chances, features)
        slope = np.einsum("po,pod->d", counts, features) - totals @ mean - precision * beta
        centred = features - mean[:, None]
        curvature = np.einsum("p,po,pod,poe->de", totals, chances, centred, centred, optimize=True) + np.diag(precision)
        step = np.linalg.solve(curvature, slope)
        before, scale = value(beta), 1.0
        while value(beta + scale * step) < before - 1e-12 * abs(before) and scale > 1e-4:
            scale /= 2
        beta = beta + scale * step
        if np.abs(step).max() < _CLOSE:
            break
    return beta, curvature


def _features(left: np.ndarray, right: np.ndarray, num: int, *, position: bool) -> np.ndarray:
    """What each outcome of a cell adds to the utility: (P, 3, k + 1), or (P, 3, k + 2) with a position."""
    at = np.arange(len(left))
    features = np.zeros((len(left), 3, num + 1 + position))
    features[at, LEFT, left] = features[at, RIGHT, right] = 1.0
    features[at, TIE, left] = features[at, TIE, right] = 0.5
    features[:, TIE, num] = 1.0
    if position:
        features[:, LEFT, num + 1], features[:, RIGHT, num + 1] = 0.5, -0.5
    return features


def _chances(features: np.ndarray, beta: np.ndarray) -> np.ndarray:
    utilities = features @ beta  # (P, 3)
    shares = np.exp(utilities - utilities.max(1, keepdims=True))
    return np.asarray(shares / shares.sum(1, keepdims=True))
