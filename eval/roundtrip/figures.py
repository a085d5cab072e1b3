"""Compute all figures of a round trip from its clips, captions and answers.

In: both sides, their pairs, answers. Out: `RoundtripResult`, without guards and notes of the stages, which the run
adds.
"""

from __future__ import annotations

import shlex
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from cineloop.log import printable
from v2t.backends import OUT_OF_DOMAIN
from v2t_eval.core.scores import AbsentMetric
from v2t_eval.judge.judge import Judge
from v2t_eval.roundtrip.calibration import Pair, calibrate
from v2t_eval.roundtrip.result import (
    CellShares,
    ClipResult,
    FamilyFigures,
    QuestionCase,
    RoundtripResult,
    Trip,
    TripSide,
    count,
)
from v2t_eval.roundtrip.scoring import FAMILIES, PairScores
from v2t_eval.roundtrip.settings import RoundtripConfig
from v2t_eval.semantics.prompt_questions import PromptQuestion, questions

WHO = {"judge": "question_score", "referee": "obedience"}  # who answers from the clip, by which metric
Reply = tuple[bool | None, str]  # whether it is right, None without an answer; its text


def result_of(
    config: RoundtripConfig,
    out: Path,
    side: TripSide,
    ceiling: TripSide | None,
    pairs: Sequence[Pair],
    scores: PairScores,
    judge: Judge | None,
) -> RoundtripResult:
    """All figures."""
    families, more = _families(config, side, ceiling, pairs, scores, judge)
    known = {each.metric for each in scores.skipped}
    skipped = [*scores.skipped, *(one for one in more if one.metric not in known)]
    answers = TripAnswers(config, scores, judge)
    rows = _rows(out, side, ceiling, answers, [family.name for family in families])
    failed = [trip for trip in side.trips if trip.caption is None]
    captions = [pair for pair in pairs if (pair.side, pair.what) == ("generator", "caption")]
    counts = {
        "prompts": len(side.prompts),
        "clips": len(side.trips),
        "captioned": len(side.captioned),
        "failed": len(failed),
        "mismatched_pairs": sum(pair.prompt != pair.other for pair in captions),
        "outside_of_captioners_world": sum(any(w.code == OUT_OF_DOMAIN for w in t.warnings) for t in side.trips),
    }
    if ceiling is not None:
        counts |= {
            "ceiling_clips": len(ceiling.trips),
            "ceiling_failed": len(ceiling.trips) - len(ceiling.captioned),
        }
    notes = []
    if len(side.prompts) < 3:
        notes.append("With fewer than three prompts there are no captions of other prompts: no floor, no calibration.")
    elif side.captioned and counts["mismatched_pairs"] < 4 * len(side.captioned):
        notes.append("Some prompts were compared with fewer than four others: the floor is rough.")
    return RoundtripResult(
        sources=_sources(config, side, ceiling, judge, scores),
        counts=counts,
        families=tuple(families),
        skipped=tuple(skipped),
        cells=tuple(_cells(side, ceiling, answers)),
        clips=tuple(rows),
        notes=(*notes, *(f"{family.name}: {note}." for family in families for note in family.figures.notes)),
        command=_command(),
        environment=scores.environment,
    )


def _command() -> str:
    """The running command; "" for calls from Python."""
    if sys.argv[1:2] != ["roundtrip"]:
        return ""
    return " ".join(["v2t-eval", *(printable(shlex.quote(word)) for word in sys.argv[1:])])


def _families(
    config: RoundtripConfig,
    side: TripSide,
    ceiling: TripSide | None,
    pairs: Sequence[Pair],
    scores: PairScores,
    judge: Judge | None,
) -> tuple[list[FamilyFigures], list[AbsentMetric]]:
    """Each family's figures; those without a single score are skipped."""
    families, skipped = [], []
    for name, (_, _, about) in FAMILIES.items():
        table = scores.table(name, pairs)
        scored = Counter(pair.side for pair in table if pair.prompt == pair.other)
        if not scored["generator"]:
            skipped.append(_why(name, config, judge))
            continue
        families.append(
            FamilyFigures(
                name=name,
                about=about,
                figures=calibrate(table),
                scored=scored["generator"],
                expected=len(side.trips),
                ceiling_scored=scored["ceiling"],
                ceiling_expected=0 if ceiling is None else len(ceiling.trips),
                fingerprint=scores.fingerprints.get(name, {}),
            )  # fmt: skip
        )
    return families, skipped


def _why(name: str, config: RoundtripConfig, judge: Judge | None) -> AbsentMetric:
    """Why a family has no score."""
    reason, hint = "no caption could be scored", ""
    if name in ("facts", "facts_f1"):
        reason, hint = "the cartoon world's grammar reads none of the prompts", ""
    elif name == "questions" and config.reader is None:
        reason, hint = "captions in plain English are read by a language model", "name one by --reader MODEL"
    elif name == "clip_judge" and judge is None:
        reason = "no judge was requested" if config.judge == "none" else "the starter knows only the cartoon world"
        hint = "name a judge by --judge v2t:MODEL"
    elif name == "clip_referee":
        reason = "the referee reads clips of the cartoon world with one figure, and questions about one"
    return AbsentMetric(metric=name, reason=reason, hint=hint, code="NO_SCORE")


class TripAnswers:
    """The answers of clip and caption of a trip to the questions of its prompt."""

    def __init__(self, config: RoundtripConfig, scores: PairScores, judge: Judge | None) -> None:
        self.scores, self.source = scores, config.questions
        self.who = {who: metric for who, metric in WHO.items() if who != "judge" or judge is not None}

    def of(self, trip: Trip) -> list[tuple[PromptQuestion, Reply | None, dict[str, Reply]]]:
        """Each question, the caption's answer (None without a caption), the clip's answers by judge or referee."""
        listed, sample = questions(trip.prompt, self.source), trip.key(trip.prompt)
        replies: list[Reply | None] = [None] * len(listed)
        if trip.caption is not None:
            replies = [*self.scores.answers("caption_questions", sample, len(listed))]
        seen = {who: self.scores.answers(metric, sample, len(listed)) for who, metric in self.who.items()}
        return [(one, replies[at], {who: given[at] for who, given in seen.items()}) for at, one in enumerate(listed)]


def _cells(side: TripSide, ceiling: TripSide | None, answers: TripAnswers) -> list[CellShares]:
    cells = []
    for who in answers.who:
        for each in (side, ceiling) if ceiling is not None else (side,):
            cases = [
                QuestionCase(
                    cluster=trip.prompt,
                    kind=one.kind,
                    clip=seen[who][0],
                    caption=None if reply is None else reply[0],
                )  # fmt: skip
                for trip in each.trips
                for one, reply, seen in answers.of(trip)
            ]
            if any(case.clip is not None for case in cases):
                cells += count(cases, who, each.name)
    return cells


def _rows(
    out: Path, side: TripSide, ceiling: TripSide | None, answers: TripAnswers, families: Sequence[str]
) -> list[ClipResult]:
    """Clips of the generator, worst first; those that failed at the end."""
    value = answers.scores.value
    tops = {trip.prompt: trip for trip in (ceiling.trips if ceiling is not None else ())}
    rows = []
    for trip in side.trips:
        top = tops.get(trip.prompt)
        values = {name: score for name in families if (score := value(name, trip.key(trip.prompt))) is not None}
        rows.append(
            ClipResult(
                id=trip.id,
                prompt=trip.prompt,
                path=_relative(trip, out),
                caption=trip.caption,
                error=trip.error,
                ceiling=None if top is None else _relative(top, out),
                ceiling_caption=None if top is None else top.caption,
                values={name: round(score, 6) for name, score in values.items()},
                lost=tuple(_loss_lines(trip, answers)),
            )  # fmt: skip
        )
    by = next((name for name in ("facts_f1", *families) if name in families), "")
    return sorted(rows, key=lambda row: (row.caption is None, row.values.get(by, 2.0), row.id))


def _loss_lines(trip: Trip, answers: TripAnswers) -> list[str]:
    """A line for each question that clip or caption does not answer as wanted."""
    lines = []
    for one, reply, seen in answers.of(trip):
        if reply is not None and reply[0] and all(right is not False for right, _ in seen.values()):
            continue
        parts = [f"caption: {_reply_mark(reply)}" if reply is not None else "no caption"]
        parts += [
            f"{who}: {_reply_mark(given)}" for who, given in seen.items() if who == "judge" or given[0] is not None
        ]
        lines.append(f"{one.kind}, {one.value or one.question.question}: {', '.join(parts)}")
    return lines


def _reply_mark(reply: Reply) -> str:
    mark = {True: " ✓", False: " ✗", None: ""}[reply[0]]
    return f"{reply[1]}{mark}"


def _relative(trip: Trip, out: Path) -> str | None:
    return None if trip.path is None else trip.path.relative_to(out).as_posix()


def _sources(
    config: RoundtripConfig, side: TripSide, ceiling: TripSide | None, judge: Judge | None, scores: PairScores
) -> dict[str, str]:
    about = " ".join(f"{key} {value[:12]}" for key, value in side.about.items()) or "not known"
    prompts = ", ".join(printable(Path(text).name, 60) for text in config.prompts) or "of the clips"
    if config.world is not None:
        prompts = f"{config.world} of the cartoon world, split {config.split}, seed {config.seed}"
    best = "none"
    if config.reference_clips is not None:
        best = f"reference clips of {printable(config.reference_clips.name)}"
    elif ceiling is not None:
        best = "the cartoon world's exact clip of each prompt"
    who = "none" if judge is None else judge.fingerprint()["judge"]
    reader = "the cartoon world's grammar"
    if config.reader is not None:
        reader = scores.fingerprints.get("questions", {}).get("reader", config.reader).partition("@")[0]
    return {
        "prompts": prompts,
        "generator": about,
        "captioner": f"{config.captioner}, style {config.style}",
        "ceiling": best,
        "questions answered from the clip by": who,
        "questions answered from the caption by": reader,
    }
