"""The verdict of a gate: per metric and as a whole; one outcome, one exit code.

In: nothing. Out: `Verdict` and its parts, JSON-able. Every report of a gate is made from this (`v2t_eval.gate.report`).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple

from cineloop.errors import EXIT_GATE_FAILED, EXIT_INCONCLUSIVE, EXIT_NOT_COMPARABLE, EXIT_OK
from v2t_eval.core.changes import ClipChange
from v2t_eval.core.metric import Figure
from v2t_eval.report.document import Tone

SCHEMA = 1
Outcome = Literal["pass", "fail", "inconclusive", "not_comparable"]


class Ending(NamedTuple):
    """Word, colour in reports, and exit code of an outcome."""

    word: str
    tone: Tone
    exit_code: int


OUTCOMES: dict[Outcome, Ending] = {  # most severe first
    "fail": Ending("fail", "bad", EXIT_GATE_FAILED),
    "not_comparable": Ending("not comparable", "invalid", EXIT_NOT_COMPARABLE),
    "inconclusive": Ending("inconclusive", "unsure", EXIT_INCONCLUSIVE),
    "pass": Ending("pass", "good", EXIT_OK),
}


class ValueSentence(str):
    """A sentence that ends in a value; metrics that differ in the value alone have the same `start`."""

    start: str

    def __new__(cls, text: str, start: str = "") -> ValueSentence:
        made = super().__new__(cls, text)
        made.start = start
        return made


@dataclass(frozen=True, kw_only=True)
class MetricVerdict:
    """One metric.

    Attributes:
        role: primary metrics decide; exploratory ones are only reported.
        outcome: of an exploratory metric what it would have been; it decides nothing.
        code: why, in one stable word: WITHIN_MARGIN, TOO_EARLY, NO_INTERVAL (its spread is unknown) and others.
        higher_is_better: as the metric declares it.
        candidate, baseline: the figures of the whole sets.
        change: candidate minus baseline, paired by clip; `low`, `high`: bounds that each hold with 1 - alpha.
        margin, accepted, at_least, at_most: what was asked for.
        p, p_adjusted: of "the harm is not above the accepted one", one-sided; adjusted by Holm among the primary and
            the guards, by Benjamini-Hochberg among the exploratory.
        mde: least harm that fails with the policy's power at this spread and number of clusters.
        least_margin: least margin at which an unchanged candidate passes with that power.
        worst, best: the values between which a prompt that the sample lacks is allowed to change.
        num_pairs, num_clusters: behind `change`.
        reasons: plain sentences, the deciding one first.
        blind: blind spots of the metric, from the audit file.
    """

    metric: str
    role: Literal["primary", "exploratory"]
    outcome: Outcome
    code: str = ""
    higher_is_better: bool | None = True
    candidate: Figure | None = None
    baseline: Figure | None = None
    change: float | None = None
    low: float | None = None
    high: float | None = None
    margin: float | None = None
    accepted: float | None = None
    at_least: float | None = None
    at_most: float | None = None
    p: float | None = None
    p_adjusted: float | None = None
    mde: float | None = None
    least_margin: float | None = None
    worst: float | None = None
    best: float | None = None
    num_pairs: int = 0
    num_clusters: int = 0
    reasons: tuple[str, ...] = ()
    blind: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Guard:
    """A check that no metric can outweigh: missing clips, frozen clips, clips outside the judge's
    world. `outcome` pass or fail; `message` states what was found and what is allowed; `p` where it is a test, of the
    candidate being within what is allowed, and `p_adjusted` by Holm among the primary metrics and guards."""

    name: str
    outcome: Outcome
    message: str
    clips: tuple[str, ...] = ()
    p: float | None = None
    p_adjusted: float | None = None


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The whole.

    Attributes:
        outcome: fail if a primary metric or a guard fails; else not_comparable, inconclusive or pass.
        reason: one sentence that says why.
        differences: what makes candidate and baseline not comparable, each with its name and both values.
        clips: clips that got worse in a primary metric, worst first.
        candidate, baseline: what was compared: name, folder, revision, date, number of clips (strings).
        policy: the policy as it was read.
        notes: plain sentences a reader must know.
        environment: versions, device, date.
    """

    outcome: Outcome
    reason: str
    metrics: tuple[MetricVerdict, ...] = ()
    guards: tuple[Guard, ...] = ()
    differences: tuple[str, ...] = ()
    clips: tuple[ClipChange, ...] = ()
    candidate: dict[str, str] = field(default_factory=dict)
    baseline: dict[str, str] = field(default_factory=dict)
    policy: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """0 pass, 6 fail, 8 inconclusive, 9 not comparable."""
        return OUTCOMES[self.outcome].exit_code

    def as_dict(self) -> dict[str, Any]:
        return {"schema": SCHEMA, "exit_code": self.exit_code, **asdict(self)}
