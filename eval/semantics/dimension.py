"""Base of VBench's semantic dimensions: detector or judge, value of a clip, long clips.

In: samples. Out: `SemanticDimension`, the mean over clips of a value in [0, 1]. Clips are read by a detector
(`v2t_eval.semantics.detectors`), whose findings go into VBench's formula, or a judge (`v2t`, `v2t:MODEL`), which is
asked the same in words and whose probability of yes is the value. The reference's detector is not to be had here, so
its mistakes are not repeated (`compat`) but corrected (`v2t_eval.semantics.formulas`). In `long` each piece of a clip
is measured as a clip of its own and the values are averaged, as VBench-Long does.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import fsum, prod
from pathlib import Path
from typing import Any, ClassVar

from cineloop.errors import ItemError
from cineloop.log import printable
from v2t_eval.core import models
from v2t_eval.core.measurement import UNAUDITED, Evidence, Observation
from v2t_eval.core.metric import BaseMetric, Figure, Summary
from v2t_eval.core.sample import Sample, SampleClip
from v2t_eval.judge.calibration import claim_of
from v2t_eval.judge.grammar.free_text import Thing
from v2t_eval.judge.grammar.wording import of_text
from v2t_eval.judge.judge import NOT_DECLARED, Judge, model_of, open_judge, unaudited_error
from v2t_eval.judge.question import Question
from v2t_eval.semantics import VERSION
from v2t_eval.semantics.detectors import Detector, open_detector, world
from v2t_eval.semantics.formulas import Frame, is_undecided
from v2t_eval.semantics.sources import GRAMMAR, Source, open_source
from v2t_eval.vbench.dimension import DimensionSettings, VBenchMetric
from v2t_eval.vbench.long import is_long

CLAIMS = "2"  # form of the claims in the evidence; no part of a value's definition
CEILING = "ceiling on exact clips"


@dataclass(frozen=True, kw_only=True)
class DetectorSettings(DimensionSettings):
    """Attributes in addition to those of every dimension:

    detector: one of `v2t_eval.semantics.detectors`, or a judge, v2t or v2t:MODEL.
    """

    detector: str = "world"
    long: bool = False


class SemanticDimension(VBenchMetric):
    """A dimension of what is shown; see the module's head.

    Class attributes, in addition to those of `BaseMetric`:
        able: what the detector must give: regions, captions, actions.
    """

    able: ClassVar[str] = "regions"
    reference = "GRiT"
    needs = ("frames", "prompt")
    uses = ("asked",)
    shared_version = VERSION
    Settings: ClassVar[type[Any]] = DetectorSettings

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.judge: Judge | None = None
        self.detector: Any = None

    @property
    def is_judged(self) -> bool:
        """Whether a judge is used instead of a detector."""
        return bool(self.settings.detector.partition(":")[0] == "v2t")

    def prepare(self) -> None:
        if self.judge is None and self.detector is None:
            if self.is_judged:
                judge = open_judge(self.settings.detector, device=models.chosen_device())
                judge.load()
                self.judge = judge
            else:
                self.detector = self._open()

    def _open(self) -> Detector:
        return open_detector(self.settings.detector, self.able)

    @abstractmethod
    def measure_piece(self, sample: Sample) -> Evidence:
        """`value` of a sample and further numbers of the report item.

        Raises:
            ItemError: NOTHING_ASKED, the prompt asks for nothing of the kind; or the clip cannot be read.
        """

    def readable_frames(self, sample: Sample, frames: Sequence[Frame], *things: Thing) -> Sequence[Frame]:
        """The frames, if the detector knows whether they show the things.

        Raises:
            ItemError: UNREAD, what it has not read may be those things.
        """
        if any(is_undecided(frame, things) for frame in frames):
            raise ItemError(
                f"{sample.id}: {self.detector.name} has not read what or how many things there are, so it cannot say "
                f"whether they are {' and '.join(thing.phrase for thing in things)}",
                code="UNREAD",
            )
        return frames

    def ask(self, sample: Sample, *questions: str | Question) -> Evidence:
        """The judge's probability that all are answered with yes, or with their wanted answers, assumed independent."""
        if self.judge is None:
            raise RuntimeError("prepare() the metric first")
        asked = [Question(id="", question=each) if isinstance(each, str) else each for each in questions]
        kept = self.judge.askable(sample, asked)
        values = chances(self.judge, sample, kept)
        return {"value": prod(values), "claims": claim_rows(kept, values), "outside": self.judge.is_outside(sample)}

    def starter_question(self, sample: Sample, about: str) -> list[str | Question]:
        """Where the starter is the judge: the question about this kind of fact of the prompt that has a list of
        answers; the starter picks among them far better than it says yes or no. None where there is no such
        question."""
        if self.judge is None or self.settings.detector != "v2t" or sample.row.get("asked"):
            return []
        asked = of_text(sample.prompt or "", closed=self.judge.has_likelihoods)
        return [*[question for question in asked if question.choices and question.about == about][:1]]

    def measure(self, sample: Sample) -> Evidence:
        """`value` and what `measure_piece` finds; of a long clip the mean over its pieces."""
        self.prepare()
        if not self.settings.long:
            return {**self.measure_piece(sample), "long_clip": is_long(sample)}
        pieces_evidence = [self.measure_piece(_piece(sample, start, stop)) for start, stop in self.spans(sample)]
        values = [each["value"] for each in pieces_evidence if each["value"] is not None]
        value = fsum(values) / len(values) if values else None
        outside = any(each.get("outside") for each in pieces_evidence)
        pieces = [each["value"] for each in pieces_evidence]
        return {"value": value, "pieces": pieces, "outside": outside, "long_clip": is_long(sample)}

    def summarise(self, rows: Sequence[Observation], references: Sequence[Observation]) -> Summary:
        """The mean over clips; clips the reference drops are counted, and lower the coverage."""
        summary = super().summarise(rows, references)
        return replace(summary, counts=summary.counts | {"dropped": len(rows) - (summary.scored or 0)})

    def counts_in(self, row: Observation) -> bool:
        return row.evidence["value"] is not None

    def figures(self, rows: Sequence[Observation]) -> dict[str, Figure]:
        top = self.ceiling()
        return super().figures(rows) | ({CEILING: top} if top else {})

    def ceiling(self) -> Figure | None:
        """What exact clips of the cartoon world get with its referee; None with any other detector, or `long`."""
        if self.settings.detector != "world" or self.settings.long:
            return None
        return ceiling(self.title, world.VERSION)

    def item(self, row: Observation) -> dict[str, Any]:
        """The report item of one clip."""
        kept = {key: value for key, value in row.evidence.items() if key not in ("long_clip", "outside")}
        return {"id": row.id, **kept, **({"outside": True} if row.evidence.get("outside") else {})}

    def evidence_fingerprint(self) -> dict[str, str]:
        """See `BaseMetric`; with the form of the judge's claims."""
        return super().evidence_fingerprint() | ({"claims": CLAIMS} if self.is_judged else {})

    def summary_of_none(self) -> Summary:
        counts = self.counts(()) if self.is_judged else {}
        return replace(super().summary_of_none(), counts=counts, notes=tuple(self._domain_notes(())))

    def counts(self, rows: Sequence[Observation]) -> dict[str, int]:
        """Clips outside the judge's world, and questions without an answer by the reason."""
        outside = {"outside": num_outside(rows, self._failures)} if self.is_judged else {}
        return count_no_answers(self._failures) | outside

    def _domain_notes(self, rows: Sequence[Observation]) -> list[str]:
        return domain_notes(self.describe(), rows, self._failures) if self.is_judged else []

    def notes(self, rows: Sequence[Observation]) -> tuple[str, ...]:
        """Detector or judge, mode, clips that need the long form."""
        about = self.describe()
        who = about.get("judge") or about.get("detector") or about.get("model") or self.settings.detector
        notes = [f"seen by {who} (the reference has {self.reference})"]
        notes.append("not a VBench leaderboard number: formula mended (mode fixed), other detector")
        notes += self._domain_notes(rows)
        notes += self.long_notes(rows)
        if top := self.ceiling():
            notes.append(
                f"{CEILING}: {top.value:.3f} [{top.low:.3f}, {top.high:.3f}], n={top.n}, and "
                f"{top.detail.get('unread', 0)} left unread: a generator that draws every prompt exactly gets no more "
                "(scripts/measure_ceilings.py)"
            )
        return tuple(notes)

    def describe(self) -> dict[str, str]:
        if self.is_judged:
            return (self.judge or open_judge(self.settings.detector, device=models.chosen_device())).fingerprint()
        self.prepare()
        about: dict[str, str] = self.detector.fingerprint()
        return about


class JudgedMetric(BaseMetric):
    """A metric whose evidence is a judge's answers to questions, and which reports for each clip whether it is
    `outside` the judge's world. Its `Settings` have `judge`, a name of `open_judge`, and `questions`, a name of
    `open_source`."""

    shared_version = VERSION

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        model_of(self.settings.judge)  # an unknown name is refused before any clip is read
        self.judge: Judge | None = None
        self._source: Source | None = None

    def prepare(self) -> None:
        self.ready()
        _ = self.source

    @property
    def source(self) -> Source:
        if self._source is None:
            self._source = open_source(self.settings.questions)
        return self._source

    @property
    def by_grammar(self) -> bool:
        return bool(self.settings.questions == GRAMMAR)

    def ready(self) -> Judge:
        """The judge, loaded at its first use."""
        if self.judge is None:
            judge = open_judge(self.settings.judge, device=models.chosen_device())
            judge.load()
            self.judge = judge
        return self.judge

    def evidence_fingerprint(self) -> dict[str, str]:
        """See `BaseMetric`; with the form of the claims."""
        return super().evidence_fingerprint() | {"claims": CLAIMS}

    def check(self, sample: Sample) -> None:
        """See `BaseMetric.check`; before a clip is decoded or a model loaded.

        Raises:
            ItemError: also UNAUDITED, the grammar would make questions of some of the prompt's words, and the judge
                does not know the others.
        """
        super().check(sample)
        is_asked = self.by_grammar and not ("questions" in self.uses and sample.row.get("questions") is not None)
        if is_asked and (why := self._judge_of().why_unread(str(sample.require("prompt")))):
            raise unaudited_error(sample, why)

    def _judge_of(self) -> Judge:
        """The judge, loaded or not."""
        return self.judge or open_judge(self.settings.judge, device=models.chosen_device())

    def describe(self) -> dict[str, str]:
        about = self._judge_of().fingerprint()
        return about if self.by_grammar else about | self.source.fingerprint()

    def summary_of_none(self) -> Summary:
        counts = count_no_answers(self._failures) | {"outside": num_outside((), self._failures)}
        notes = domain_notes(self.describe(), (), self._failures)
        return replace(super().summary_of_none(), counts=counts, notes=tuple(notes))


def num_outside(rows: Sequence[Observation], failures: Sequence[Mapping[str, str]]) -> int:
    """Clips that the judge says nothing of: it warned of them (`is_outside`), or may not be asked about them."""
    return sum(bool(row.evidence.get("outside")) for row in rows) + len(_unaudited_notes(failures))


def _unaudited_notes(failures: Sequence[Mapping[str, str]]) -> list[str]:
    return [failure["message"] for failure in failures if failure["code"] == UNAUDITED]


def domain_notes(
    about: Mapping[str, str], rows: Sequence[Observation], failures: Sequence[Mapping[str, str]]
) -> list[str]:
    """What lies outside the judge's domain, clips and words; of a judge that declares none that this is unknown.
    `about`: the judge's fingerprint."""
    notes, num = [], len(rows) + len(failures)
    if beyond := _unaudited_notes(failures):
        notes.append(
            f"{UNAUDITED}: {len(beyond)} of {num} clips have no value, since the judge cannot be asked what they were "
            f"to show, such as {printable(beyond[0], 200)}"
        )
    elif about.get("vocabulary") == NOT_DECLARED:
        notes.append(
            f"the judge {about['judge']} declares no vocabulary: how often it is wrong about words that no audit asked "
            "about is unknown (v2t-eval audit CLIPS, with `questions` and answers in their manifest, measures it)"
        )
    if outside := sum(bool(row.evidence.get("outside")) for row in rows):
        notes.append(f"{outside} of {len(rows)} clips are unlike those the judge was trained on: do not trust it there")
    return notes


def count_no_answers(failures: Sequence[Mapping[str, str]]) -> dict[str, int]:
    """How many samples failed because a question got no answer, by the reason."""
    codes = Counter(failure["code"] for failure in failures)
    return {code.lower(): codes[code] for code in ("REFUSED", "UNPARSABLE", UNAUDITED) if codes[code]}


def chances(judge: Judge, sample: Sample, questions: Sequence[Question], *, raw: bool = False) -> list[float]:
    """How likely the wanted answers are, calibrated where the judge is and not `raw`.

    Raises:
        ItemError: one has no answer (REFUSED, UNPARSABLE), or the clip cannot be read.
    """
    listed = []
    for answer in judge.answer(sample, questions):
        chance = answer.raw if raw else answer.chance
        if chance is None:
            text = answer.message or f"{answer.question.question!r} has an open answer, and no chance"
            raise ItemError(f"{sample.id}: {text}", code=answer.code or "BAD_QUESTIONS")
        listed.append(chance)
    return listed


def claim_rows(questions: Sequence[Question], chances: Sequence[float]) -> list[dict[str, Any]]:
    """What the judge held true of the wanted answers of questions, for `v2t_eval.correction`: of each its id, text and
    wanted answer, what an audit counts it under (`claim_of`), its parents, and whether it is held true."""
    return [
        {"id": each.id, "question": each.question, "wanted": each.answer, **claim_keys(each), "right": chance >= 0.5}
        for each, chance in zip(questions, chances, strict=True)
    ]


def claim_keys(question: Question) -> dict[str, Any]:
    """What an audit counts a question under, and its parents, as keys of a report item."""
    kind, listed = claim_of(question)
    return {"kind": kind, "listed": listed, "parents": list(question.parents)}


def _piece(sample: Sample, start: int, stop: int) -> Sample:
    """Frames `start` .. `stop` - 1 as a sample of its own, made once for all metrics."""

    def make() -> Sample:
        frames = sample.frames
        times = frames.times_s[start:stop]
        length = (stop - start) / frames.fps
        part = replace(
            frames, pixels=frames.pixels[start:stop], times_s=times - times[0], duration_s=length, start_s=0.0
        )
        clip = SampleClip(content=f"{sample.clip.content if sample.clip else ''}[{start}:{stop}]", frames=part)
        return replace(sample, clip=clip, memo={})

    return sample.once(("piece", start, stop), make)


FILE = Path(__file__).parent / "detectors" / "world_ceilings.json"


@cache
def ceilings() -> dict[str, Any]:
    """The file: `referee` (version of the detector it was measured with), `seed`, `prompts`, and by title `value`,
    `low`, `high`, `n` (clips scored), `unread` (clips the referee could not read)."""
    tree: dict[str, Any] = json.loads(FILE.read_text("utf-8"))
    return tree


def ceiling(title: str, referee: int) -> Figure | None:
    """The ceiling of a dimension with its settings in brackets, None where none was measured with this referee."""
    measured = ceilings()
    row = measured["dimensions"].get(title) if measured["referee"] == referee else None
    if row is None:
        return None
    detail = {"unread": row["unread"]} if row["unread"] else {}
    return Figure(value=row["value"], low=row["low"], high=row["high"], n=row["n"], detail=detail)
