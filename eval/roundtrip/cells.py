"""Attribute each error to generator or captioner: questions answered from the clip and from the caption, in four cells.

In: answers. Out: `Cells`: clip right and caption right; clip right and caption wrong (the captioner lost it); clip
wrong and caption right (the captioner made it up); both wrong (the generator lost it). Questions without an answer on
either side are counted apart. Intervals are Wilson's, widened where questions of one prompt agree (95 %).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from v2t_eval.stats import Estimate, weighted_shares

CELLS: dict[str, str] = {
    "kept": "clip ✓ caption ✓",
    "lost_by_captioner": "clip ✓ caption ✗",
    "made_up_by_captioner": "clip ✗ caption ✓",
    "lost_by_generator": "clip ✗ caption ✗",
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """One question of one clip: whether clip and caption give the wanted answer, None without an answer."""

    cluster: str
    kind: str
    clip: bool | None
    caption: bool | None


@dataclass(frozen=True, kw_only=True)
class Cells:
    """Shares of the four cells among `n` questions that both sides answered; `unanswered`: how many they did not.

    `who` answers from the clip (judge or referee), `side` is generator or ceiling, `kind` one kind of fact or "all".
    """

    who: str
    side: str
    kind: str
    n: int
    unanswered: int
    shares: dict[str, Estimate]


def cell_of(case: Case) -> str | None:
    """Which of `CELLS` a question falls into; None where a side has no answer."""
    if case.clip is None or case.caption is None:
        return None
    if case.clip:
        return "kept" if case.caption else "lost_by_captioner"
    return "made_up_by_captioner" if case.caption else "lost_by_generator"


def count(cases: Iterable[Case], who: str, side: str) -> list[Cells]:
    """Cells of all questions, then by kind of fact in the order of their first appearance; none without a case."""
    listed = list(cases)
    kinds = list(dict.fromkeys(case.kind for case in listed))
    if not listed:
        return []
    by_kind = [_cells([case for case in listed if case.kind == kind], who, side, kind) for kind in kinds]
    return [_cells(listed, who, side, "all"), *by_kind]


def _cells(cases: Sequence[Case], who: str, side: str, kind: str) -> Cells:
    known = [(case.cluster, cell) for case in cases if (cell := cell_of(case)) is not None]
    clusters = [cluster for cluster, _ in known]
    num = len(set(clusters))
    shares = {}
    for name in CELLS if known else ():
        right = np.array([[float(cell == name)] for _, cell in known])
        value, ends = weighted_shares(right, np.ones((len(known), 1)), [1.0], clusters)
        shares[name] = Estimate(value=value, low=ends.low, high=ends.high, n=num)
    return Cells(who=who, side=side, kind=kind, n=len(known), unanswered=len(cases) - len(known), shares=shares)
