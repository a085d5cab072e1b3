"""Pairs of near vectors, and groups of them: what finds copies among many clips.

In: unit vectors float32 (N, D). Out: pairs whose cosine is at least a limit, all of them, and connected components. For
vectors of length 1, |a - b|² = 2 - 2 cos, and a projection never lengthens a - b: a product of the first principal
directions rules nearly all pairs out, at an eighth of the cost of the whole one, and the others are computed in full.
Letters: N vectors, D their width, d directions, B rows at once, n pairs.
"""

from __future__ import annotations

import numpy as np

_DIRECTIONS = 64
_SAMPLE = 4096  # vectors that the directions are of
_ROWS, _COLUMNS = 512, 8192  # a block of products, which fits a cache
MOST_NEAR = 50  # pairs of a vector, the nearest: without a bound, N black clips would have N² pairs


def near_pairs(
    vectors: np.ndarray, least: float, others: np.ndarray | None = None, *, most: int = MOST_NEAR
) -> tuple[np.ndarray, np.ndarray]:
    """The pairs (i, j), i < j, with cosine of `vectors[i]` and `vectors[j]` at or above `least`.

    Args:
        vectors: float32 (N, D) of length 1; zeros are near nothing.
        least: above 0, at most 1.
        others: float32 (N, D), of which the second of a pair is taken instead, as of mirrored clips.
        most: pairs of each i, those of the greatest cosine.

    Returns:
        Pairs int64 (n, 2), sorted, and their cosines float32 (n,).
    """
    num, width = vectors.shape
    others = vectors if others is None else others
    kept = min(_DIRECTIONS, width)
    sample = vectors[np.linspace(0, num - 1, min(num, _SAMPLE)).astype(int)].astype(np.float64)  # (S, D)
    basis = np.linalg.eigh(sample.T @ sample)[1][:, ::-1][:, :kept].astype(np.float32)  # (D, d)
    left, right = _thin(vectors, basis), _thin(others, basis)[:, [*range(kept), kept + 1, kept]]  # (N, d + 2)
    floor = np.float32(least - 1 - 1e-5)  # of -|Pa - Pb|² / 2
    blocks: list[np.ndarray] = []
    for start in range(0, num, _ROWS):
        parts = []
        for column in range(start, num, _COLUMNS):
            block = left[start : start + _ROWS] @ right[column : column + _COLUMNS].T  # (B, columns)
            if (near := block >= floor).any():
                if int(near.sum()) > 4 * most * len(block):  # a crowd of like clips: the nearest of each
                    near &= block >= -np.sort(-block, axis=1)[:, 4 * most - 1 : 4 * most]
                rows, columns = np.nonzero(near)
                parts.append(np.stack([rows + start, columns + column], 1))
        if parts:
            blocks.append(_exact(np.concatenate(parts), vectors, others, least, most))
    every = np.concatenate(blocks) if blocks else np.zeros((0, 3))
    return every[:, :2].astype(np.int64), every[:, 2].astype(np.float32)


def _thin(vectors: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """float32 (N, d + 2): projections p, -|p|² / 2 and 1, so that one product gives -|Pa - Pb|² / 2."""
    thin = vectors @ basis  # (N, d)
    half = -(thin**2).sum(1, keepdims=True) / 2
    return np.concatenate([thin, half, np.ones_like(half)], 1).astype(np.float32)


def _exact(pairs: np.ndarray, left: np.ndarray, right: np.ndarray, least: float, most: int) -> np.ndarray:
    """float64 (n, 3): those of the pairs int64 (m, 2) that are near, with their cosine; no more than `most` of each i,
    sorted."""
    pairs = pairs[pairs[:, 0] < pairs[:, 1]]
    cosines = np.concatenate(
        [
            np.einsum("nd,nd->n", left[part[:, 0]], right[part[:, 1]])
            for part in np.array_split(pairs, len(pairs) // 8192 + 1)
        ]
    )  # (m,)
    near = cosines >= least
    pairs, cosines = pairs[near], cosines[near]
    order = np.lexsort((pairs[:, 1], -cosines, pairs[:, 0]))
    first = pairs[order, 0]
    rank = np.arange(len(first)) - np.searchsorted(first, first)
    order = order[rank < most]
    order = order[np.lexsort((pairs[order, 1], pairs[order, 0]))]
    return np.concatenate([pairs[order], cosines[order, None]], 1)


def groups(num: int, pairs: np.ndarray) -> np.ndarray:
    """int64 (num,): the number of the connected component of each of `num` items under pairs int (n, 2)."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    graph = coo_matrix((np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), shape=(num, num))
    labels: np.ndarray = connected_components(graph, directed=False)[1].astype(np.int64)
    return labels
