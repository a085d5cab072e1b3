"""Uncertainty of a distance between two sets: groups of clusters, jackknife, same-distribution floor, limit of infinite
N.

In: which vectors belong together (frames of a clip, seeds of a prompt) and a function that gives the distance of any
part of the sets. Out: intervals and further figures. Everything drawn is drawn by cluster and from a fixed seed.

Interval: the delete-a-group jackknife (Efron and Stein 1981; Shao and Wu 1989). A bootstrap is wrong
for these distances: a vector drawn twice makes the covariance narrower and the kernel's pairs with themselves more, so
all resamples are on one side of the value, as if N were 0.63 N. Leaving a group out repeats nothing, and the bias it
adds is the same for every group and falls out of their spread. On average its variance errs to the wide side.
Limit: Chong and Forsyth (2020): the distance of n of N vectors is close to a + c/n; a is the distance without bias.
Letters: N M vectors, G groups, S sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from math import sqrt

import numpy as np

NUM_GROUPS = 20
NUM_SIZES = 15
Distance = Callable[[np.ndarray, np.ndarray], float]  # (n, d), (m, d) -> value


def members(clusters: Sequence[Hashable]) -> list[np.ndarray]:
    """Positions of each cluster's vectors, int arrays, clusters in the order they first appear."""
    by_group: dict[Hashable, list[int]] = {}
    for position, cluster in enumerate(clusters):
        by_group.setdefault(cluster, []).append(position)
    return [np.array(positions) for positions in by_group.values()]


def groups_of(clusters: Sequence[Hashable], num_groups: int, seed: int) -> np.ndarray:
    """A group 0 to num_groups-1 for each vector, int (N,): whole clusters, shuffled, the groups near equal in size.

    Raises:
        ValueError: fewer clusters than groups.
    """
    parts = members(clusters)
    if len(parts) < num_groups:
        raise ValueError(f"{len(parts)} clusters cannot fill {num_groups} groups")
    shuffled = np.random.default_rng(seed).permutation(len(parts))
    order = sorted(shuffled, key=lambda number: -len(parts[number]))  # stable: equal clusters stay shuffled
    groups, sizes = np.empty(len(clusters), dtype=np.int64), [0] * num_groups
    for number in order:
        smallest = sizes.index(min(sizes))
        groups[parts[number]] = smallest
        sizes[smallest] += len(parts[number])
    return groups


def replicates(
    without_each: Callable[[np.ndarray, np.ndarray], np.ndarray],
    clusters: Sequence[Hashable],
    clusters_reference: Sequence[Hashable],
    *,
    seed: int,
) -> np.ndarray | None:
    """The values (G,) without each group, both sides losing one at once, for
    `v2t_eval.core.statistics.jackknife_interval`; None where a side has one cluster, or would be left with one vector.
    """
    num = min(NUM_GROUPS, len(members(clusters)), len(members(clusters_reference)))
    if num < 2:
        return None
    groups, other = groups_of(clusters, num, seed), groups_of(clusters_reference, num, seed + 1)
    if min(len(side) - int(np.bincount(side).max()) for side in (groups, other)) < 2:
        return None
    return without_each(groups, other)


def floor_halves(clusters: Sequence[Hashable], num: int, seed: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Two halves of a set without a cluster in common, int (n,) each, n at most `num`; None where a half would have
    fewer than two vectors."""
    parts = members(clusters)
    halves: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    total, taken = len(clusters), 0
    for number in np.random.default_rng(seed).permutation(len(parts)):
        halves[0 if 2 * taken < total else 1].append(parts[number])
        taken += len(parts[number])
    size = min(num, *(sum(map(len, half)) for half in halves))
    if size < 2:
        return None
    first, second = (np.concatenate(half)[:size] for half in halves)
    return first, second


def floor_values(
    features: np.ndarray, clusters: Sequence[Hashable], num: int, distance: Distance, *, splits: int, seed: int
) -> tuple[np.ndarray, int]:
    """What `distance` says of two halves (n, d) of one set: values (splits,) and n; n is `num` where the set has twice
    as many, else half of it. No values, and n = 0, where the set cannot be halved."""
    values, size = [], 0
    for split in range(splits):
        halves = floor_halves(clusters, num, seed + split)
        if halves is None:
            return np.zeros(0), 0
        size = len(halves[0])
        values.append(distance(features[halves[0]], features[halves[1]]))
    return np.array(values), size


def sizes_for_limit(num: int, num_reference: int, dimension: int) -> np.ndarray | None:
    """Shares (S,) of both sets at which the limit is read off, regular from a tenth (or d+1 vectors) to all; None where
    the greatest is not at least twice the smallest, so that no line can be laid through them."""
    smallest = min(num, num_reference)
    lowest = max(0.1, (dimension + 1) / smallest, 16 / smallest)
    if lowest > 0.5:
        return None
    return np.linspace(lowest, 1.0, NUM_SIZES)


def limit(
    first: np.ndarray,
    second: np.ndarray,
    clusters: Sequence[Hashable],
    clusters_reference: Sequence[Hashable],
    distance: Distance,
    *,
    seed: int,
) -> tuple[float, float] | None:
    """The distance of endlessly many vectors, and the standard error of the line's fit; None with too few vectors.

    Both sets (N, d) and (M, d) shrink by the same share f, so the bias c/N + c'/M grows as 1/f also for N != M; the
    value is the intercept over 1/f. At each share stands the mean over as many parts without a vector in common as the
    sets hold, shuffled anew by clusters: one part alone, as in the paper, makes the intercept half again as unsure.
    """
    shares = sizes_for_limit(len(first), len(second), first.shape[1])
    if shares is None:
        return None
    draws = np.random.default_rng(seed)
    parts, parts_reference = members(clusters), members(clusters_reference)
    values = []
    for share in shares:
        one = _cut(_random_order(parts, draws), round(share * len(first)))
        two = _cut(_random_order(parts_reference, draws), round(share * len(second)))
        values.append(np.mean([distance(first[a], second[b]) for a, b in zip(one, two, strict=False)]))
    return intercept(1 / shares, np.array(values))


def intercept(inverse: np.ndarray, values: np.ndarray) -> tuple[float, float]:
    """Least squares of values (S,) on `inverse` (S,): the intercept and its standard error.

    Raises:
        ValueError: fewer than three points.
    """
    num = len(values)
    if num < 3:
        raise ValueError(f"a line with an error needs at least 3 points, got {num}")
    centred = inverse - inverse.mean()
    spread = float(centred @ centred)
    slope = float(centred @ values) / spread
    at_zero = float(values.mean()) - slope * float(inverse.mean())
    residual = values - at_zero - slope * inverse
    variance = float(residual @ residual) / (num - 2)
    return at_zero, sqrt(variance * (1 / num + float(inverse.mean()) ** 2 / spread))


def _random_order(parts: list[np.ndarray], draws: np.random.Generator) -> np.ndarray:
    """All positions, clusters in random order and each in one piece."""
    return np.concatenate([parts[number] for number in draws.permutation(len(parts))])


def _cut(positions: np.ndarray, num: int) -> list[np.ndarray]:
    """As many pieces of `num` positions as there are, the rest left over."""
    return [positions[start : start + num] for start in range(0, len(positions) - num + 1, num)]
