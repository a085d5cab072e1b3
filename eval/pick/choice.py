"""Which checkpoints are surely worse than another one: sequential elimination by paired bounds.

In: values of each checkpoint for the same prompts and seeds, of more prompts at each look. Out: which are dropped at
the look, by which one, and how many prompts would decide between those that are left. At a look each checkpoint is
compared with each other one over the prompts drawn so far; it is dropped where p of "not worse" (Gaffke's bound and
Student's, `v2t_eval.core.bounds`) is below the level of the look (`v2t_eval.core.sequential`). The levels allow for
all pairs and looks together: with a chance of 95 % no checkpoint is ever dropped that is as good as the best, ties of
all among them, and so no other one is called the best. How often it errs and what it saves: docs/picking.md.
Letters: M checkpoints, G prompts, V = M (M - 1) ordered pairs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from v2t_eval.core.bounds import NUM_DRAWS, clustered_error
from v2t_eval.core.power import POWER, prompts_for
from v2t_eval.core.sequential import levels, p_values_and_ranks

ALPHA = 0.05  # of ever dropping one that is as good as the best
FIRST, GROWTH = 16, 1.5  # prompts of the first look, and how many times more each next one has


@dataclass(frozen=True, kw_only=True)
class PairedTotals:
    """What is compared at a look.

    Attributes:
        totals: (M, G), sums of the values of each prompt's clips, greater is better; 0 of prompts not drawn yet.
        counts: (G,), clips of each prompt; 0 of prompts not drawn yet.
        span: from the worst value that a prompt may have to the best, above zero.
        num_draws: of weights; a simulation takes fewer.
    """

    totals: np.ndarray
    counts: np.ndarray
    span: float
    num_draws: int = NUM_DRAWS

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Each checkpoint with each other one."""
        num = len(self.totals)
        return [(one, other) for one in range(num) for other in range(num) if one != other]

    @property
    def differences(self) -> np.ndarray:
        """(V, G, 2): one minus the other, of each pair, and the number of clips."""
        rows = [np.stack([self.totals[one] - self.totals[other], self.counts], axis=-1) for one, other in self.pairs]
        return np.stack(rows)

    @cached_property
    def tests(self) -> tuple[np.ndarray, np.ndarray]:
        """See `v2t_eval.core.sequential.p_values_and_ranks`; of two checkpoints or more."""
        spans = np.full(len(self.pairs), self.span)
        return p_values_and_ranks(self.differences, spans, alpha=ALPHA, num_draws=self.num_draws)

    @property
    def means(self) -> np.ndarray:
        """(M,) over clips."""
        return np.asarray(self.totals.sum(1) / max(float(self.counts.sum()), 1.0))


@dataclass(frozen=True, kw_only=True)
class Drop:
    """A checkpoint (its number at the look) that is worse than another one: p of "not worse", below the level."""

    number: int
    better: int
    p: float
    level: float


def look_sizes(num: int, done: Sequence[int] = ()) -> list[int]:
    """Prompts drawn at each look, of `num` in all; `done`: at looks so far, which are kept where prompts are added."""
    sizes = [size for size in done if size <= num]
    size = FIRST
    while size < num:
        if not sizes or size > sizes[-1]:
            sizes.append(size)
        size = math.ceil(GROWTH * size)
    return sizes if sizes and sizes[-1] == num else [*sizes, num]


def drops(rounds: Sequence[PairedTotals]) -> tuple[list[Drop], float]:
    """Which checkpoints are dropped at the last of the looks, each by the one that is surest, and its level.

    Args:
        rounds: all so far, each of the checkpoints that were left then; G is the same in all.
    """
    last = rounds[-1]
    if len(last.totals) < 2:
        return [], 0.0
    level, surest = float(levels([look.tests[1] for look in rounds], ALPHA)[-1]), dict[int, tuple[float, int]]()
    for (one, other), chance in zip(last.pairs, last.tests[0].tolist(), strict=True):
        surest[one] = min(surest.get(one, (math.inf, other)), (chance, other))
    dropped = [
        Drop(number=one, better=better, p=chance, level=level)
        for one, (chance, better) in surest.items()
        if chance < level
    ]
    return dropped, level


def prompts_to_decide(look: PairedTotals, best: int, other: int, level: float) -> int | None:
    """How many prompts in all would drop `other`, with a chance of 80 %, if it is as much worse than `best` as it
    looks; None where it does not look worse, or beyond a million."""
    rows = np.stack([look.totals[best] - look.totals[other], look.counts], axis=-1)  # (G, 2)
    rows = rows[rows[:, 1] > 0]
    lead = float(rows[:, 0].sum() / rows[:, 1].sum()) if len(rows) else 0.0
    error = clustered_error(rows)
    if error is None or lead <= 0 or level <= 0:
        return None
    return prompts_for(lead, error, len(rows), look.span, alpha=level, power=POWER)
