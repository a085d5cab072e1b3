"""How a learning went.

In: nothing. Out: `Learning`, of rounds and measures.
"""

from __future__ import annotations

from dataclasses import dataclass

from v2t_eval.learn.measures import Measure
from v2t_eval.learn.stopping import Divergence


@dataclass(frozen=True, kw_only=True)
class Round:
    """What a round was: mean reward of its clips, clips by status, seconds of each phase."""

    number: int
    reward: float
    statuses: dict[str, int]
    seconds: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Learning:
    """How it went.

    Attributes:
        rounds, history: what was learnt from, and the measures, the first of the model as it was.
        stopped: what diverged; None where all rounds were done.
        model, adapter: the last policy; of a divergence the one of the last measure before it.
        gate: outcome and reason of the gate against the first model; empty without one.
    """

    rounds: tuple[Round, ...]
    history: tuple[Measure, ...]
    stopped: Divergence | None
    model: str
    adapter: str | None
    gate: dict[str, str]
