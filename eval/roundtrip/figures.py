"""From stages to figures: what `v2t_eval.roundtrip.run` writes when all clips, captions and answers are there.

In: both sides, their pairs, answers. Out: `Found`, without what only the run knows (guards, notes of its stages).
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from cineloop.log import printable
from v2t_eval.roundtrip import cells as four
from v2t_eval.roundtrip.answers import Answers, Reply
from v2t_eval.roundtrip.calibration import calibrate
from v2t_eval.roundtrip.found import Family, Found, Row
from v2t_eval.roundtrip.settings import RoundtripConfig
from v2t_eval.roundtrip.similarity import FAMILIES, OF_CLIPS, Pairs, Similarity, measured, prompts_of
from v2t_eval.roundtrip.trip import Side, Trip
from v2t_eval.scores import Skipped
from v2t_eval.semantics.prompt_questions import Asked


def found(
    config: RoundtripConfig,
    out: Path,
    side: Side,
    ceiling: Side | None,
    pairs: Sequence[Pairs],
    answers: Answers,
    stop: Callable[[], bool],
    state: Path,
) -> Found:
    """All figures.

    Args:
        config: the settings. out: the folder; `state`: where evidence is kept.
        side, ceiling, pairs, answers: what the stages made.
        stop: asked between samples.

    Raises:
        KeyboardInterrupt: stopped; what was measured is kept.
    """
    texts = [
        (each.trip.prompt, each.of.caption or "") for one in pairs for each in (*one.matched, *one.mismatched)
    ]  # fmt: skip
    by_metric, skipped, environment, prints = measured(texts, config, state, stop=stop)
    scores = Similarity(answers, by_metric)
    families, more = _families(config, side, ceiling, pairs, scores, prints)
    skipped = [*skipped, *(one for one in more if one.metric not in {each.metric for each in skipped})]
    rows = _rows(out, side, ceiling, scores, [family.name for family in families])
    failed = [trip for trip in side.trips if trip.caption is None]
    counts = {
        "prompts": len(prompts_of(side)),
        "clips": len(side.trips),
        "captioned": len(side.captioned),
        "failed": len(failed),
        "mismatched_pairs": len(pairs[0].mismatched),
        "outside_of_captioners_world": sum(any(w.startswith("OUT_OF_DOMAIN") for w in t.warnings) for t in side.trips),
    }
    if ceiling is not None:
        counts |= {
            "ceiling_clips": len(ceiling.trips),
            "ceiling_failed": len(ceiling.trips) - len(ceiling.captioned),
        }
    notes = []
    if len(prompts_of(side)) < 3:
        notes.append("With fewer than three prompts there are no captions of other prompts: no floor, no calibration.")
    elif pairs[0].matched and len(pairs[0].mismatched) < 4 * len(pairs[0].matched):
        notes.append("Some prompts were held against fewer than four others: the floor is rough.")
    return Found(
        sources=_sources(config, side, ceiling, answers),
        counts=counts,
        families=tuple(families),
        skipped=tuple(skipped),
        cells=tuple(_cells(side, ceiling, scores)),
        clips=tuple(rows),
        notes=(*notes, *(f"{family.name}: {note}." for family in families for note in family.figures.notes)),
        command=_command(),
        environment=environment,
    )


def _command() -> str:
    """The command that is being run; "" where Python called."""
    if sys.argv[1:2] != ["roundtrip"]:
        return ""
    return " ".join(["v2t-eval", *(printable(shlex.quote(word)) for word in sys.argv[1:])])


def _families(
    config: RoundtripConfig,
    side: Side,
    ceiling: Side | None,
    pairs: Sequence[Pairs],
    scores: Similarity,
    prints: dict[str, dict[str, str]],
) -> tuple[list[Family], list[Skipped]]:
    """Each family's figures; those without a single score are skipped."""
    families, skipped = [], []
    for name, about in FAMILIES.items():
        listed = []
        for one in pairs:
            own, wrong = (one.clips, one.other_clips) if name in OF_CLIPS else (one.matched, one.mismatched)
            listed += [scores.pairs(name, own), scores.pairs(name, wrong)]
        if not listed[0]:
            skipped.append(_why(name, config, scores.answers))
            continue
        top = listed[2:] or [[], []]
        families.append(
            Family(
                name=name,
                about=about,
                figures=calibrate(listed[0], listed[1], *top),
                scored=len(listed[0]),
                expected=len(side.trips),
                ceiling_scored=len(top[0]),
                ceiling_expected=0 if ceiling is None else len(ceiling.trips),
                fingerprint=prints.get(name, {}),
            )  # fmt: skip
        )
    return families, skipped


def _why(name: str, config: RoundtripConfig, answers: Answers) -> Skipped:
    """Why a family has no score."""
    reason, hint = "no caption could be scored", ""
    if name in ("facts", "facts_f1"):
        reason, hint = "no prompt is one that the cartoon world's grammar reads", ""
    elif name == "questions" and answers.reader is None:
        reason, hint = "captions in plain English are read by a language model", "name one by --reader MODEL"
    elif name == "clip_judge" and answers.judge is None:
        reason = "nobody was asked" if config.judge == "none" else "the starter knows the cartoon world alone"
        hint = "name a judge by --judge v2t:MODEL"
    elif name == "clip_referee":
        reason = "the referee reads clips of the cartoon world with one figure, and questions about one"
    return Skipped(metric=name, reason=reason, hint=hint, code="NO_SCORE")


def _cells(side: Side, ceiling: Side | None, scores: Similarity) -> list[four.Cells]:
    found = []
    for who, ask in (("judge", scores.answers.from_clip), ("referee", scores.answers.by_referee)):
        if who == "judge" and scores.answers.judge is None:
            continue
        for each in (side, ceiling) if ceiling is not None else (side,):
            cases = [
                four.Case(
                    cluster=trip.prompt,
                    kind=one.kind,
                    clip=ask(trip, one).right,
                    caption=None if reply is None else reply.right,
                )  # fmt: skip
                for trip in each.trips
                for one, reply in _replies(trip, scores)
            ]
            if any(case.clip is not None for case in cases):
                found += four.count(cases, who, each.name)
    return found


def _replies(trip: Trip, scores: Similarity) -> list[tuple[Asked, Reply | None]]:
    """Each question of a trip's prompt with what its caption answers; None where there is no caption."""
    asked = scores.answers.questions(trip.prompt)
    said = [] if trip.caption is None else scores.from_caption(trip.prompt, trip.caption)
    return [(one, said[at] if said else None) for at, one in enumerate(asked)]


def _rows(out: Path, side: Side, ceiling: Side | None, scores: Similarity, families: Sequence[str]) -> list[Row]:
    """Clips of the generator, worst first; those that failed at the end."""
    tops = {trip.prompt: trip for trip in (ceiling.trips if ceiling is not None else ())}
    rows = []
    for trip in side.trips:
        top = tops.get(trip.prompt)
        values = {name: value for name in families if (value := scores.value(name, trip.prompt, trip)) is not None}
        rows.append(
            Row(
                id=trip.id,
                prompt=trip.prompt,
                path=_relative(trip, out),
                caption=trip.caption,
                error=trip.error,
                ceiling=None if top is None else _relative(top, out),
                ceiling_caption=None if top is None else top.caption,
                values={name: round(value, 6) for name, value in values.items()},
                lost=tuple(_lost(trip, scores)),
            )  # fmt: skip
        )
    by = next((name for name in ("facts_f1", *families) if name in families), "")
    return sorted(rows, key=lambda row: (row.caption is None, row.values.get(by, 2.0), row.id))


def _lost(trip: Trip, scores: Similarity) -> list[str]:
    """A line for each question that clip or caption does not answer as wanted."""
    lines = []
    for one, reply in _replies(trip, scores):
        clip, referee = scores.answers.from_clip(trip, one), scores.answers.by_referee(trip, one)
        if reply is not None and reply.right and clip.right is not False and referee.right is not False:
            continue
        parts = [f"caption: {reply.told}" if reply is not None else "no caption"]
        if scores.answers.judge is not None:
            parts.append(f"judge: {clip.told}")
        if referee.right is not None:
            parts.append(f"referee: {referee.told}")
        lines.append(f"{one.kind}, {one.value or one.question.question}: {', '.join(parts)}")
    return lines


def _relative(trip: Trip, out: Path) -> str | None:
    return None if trip.path is None else trip.path.relative_to(out).as_posix()


def _sources(config: RoundtripConfig, side: Side, ceiling: Side | None, answers: Answers) -> dict[str, str]:
    about = " ".join(f"{key} {value[:12]}" for key, value in side.about.items()) or "not known"
    prompts = ", ".join(printable(Path(text).name, 60) for text in config.prompts) or "of the clips"
    if config.world is not None:
        prompts = f"{config.world} of the cartoon world, split {config.split}, seed {config.seed}"
    best = "none"
    if config.reference_clips is not None:
        best = f"reference clips of {printable(config.reference_clips.name)}"
    elif ceiling is not None:
        best = "the cartoon world's exact clip of each prompt"
    judge = "nobody" if answers.judge is None else answers.judge.fingerprint()["judge"]
    reader = "the cartoon world's grammar" if answers.reader is None else answers.reader.name
    return {
        "prompts": prompts,
        "generator": about,
        "captioner": f"{config.captioner}, style {config.style}",
        "ceiling": best,
        "questions answered from the clip by": judge,
        "questions answered from the caption by": reader,
    }
