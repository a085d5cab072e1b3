"""The result of a round trip, as written to `roundtrip.json`.

In: figures. Out: `RoundtripResult`, with its JSON form and exit code; the trips it is about; `CellShares`, which say of
every question where the fact was lost: by the generator, which did not draw it, or by the captioner.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cineloop.errors import EXIT_FAILED_ITEMS, EXIT_OK, Notice
from v2t_eval.core.sample import Sample
from v2t_eval.core.scores import AbsentMetric
from v2t_eval.core.statistics import Estimate, weighted_shares
from v2t_eval.roundtrip.calibration import FamilyCalibration, SampleKey

SCHEMA = 1
FIRST = ("facts", "questions", "events", "sentence", "cider")  # the headline family: the first of these with figures


CELLS: dict[str, str] = {
    "kept": "clip ✓ caption ✓",
    "lost_by_captioner": "clip ✓ caption ✗",
    "made_up_by_captioner": "clip ✗ caption ✓",
    "lost_by_generator": "clip ✗ caption ✗",
}


@dataclass(frozen=True, kw_only=True)
class QuestionCase:
    """One question of one clip: whether clip and caption give the wanted answer, None without an answer."""

    cluster: str
    kind: str
    clip: bool | None
    caption: bool | None


@dataclass(frozen=True, kw_only=True)
class CellShares:
    """Shares of the four cells among `n` questions that both sides answered; `unanswered`: how many they did not.

    `who` answers from the clip (judge or referee), `side` is generator or ceiling, `kind` one kind of fact or "all".
    """

    who: str
    side: str
    kind: str
    n: int
    unanswered: int
    shares: dict[str, Estimate]


def cell_of(case: QuestionCase) -> str | None:
    """Which of `CELLS` a question falls into; None where a side has no answer."""
    if case.clip is None or case.caption is None:
        return None
    if case.clip:
        return "kept" if case.caption else "lost_by_captioner"
    return "made_up_by_captioner" if case.caption else "lost_by_generator"


def count(cases: Iterable[QuestionCase], who: str, side: str) -> list[CellShares]:
    """Cells of all questions, then by kind of fact in the order of their first appearance; none without a case."""
    listed = list(cases)
    kinds = list(dict.fromkeys(case.kind for case in listed))
    if not listed:
        return []
    by_kind = [_shares_of([case for case in listed if case.kind == kind], who, side, kind) for kind in kinds]
    return [_shares_of(listed, who, side, "all"), *by_kind]


def _shares_of(cases: Sequence[QuestionCase], who: str, side: str, kind: str) -> CellShares:
    known = [(case.cluster, cell) for case in cases if (cell := cell_of(case)) is not None]
    clusters = [cluster for cluster, _ in known]
    num = len(set(clusters))
    shares = {}
    for name in CELLS if known else ():
        right = np.array([[float(cell == name)] for _, cell in known])
        value, ends = weighted_shares(right, np.ones((len(known), 1)), [1.0], clusters)
        shares[name] = Estimate(value=value, low=ends.low, high=ends.high, n=num)
    return CellShares(who=who, side=side, kind=kind, n=len(known), unanswered=len(cases) - len(known), shares=shares)


@dataclass(frozen=True, kw_only=True)
class FamilyFigures:
    """One family: what it is, its figures, and of the clips expected on each side how many were scored."""

    name: str
    about: str
    figures: FamilyCalibration
    scored: int
    expected: int
    ceiling_scored: int
    ceiling_expected: int
    fingerprint: dict[str, str] = field(default_factory=dict)

    @property
    def coverage(self) -> float:
        """Share of the generator's clips that were scored."""
        return self.scored / self.expected if self.expected else 0.0


@dataclass(frozen=True, kw_only=True)
class ClipResult:
    """One clip of the generator: how much of its prompt was recovered.

    `path`, `ceiling`: files relative to the folder of the round trip. `values`: scores by family. `lost`: one line for
    each question that clip or caption does not answer as wanted.
    """

    id: str
    prompt: str
    path: str | None = None
    ceiling: str | None = None
    caption: str | None = None
    ceiling_caption: str | None = None
    values: dict[str, float] = field(default_factory=dict)
    lost: tuple[str, ...] = ()
    error: dict[str, str] | None = None


@dataclass(frozen=True, kw_only=True)
class RoundtripResult:
    """All results of one round trip: `families` with scores and those `skipped`, `cells` by who answered from the clip,
    side and kind of fact, `clips` of the generator, worst first, `guards` against leakage and shared weights."""

    sources: dict[str, str]
    counts: dict[str, int]
    families: tuple[FamilyFigures, ...] = ()
    skipped: tuple[AbsentMetric, ...] = ()
    cells: tuple[CellShares, ...] = ()
    clips: tuple[ClipResult, ...] = ()
    guards: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    command: str = ""
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """0, or 3 when a clip could not be made, read or captioned."""
        return EXIT_FAILED_ITEMS if self.counts.get("failed") or self.counts.get("ceiling_failed") else EXIT_OK

    @property
    def first(self) -> FamilyFigures | None:
        """The headline family."""
        by_name = {family.name: family for family in self.families}
        return next((by_name[name] for name in FIRST if name in by_name), None)

    def as_dict(self, *, clips: bool = True) -> dict[str, Any]:
        """JSON-able form; without `clips` the single clips are left out."""
        tree = {"schema": SCHEMA, **asdict(self)}
        if not clips:
            tree["clips"] = len(self.clips)
        return tree


@dataclass(eq=False, kw_only=True)
class Trip(Sample):
    """A clip on its way from a prompt to a caption. Of one that failed to be made there is no `clip`; `caption` is None
    before the captioner, and where it failed.

    Attributes:
        side: generator or ceiling.
        prompt: what it was made from; trips of one prompt are one case.
        name: of its file here, which reveals nothing of the prompt.
        warnings: of the captioner about the clip.
        error: why there is no clip or no caption: code and message.
    """

    prompt: str = ""
    side: str
    name: str
    warnings: tuple[Notice, ...] = ()
    error: dict[str, str] | None = None

    @property
    def path(self) -> Path | None:
        return None if self.clip is None else self.clip.path

    def key(self, prompt: str) -> SampleKey:
        """Of the sample in which its caption, its clip or both are scored with a prompt."""
        return (self.side, self.id, prompt)


@dataclass(kw_only=True)
class TripSide:
    """All trips of the generator, or of the ceiling, in order; `about`: generator, model, weights_sha256, as in
    manifests."""

    name: str
    trips: list[Trip] = field(default_factory=list)
    about: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def captioned(self) -> list[Trip]:
        return [trip for trip in self.trips if trip.caption is not None]

    @property
    def made(self) -> list[Trip]:
        return [trip for trip in self.trips if trip.clip is not None]

    @property
    def prompts(self) -> list[str]:
        """The different prompts, in order."""
        return list(dict.fromkeys(trip.prompt for trip in self.trips))
