"""Corrections of p-values for several tests: Holm (1979), Benjamini and Hochberg (1995).

In: p-values. Out: adjusted ones. Intervals are in `v2t_eval.stats`, the gate's tests in `v2t_eval.gate.statistics`.
"""

from __future__ import annotations

from collections.abc import Sequence


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


def _ranked(ps: Sequence[float]) -> list[int]:
    if not all(0 <= p <= 1 for p in ps):
        raise ValueError(f"every p must be within 0 and 1, got {list(ps)}")
    return sorted(range(len(ps)), key=lambda place: ps[place])
