"""Looks at growing data: what each may spend of an error, and below which p it decides.

In: at each look, sums of the differences of each prompt, in several series that share their prompts. Out: p-values, and
the level of each look. One draw of weights of the prompts is one error for all series and looks, so that the levels
are not divided by the number of series, but set by how often any of them would be above its bound (`bounds`;
Westfall and Young 1993). What is spent goes by the number of the look, however many follow (Lan and DeMets 1983, by
look and not by information: more may be asked for later). Letters: K looks, V series, G prompts, D draws.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from v2t_eval.core.bounds import NUM_DRAWS, p_values, weighted_means

_EVEN = 3  # looks by which half of it is spent


def spent_until(alpha: float, look: int) -> float:
    """How much of alpha is spent up to a look, from 1."""
    return alpha * look / (look + _EVEN)


def p_values_and_levels(
    sums: Sequence[np.ndarray] | np.ndarray,
    spans: Sequence[np.ndarray] | np.ndarray,
    tolerated: float | np.ndarray = 0.0,
    *,
    alpha: float,
) -> tuple[list[np.ndarray], np.ndarray]:
    """P of "the mean is not below -tolerated" at each look, K of (V,), and below which p each look decides (K,); see
    `p_values_and_ranks` and `levels`."""
    tests = [p_values_and_ranks(rows, span, tolerated, alpha=alpha) for rows, span in zip(sums, spans, strict=True)]
    return [p for p, _ in tests], levels([ranks for _, ranks in tests], alpha)


def p_values_and_ranks(
    sums: np.ndarray,
    spans: np.ndarray,
    tolerated: float | np.ndarray = 0.0,
    *,
    alpha: float,
    num_draws: int = NUM_DRAWS,
) -> tuple[np.ndarray, np.ndarray]:
    """One look: p of "the mean is not below -tolerated" (V,), and of each draw its least rank in any series (D,).

    Args:
        sums: (V, G, 2), of the differences of each prompt's clips, and how many there are; a prompt that is not drawn
            yet has 0, 0. G is the same at all looks.
        spans: (V,), how far the values are apart.
        tolerated: at or above zero, or (V,).
        alpha: of deciding anything wrongly, at any look.
        num_draws: of weights, the same at all looks.
    """
    weighted = weighted_means(sums, spans, num_draws)  # (D, V)
    p = p_values(sums, spans, np.broadcast_to(tolerated, len(sums)), weighted)
    p = np.where((sums[..., 1] > 0).sum(1) > 1, p, 1.0)
    return p, _least_ranks(weighted.T, int(alpha * len(weighted)) + 1)


def _least_ranks(means: np.ndarray, most: int) -> np.ndarray:
    """(D,) from means under the same weights (V, D): the least rank from above that a draw has in any series, as a
    share; 1 for those beyond `most`."""
    draws = means.shape[-1]
    highest = np.argpartition(-means, most, axis=-1)[..., :most]
    highest = np.take_along_axis(highest, np.argsort(-np.take_along_axis(means, highest, -1), axis=-1), -1)
    ranks = np.ones(means.shape)
    np.put_along_axis(ranks, highest, (np.arange(most) + 1) / draws, axis=-1)
    return np.asarray(ranks.min(0))


def levels(ranks: Sequence[np.ndarray], alpha: float) -> np.ndarray:
    """Below which p each look decides (K,), from least ranks, K of (D,): so that `spent_until` is the share of the
    draws that are above the bound of any series at any look so far."""
    limits, alive = np.zeros(len(ranks)), np.ones(len(ranks[0]), dtype=bool)
    for look, rank in enumerate(ranks):
        left = int(spent_until(alpha, look + 1) * len(rank)) - int((~alive).sum())
        limits[look] = np.partition(rank[alive], left)[left]  # so many of the draws that are left lie below
        alive &= rank >= limits[look]
    return limits
