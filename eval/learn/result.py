"""How a learning went.

In: nothing. Out: `Learning`, of rounds and measures.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from cineloop.errors import EXIT_GATE_FAILED, EXIT_OK
from v2t_eval.core.scores import Scores
from v2t_eval.gate.verdict import OUTCOMES, Outcome
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
        rounds: what was learnt from.
        history: the measures by the number of rounds before them, the first of the model as it was; `roles` of their
            metrics.
        stopped: what diverged; None where all rounds were done.
        model, adapter: the last policy; of a divergence see `v2t_eval.learn.stopping.Divergence.kept`.
        gate: outcome and reason of the gate against the first model; empty without one.
    """

    rounds: tuple[Round, ...]
    history: dict[int, Scores]
    roles: dict[str, str]
    stopped: Divergence | None
    model: str
    adapter: str | None
    gate: dict[str, str]

    @property
    def measures(self) -> list[Scores]:
        return list(self.history.values())

    @property
    def exit_code(self) -> int:
        """0 all rounds done and the gate passed or absent, 6 stopped or failed by the gate, 8 the gate inconclusive, 9
        not comparable."""
        if self.stopped is not None:
            return EXIT_GATE_FAILED
        return OUTCOMES[cast(Outcome, self.gate["outcome"])].exit_code if self.gate else EXIT_OK
