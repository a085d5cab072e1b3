"""The audit file `audit.json`: measurements of metrics and of a judge.

In: cells and agreements. Out: `Audit`, written and read again; `blind_to` lists the faults a metric does not detect.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cineloop.config import from_dict
from cineloop.documents import read_json
from cineloop.errors import UsageError

SCHEMA = 1
ALPHA = 0.05
LEAST_CLUSTERS = 6  # with fewer prompts no sign-flip test can reach .05: 2 of 2^5 is .06
SEEN = 0.9  # share of clips in which a detected fault changes the score
_WORDS = {"=": "blind", "?": "unclear", "~": "chance"}
_BLIND = {
    "blind": "does not change under",
    "chance": "was not shown to see",
    "fooled": "likes",
    "unclear": "was audited on too few prompts to tell whether it sees",
}


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One metric under one fault.

    Attributes:
        equal: all n scores at every severity are bit-identical to those of the clean clips.
        tau: median over clips of Kendall's tau-b between severity (0 for clean) and score; -1 falls always, 1 rises
            always, 0 where the score never changes.
        change: mean of score minus clean score at the greatest severity; `low`, `high` its 95 % interval.
        auroc: share of pairs (a clean clip, a corrupted clip) in which the clean one scores higher, ties one half;
            `auroc_low`, `auroc_high` its interval. 0.5 is chance, 0 means that corrupted clips score higher. It is
            what a threshold on single clips can separate.
        n: clips; `clusters`: prompts they come from.
        wins: share of clips that score higher clean than corrupted, ties one half, with its interval: what a comparison
            of pairs, such as the gate's, sees.
        p: of the sign-flip test of the changes, one difference for each prompt.
    """

    equal: bool
    tau: float
    change: float
    low: float
    high: float
    auroc: float
    auroc_low: float
    auroc_high: float
    n: int
    clusters: int
    wins: float
    wins_low: float
    wins_high: float
    p: float

    def mark(self, higher_is_better: bool | None) -> str:
        """= exactly equal · ? too few prompts for any test · ~ no change beyond chance, by the sign-flip test
        of the pairs · else the direction of change, with "!" where a worse clip scores better: the metric is fooled."""
        if self.equal:
            return "="
        if self.clusters < LEAST_CLUSTERS:
            return "?"
        if self.p >= ALPHA:
            return "~"
        rises = self.change > 0
        fooled = higher_is_better is not None and rises == higher_is_better
        return ("up" if rises else "down") + ("!" if fooled else "")


@dataclass(frozen=True, kw_only=True)
class FaultResponse:
    """The response of one metric to one fault, see `Cell`; `mark` is =, ?, ~, up, down,
    with ! where the metric is fooled."""

    metric: str
    fault: str
    mark: str
    cell: Cell

    @property
    def word(self) -> str:
        """blind: bit-identical · unclear: too few prompts · chance · fooled · sees: the score moves in nine clips of
        ten or more · in part."""
        if self.mark in _WORDS:
            return _WORDS[self.mark]
        if self.mark.endswith("!"):
            return "fooled"
        return "sees" if abs(self.share - 0.5) >= SEEN - 0.5 else "in part"

    @property
    def share(self) -> float:
        """Share of clips that score higher clean than corrupted."""
        return self.cell.wins

    @property
    def description(self) -> str:
        """The fault, and the share of clips that show it."""
        return f"{self.fault} (clean above corrupted in {self.share:.0%} of {self.cell.n} clips)"


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """A judge against the truth on claims of one kind of fact ("all" for the whole), half of them true or nearly so.

    Attributes:
        kappa: Cohen's kappa of yes and no, with its 95 % interval over prompts; None where it is `undefined`, and why.
        auroc: of the chance it gives, true claims against false ones, with its interval.
        yes_bias: share of yes minus share of true claims, with its interval.
        expected_calibration_error: mean distance of chance and truth over ten bins of equal number, with its interval.
        n: claims that were answered; `clips`: of so many prompts, clips of one prompt being one case.
        unanswered: claims that were refused, not asked (an answer that is not offered), or whose reply cannot be read;
            `unread`: clips of which the truth is not known, so that nothing was asked;
            `facts`: those where it is known.
    """

    kind: str
    kappa: float | None
    kappa_low: float
    kappa_high: float
    auroc: float
    auroc_low: float
    auroc_high: float
    yes_bias: float
    yes_bias_low: float
    yes_bias_high: float
    expected_calibration_error: float
    n: int
    clips: int
    unanswered: int = 0
    expected_calibration_error_low: float = 0.0
    expected_calibration_error_high: float = 1.0
    unread: int = 0
    facts: int = 0
    undefined: str = ""

    @property
    def unread_share(self) -> float:
        """Share of the clips of which the truth is not known, 0 to 1."""
        return self.unread / (self.unread + self.facts) if self.unread and self.facts else 0.0


@dataclass(frozen=True, kw_only=True)
class ByAnswer:
    """A judge against the truth on one answer of a closed list.

    Attributes:
        kind, answer: the kind of fact, and the answer as the judge gives it.
        planted: clips of which it is true; `n`: those of which the judge gave an answer to the claim that it is;
            `right`: those of which it took that for true.
        kappa: Cohen's kappa over claims that it is the answer, true and false; None where not both were answered; with
            its 95 % interval over prompts.
        claims: as many were answered.
    """

    kind: str
    answer: str
    planted: int
    n: int
    right: int
    kappa: float | None
    kappa_low: float = -1.0
    kappa_high: float = 1.0
    claims: int = 0


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """Answers of a judge to the claims that one answer is true, counted: of `true` claims that are true it held `hits`
    for true, of `false` ones `alarms`.

    `kind`: as `v2t_eval.judge.calibration.kind_of`, of a question with a list of answers or of yes and no; `answer`: of
    its list, "" without one. `clips`: prompts behind both; where there are more claims than these, some come together.
    """

    kind: str
    answer: str
    true: int
    hits: int
    false: int
    alarms: int
    clips: int


@dataclass(frozen=True, kw_only=True)
class FaultDetection:
    """Detection of a fault that breaks one kind of fact: the AUROC of the judge's probability of what is true of the
    clean clip, clean against corrupted, with its interval; `n` clips that were asked about."""

    fault: str
    kind: str
    auroc: float
    auroc_low: float
    auroc_high: float
    n: int

    @property
    def word(self) -> str:
        """sees: more than nine pairs of ten are separated · cannot see: not above chance · sees in part."""
        if self.auroc_low > 0.9:
            return "sees"
        return "cannot see" if self.auroc_low <= 0.5 else "sees in part"


@dataclass(frozen=True, kw_only=True)
class Audit:
    """All results of one audit.

    Attributes:
        judge: its fingerprint; empty where none was audited.
        clips: what was audited: source, number, their content in one hash.
        table: one row for each metric and fault.
        fingerprints: of each metric, as its result has it.
        agreement: by set of clips (`world`, `degraded`, `generated`, `yours`) and kind of fact.
        answers: by set of clips, every answer of every closed list that was claimed of some.
        confusion: by set of clips, the same claims counted, for `v2t_eval.correction`; of kinds without a list, too.
        noticed: which faults the judge sees in the facts they break.
        stability: flip rates of repeats, wordings and orders, refusals; numbers by name (`v2t_eval.audit.stability`).
        failures: clips that could not be read and metrics that could not run: `id`, `code`, `message`.
        notes, environment: as in `v2t_eval.core.scores.Scores`.
    """

    judge: dict[str, str] = field(default_factory=dict)
    clips: dict[str, str] = field(default_factory=dict)
    table: tuple[FaultResponse, ...] = ()
    fingerprints: dict[str, dict[str, str]] = field(default_factory=dict)
    agreement: dict[str, tuple[Agreement, ...]] = field(default_factory=dict)
    answers: dict[str, tuple[ByAnswer, ...]] = field(default_factory=dict)
    confusion: dict[str, tuple[Confusion, ...]] = field(default_factory=dict)
    noticed: tuple[FaultDetection, ...] = ()
    stability: dict[str, float] = field(default_factory=dict)
    failures: tuple[dict[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)

    def blind_to(self, metric: str) -> list[str]:
        """Faults that the metric does not detect or prefers, in words; empty where it was not audited."""
        return [
            f"{_BLIND[row.word]} {row.description}" for row in self.table if row.metric == metric and row.word in _BLIND
        ]

    def is_blind_to_fault(self, fault: str, metric: str, *, judged: bool) -> bool:
        """Whether the metric does not see this fault, encoded again or not; or, where it is `judged`, the judge."""
        rows = [row.fault for row in self.table if row.metric == metric and row.word in _BLIND]
        rows += [row.fault for row in self.noticed if judged and row.word == "cannot see"]
        return any(row.partition(",")[0] == fault for row in rows)

    def unseen_by_judge(self) -> list[str]:
        """Faults that the judge does not detect by the facts they break, in words."""
        return [
            f"cannot see {row.fault} in its answers about {row.kind} (AUROC {row.auroc:.2f})"
            for row in self.noticed
            if row.word == "cannot see"
        ]

    def as_dict(self) -> dict[str, Any]:
        return {"schema": SCHEMA, **asdict(self)}


def audit_of(path: Path | None) -> Audit | None:
    """The audit that a suite names; None where it names none or the file is missing, which affects no verdict.

    Raises:
        UsageError: it exists and cannot be read; see `read_audit`.
    """
    return read_audit(path) if path is not None and path.exists() else None


def read_audit(path: Path) -> Audit:
    """An audit from its file.

    Raises:
        UsageError: it cannot be read, is not an audit, or of another schema version.
    """
    try:
        tree = read_json(path)
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read the audit {path}: {error}") from error
    if not isinstance(tree, dict) or tree.pop("schema", None) != SCHEMA:
        raise UsageError(f"{path}: expected an audit of schema {SCHEMA}", hint="run `v2t-eval audit` again")
    try:
        return from_dict(Audit, tree)
    except UsageError as error:
        raise UsageError(f"{path} is damaged: {error.message}", hint="run `v2t-eval audit` again") from error
