"""What captions claim, and what speaks against it: the judge's answers, the dual encoder's ranks, the truth.

In: clips, one or more files of their captions, maybe the truth. Out: a `MinedCaption` of every caption of every clip.
One scoring asks the judge about the claims of each caption (`question_score`, the caption in the place of a prompt) and
compares it with the facts (`facts`); a second one ranks the first file's captions (`retrieval`). A caption that cannot
be judged has a code and no claims.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cineloop.errors import NothingMatchedError, UsageError
from v2t_eval.core.inputs import Inputs, read_inputs
from v2t_eval.core.measurement import NOTHING_ASKED
from v2t_eval.core.metric import BaseMetric, MetricResult
from v2t_eval.core.sample import Sample, SampleClip
from v2t_eval.core.score import ScoreConfig, score
from v2t_eval.mine.settings import MineConfig
from v2t_eval.suites.suite import parse_metrics

NONE = "none"
OTHER = "other"  # kind of a claim without a stated subject
OUTSIDE = "OUT_OF_DOMAIN"
UNREAD = ("refused", "unparsable", "prompt_refused")  # a claim that was asked about in vain


@dataclass(frozen=True, kw_only=True)
class CaptionClaim:
    """One claim of a caption as a question to the judge.

    Attributes:
        kind: of fact.
        doubt: the judge's chance that it is false, 0 to 1.
        denied: whether the judge holds it false.
    """

    kind: str
    question: str
    doubt: float
    denied: bool


@dataclass(frozen=True, kw_only=True)
class FactErrors:
    """How a caption compares with the facts: how many it states rightly, and by kind how many wrongly or not at all;
    `made_up` figures, events and relations."""

    right: int
    wrong: Mapping[str, int] = field(default_factory=dict)
    missed: Mapping[str, int] = field(default_factory=dict)
    made_up: int = 0

    @property
    def errors(self) -> int:
        """All that is wrong, made up or missed."""
        return sum(self.wrong.values()) + sum(self.missed.values()) + self.made_up


@dataclass(frozen=True, kw_only=True)
class MinedCaption:
    """One caption of one clip.

    Attributes:
        sample: the clip, with this caption.
        turn: number of the file it is from, 0 for the first.
        claims: those that the judge answered.
        code, why: why the judge has no say, "" where it has; in words where it could not be asked.
        place, choices: rank of the caption among all of the first file by the dual encoder, 1 for the first, ties
            counting half; None without one.
        truth: None without facts.
    """

    sample: Sample
    turn: int
    claims: tuple[CaptionClaim, ...] = ()
    code: str = ""
    why: str = ""
    place: float | None = None
    choices: int = 0
    truth: FactErrors | None = None

    @property
    def text(self) -> str:
        return str(self.sample.caption)

    @property
    def address(self) -> dict[str, Any]:
        """`path` of the clip, and `start_s` and `end_s` where it is a part of a file, as in a manifest."""
        clip = self.sample.clip
        part = {} if clip is None else {"start_s": clip.start_s, "end_s": clip.end_s}
        return {"path": self.sample.row.get("path"), **{k: v for k, v in part.items() if v is not None}}


@dataclass(frozen=True, kw_only=True)
class MinedSet:
    """All captions in the order of clips and files; the judge's name; counts of inputs and of what failed; the exit
    code of the scorings; the folder that paths of clips are relative to."""

    captions: tuple[MinedCaption, ...]
    judge: str
    counts: Mapping[str, int]
    exit_code: int
    root: Path


def examine(
    clips: Path, captions: Sequence[Path], truth: Path | None, asked: MineConfig, config: ScoreConfig, **options: Any
) -> MinedSet:
    """Read the captions and ask about them; `options` are `stop` and `show_progress` of `v2t_eval.core.score.score`.

    Raises:
        UsageError: a file cannot be read, or nothing is to be asked. NothingMatchedError: no clip has a caption.
        MissingDependencyError: a model is not available. KeyboardInterrupt: stopped.
    """
    read = [read_inputs(clips, captions=path, truth=truth) for path in captions]
    samples = _samples(read)
    if not samples:
        raise NothingMatchedError("no clip has a caption", hint="v2t caption CLIPS -o captions/ writes them")
    wanted = _metrics(asked, samples)
    by_metric: dict[str, _Items] = {}
    exit_code, counts = 0, dict(read[0].counts)
    if rejected := sum(inputs.counts.get("captions_rejected", 0) for inputs in read):
        counts["captions_rejected"] = rejected
    counts["captions_missing"] = sum(len(inputs.samples) for inputs in read) - len(samples)
    first = [sample for sample, turn in samples.items() if not turn]
    for metrics, of in ((wanted[:-1], list(samples)), (wanted[-1:], first)):
        if present := [metric for metric in metrics if metric is not None]:
            inputs = Inputs(samples=of, clips_root=read[0].clips_root)
            scores = score(inputs, present, config, **options)
            scores.require_all()
            exit_code = max(exit_code, scores.exit_code)
            by_metric |= {metric.name: _Items(scores.result(metric.title)) for metric in present}
    judged = wanted[0]
    every = tuple(_mine(sample, turn, by_metric, judged) for sample, turn in samples.items())
    name = by_metric["question_score"].result.fingerprint["judge"] if judged is not None else NONE
    return MinedSet(
        captions=every, judge=name, counts=counts, exit_code=exit_code, root=read[0].clips_root or clips.parent
    )


def _metrics(asked: MineConfig, samples: Mapping[Sample, int]) -> tuple[BaseMetric | None, ...]:
    """`question_score`, `facts` and `retrieval`, None for what is not asked."""
    judge = encoder = None
    if asked.judge != NONE:
        (judge,) = parse_metrics(f"question_score[judge={asked.judge},questions={asked.questions}]")
    if asked.encoder != NONE:
        (encoder,) = parse_metrics(f"retrieval[text=caption,model={asked.encoder}]")
    if asked.facts and not any(sample.get("facts") is not None for sample in samples):
        raise UsageError("no clip has facts", hint="give --truth, a manifest with facts")
    facts = parse_metrics("facts")[0] if asked.facts else None
    if judge is None and encoder is None and facts is None:
        raise UsageError("nothing is asked", hint="a --judge, an --encoder, or --truth with facts")
    return judge, facts, encoder


def _samples(read: Sequence[Inputs]) -> dict[Sample, int]:
    """Every caption as a sample, with the number of its file; those of one clip together, as the engine decodes such a
    clip once. The caption is the prompt, so that questions are made of it."""
    shared: dict[str, SampleClip | None] = {}
    samples: dict[Sample, int] = {}
    by_id = [{sample.id: sample for sample in inputs.samples} for inputs in read]  # a file may lack a rejected clip
    for id in sorted(set().union(*by_id)):
        for turn, each in enumerate(by_id):
            sample = each.get(id)
            if sample is None or sample.caption is None:
                continue
            row = {key: value for key, value in sample.row.items() if key != "questions"}
            clip = shared.setdefault(sample.id, sample.clip)
            name = sample.id if turn == 0 else f"{sample.id}#{turn}"
            made = Sample(id=name, clip=clip, prompt=sample.caption, caption=sample.caption, row=row, cluster=sample.id)
            samples[made] = turn
    return samples


def _mine(sample: Sample, turn: int, by_metric: Mapping[str, _Items], judge: Any) -> MinedCaption:
    made = MinedCaption(sample=sample, turn=turn)
    if judge is not None:
        item, code = by_metric["question_score"].of(sample)
        why = by_metric["question_score"].messages.get(sample.id, "")
        if item is not None and item.get("outside"):
            item, code = None, OUTSIDE
        if item is not None:
            lost = [one["answer"] for one in item["questions"] if one["right"] is None and one["answer"] in UNREAD]
            code = lost[0].upper() if lost else ""
        made = replace(made, claims=() if item is None else _claims(judge, sample, item), code=code, why=why)
    if "facts" in by_metric:
        item, _ = by_metric["facts"].of(sample)
        made = replace(made, truth=None if item is None else _truth(item))
    if "retrieval" in by_metric and not turn:
        item, _ = by_metric["retrieval"].of(sample)
        choices = by_metric["retrieval"].result.counts.get("texts", 0)
        made = replace(made, place=None if item is None else item["video_to_text_rank"], choices=choices)
    return made


class _Items:
    """A metric's items and failures by id."""

    def __init__(self, result: MetricResult) -> None:
        self.result = result
        self._items = {item["id"]: item for item in result.items}
        self._codes = {failure["id"]: failure["code"] for failure in result.failures}
        self.messages = {failure["id"]: failure["message"] for failure in result.failures}

    def of(self, sample: Sample) -> tuple[dict[str, Any] | None, str]:
        """The item of a sample, or None and why there is none."""
        return self._items.get(sample.id), self._codes.get(sample.id, NOTHING_ASKED)


def _claims(judge: Any, sample: Sample, item: Mapping[str, Any]) -> tuple[CaptionClaim, ...]:
    """The claims with an answer; questions are made again for their kinds, which evidence does not hold."""
    kinds = [question.about or OTHER for question in judge.question_set(sample).questions]
    return tuple(
        CaptionClaim(
            kind=kind,
            question=one["question"] if one["wanted"] == "yes" else f"{one['question']} {one['wanted']}",
            doubt=float(not one["right"]) if one["chance"] is None else 1.0 - one["chance"],
            denied=not one["right"],
        )
        for kind, one in zip(kinds, item["questions"], strict=True)
        if one["right"] is not None
    )


def _truth(item: Mapping[str, Any]) -> FactErrors:
    tallies: Mapping[str, Sequence[int]] = item["facts"]
    return FactErrors(
        right=sum(right for right, _, _ in tallies.values()),
        wrong={kind: wrong for kind, (_, _, wrong) in tallies.items() if wrong},
        missed={kind: missed for kind, (_, missed, _) in tallies.items() if missed},
        made_up=item["made_up"],
    )
