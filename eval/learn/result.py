"""How a learning went.

In: nothing. Out: `Learning`, of rounds and measures.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from cineloop.errors import EXIT_GATE_FAILED, EXIT_OK
from v2t_eval.gate.verdict import OUTCOMES, Outcome
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
        model, adapter: the last policy; of a divergence see `v2t_eval.learn.stopping.Divergence.kept`.
        gate: outcome and reason of the gate against the first model; empty without one.
    """

    rounds: tuple[Round, ...]
    history: tuple[Measure, ...]
    stopped: Divergence | None
    model: str
    adapter: str | None
    gate: dict[str, str]

    @property
    def exit_code(self) -> int:
        """0 all rounds done and the gate passed or absent, 6 stopped or failed by the gate, 8 the gate inconclusive, 9
        not comparable."""
        if self.stopped is not None:
            return EXIT_GATE_FAILED
        return OUTCOMES[cast(Outcome, self.gate["outcome"])].exit_code if self.gate else EXIT_OK
