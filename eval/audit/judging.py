"""Compare a judge with the truth: agreement by kind of fact, and detection of faults by the facts they break.

In: clips with known facts, a judge (`CachedJudge`). Out: `Agreement`s by set of clips, `FaultDetection` faults. Facts
that the truth leaves open are not asked about; facts that the referee cannot read are counted.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cineloop.errors import ItemError
from cineloop.world.language.plain_questions import MOTIONS, NONE, PLAIN
from cineloop.world.referee.read import ReadBack
from v2t_eval.audit.agreement import Claim, by_answer, by_kind
from v2t_eval.audit.claims import Balance, Probe, of_row, of_values, question
from v2t_eval.audit.clips import AuditClip
from v2t_eval.audit.judge_cache import CachedJudge
from v2t_eval.audit.record import Agreement, ByAnswer, Confusion, FaultDetection
from v2t_eval.audit.sensitivity import auroc
from v2t_eval.judge.answer import Answer
from v2t_eval.judge.calibration import claim_of
from v2t_eval.judge.grammar.wording import LISTS, listed_values
from v2t_eval.judge.question import Question

Step = Callable[[], None]
PROMPT, WHOLE = "prompt", "all of them together"
# The kind of fact a fault breaks, and the values it breaks: those of a figure that moves, or that acts.
BREAKS: dict[str, tuple[str, tuple[str, ...] | None]] = {
    "color": ("color", None),
    "drop": ("kind", None),
    "mirror": ("direction", ("left", "right")),
    "reverse": ("direction", ("left", "right", "up", "down")),
    "freeze": ("motion", ("travel", "hop", "spin", "grow", "shrink", "shake", "fall", "appear", "vanish", "recolor")),
    "shuffle": ("motion", ("travel", "grow", "shrink")),
}
_LEAST = 1e-6  # probabilities are clipped here before the logarithm
_FULL = 5


@dataclass
class ClaimAnswers:
    """Answered claims, and counts of the others."""

    claims: list[Claim] = field(default_factory=list)
    unanswered: Counter[str] = field(default_factory=Counter)
    unread: Counter[str] = field(default_factory=Counter)
    facts: Counter[str] = field(default_factory=Counter)
    planted: Counter[tuple[str, str]] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    failures: list[dict[str, str]] = field(default_factory=list)
    num_open: int = 0
    held: dict[tuple[str, str], list[tuple[str, bool, bool]]] = field(default_factory=dict)

    def agreement(self) -> tuple[Agreement, ...]:
        """By kind of fact, see `by_kind`."""
        return by_kind(self.claims, self.unanswered, self.unread, self.facts)

    def confusion(self) -> tuple[Confusion, ...]:
        """The claims counted, by kind and answer, see `claim_of`."""
        rows = []
        for (kind, answer), claims in self.held.items():
            counts = Counter((true, yes) for _, true, yes in claims)
            rows.append(
                Confusion(
                    kind=kind, answer=answer, clips=len({clip for clip, _, _ in claims}),
                    true=counts[True, True] + counts[True, False], hits=counts[True, True],
                    false=counts[False, True] + counts[False, False], alarms=counts[False, True],
                )
            )  # fmt: skip
        return tuple(rows)

    def answers(self) -> tuple[ByAnswer, ...]:
        """By answer, in the order of the lists, of those that are true of some clip; see `by_answer`."""
        by_key = {(row.kind, row.answer): row for row in by_answer(self.claims, self.planted)}
        order = [(factor, answer) for factor, plain in LISTS.items() for answer in plain.answers.values()]
        return tuple(by_key[key] for key in order if self.planted[key])


def agree(
    judge: CachedJudge, clips: Sequence[AuditClip], truth_of: Callable[[AuditClip], Truth | None],
    step: Step = lambda: None, more: Callable[[AuditClip], Sequence[Question]] = lambda clip: (),
) -> ClaimAnswers:  # fmt: skip
    """Ask the judge about claims on clips. Without `truth_of` the questions of its row are asked; `step` is called
    after each clip and may raise; `more` is asked while the clip is decoded.
    """
    answers, balance = ClaimAnswers(), Balance()
    for clip in clips:
        try:
            truth = truth_of(clip)
            if truth is None:
                probes, num_open = of_row(clip.row, clip.id)
                answers.num_open += num_open
            else:
                probes = of_values(truth.values, clip.id, balance, closed=judge.has_likelihoods)
                answers.unread.update(truth.unread)
            asked = [probe.question for probe in probes]
            replies = judge.ask(clip.sample(), [*asked, *more(clip)])[: len(probes)]
        except (ItemError, ValueError) as error:
            code = error.code if isinstance(error, ItemError) else "UNREADABLE"
            answers.failures.append({"id": clip.id, "code": code, "message": str(error)})
        else:
            _take(answers, clip, probes, replies)
        step()
    return answers


def _take(answers: ClaimAnswers, clip: AuditClip, probes: Sequence[Probe], replies: Sequence[Answer]) -> None:
    for probe, reply in zip(probes, replies, strict=True):
        answers.codes[reply.status] += 1
        answers.facts[probe.kind] += probe.true
        if probe.answer and probe.true:
            answers.planted[probe.kind, probe.answer] += 1
        if reply.chance is None:
            answers.unanswered[probe.kind] += 1
            continue
        held = (clip.cluster, probe.true, bool(reply.right))
        answers.held.setdefault(claim_of(probe.question), []).append(held)
        answers.claims.append(
            Claim(
                clip=clip.cluster,
                kind=probe.kind,
                answer=probe.answer,
                true=probe.true,
                chance=reply.chance,
                yes=bool(reply.right),
            )
        )


def value_questions(clip: AuditClip, values: dict[str, str], *, closed: bool) -> list[Question]:
    """One question for each value, with it as the wanted answer."""
    made = [question(factor, value, closed=closed) for factor, value in values.items()]
    return [each for each in made if each is not None]


def notice(
    judge: CachedJudge, solo: Sequence[AuditClip], stories: Sequence[AuditClip], step: Step = lambda: None
) -> tuple[FaultDetection, ...]:
    """For each fault how well the judge's probability of the broken fact separates clean from corrupted clips; `step`
    is called `len(BREAKS) * len(solo) + len(stories)` times."""
    closed, rows = judge.has_likelihoods, list[FaultDetection]()
    for fault, (kind, broken) in BREAKS.items():
        pairs: list[tuple[AuditClip, float, float]] = []
        for clip in solo:
            value = truth_values(clip).get(kind)
            if value is not None and value != NONE and (broken is None or value in broken):
                pairs += _pair(judge, clip, fault, question(kind, value, closed=closed))
            step()
        rows += detections(fault, kind, pairs)
    pairs = []
    for clip in stories:
        value = truth_values(clip).get("count")
        if value is not None and value != "more":
            pairs += _pair(judge, clip, "drop", question("count", value, closed=closed))
        step()
    rows += detections("drop", "count", pairs)
    return (*rows, *detections(PROMPT, WHOLE, [*_prompts(judge, solo)]))


def truth_values(clip: AuditClip) -> dict[str, str]:
    """What is true of a clip of the world."""
    return {} if clip.facts is None else dict(of_facts(clip.facts).values)


def others(clips: Sequence[AuditClip]) -> dict[str, dict[str, str]]:
    """For each clip what is true of the next one."""
    return {clip.id: truth_values(clips[(n + 1) % len(clips)]) for n, clip in enumerate(clips)}


def _pair(
    judge: CachedJudge, clip: AuditClip, fault: str, asked: Question | None
) -> list[tuple[AuditClip, float, float]]:
    """The probabilities of the clean and the corrupted clip, where the judge gave both."""
    if asked is None:
        return []
    (clean,) = judge.ask(clip.sample(), [asked])
    (other,) = judge.ask(clip.sample(fault, _FULL), [asked])
    if clean.chance is None or other.chance is None:
        return []
    return [(clip, clean.chance, other.chance)]


def _prompts(judge: CachedJudge, solo: Sequence[AuditClip]) -> list[tuple[AuditClip, float, float]]:
    """The geometric mean of the probabilities of all that is true of a clip, and of all that is true of another."""
    closed, pairs = judge.has_likelihoods, []
    wrong = others(solo)
    for clip in solo:
        scores = []
        for values in (truth_values(clip), wrong[clip.id]):
            replies = judge.ask(clip.sample(), value_questions(clip, values, closed=closed))
            logs = [math.log(max(reply.chance, _LEAST)) for reply in replies if reply.chance is not None]
            scores.append(math.fsum(logs) / len(logs) if logs else None)
        if scores[0] is not None and scores[1] is not None:
            pairs.append((clip, scores[0], scores[1]))
    return pairs


def detections(fault: str, kind: str, pairs: Sequence[tuple[AuditClip, float, float]]) -> list[FaultDetection]:
    """The row of a fault, from each clip's chance or score clean and with it; none for fewer than two clips."""
    if len(pairs) < 2:
        return []
    clusters = [p[0].cluster for p in pairs]
    area, ends = auroc([p[1] for p in pairs], [p[2] for p in pairs], clusters)
    return [FaultDetection(fault=fault, kind=kind, auroc=area, auroc_low=ends.low, auroc_high=ends.high, n=len(pairs))]


_OF_FIGURE = ("kind", "color", "size", "motion")
_GOES = ("direction", "speed")


@dataclass(frozen=True, kw_only=True)
class Truth:
    """`values` by factor; `unread`: factors of which the truth is not known."""

    values: Mapping[str, str]
    unread: tuple[str, ...] = ()


def of_facts(facts: Mapping[str, Any]) -> Truth:
    """The values that the world's facts state; open ones are not asked about."""
    return Truth(values=listed_values(facts))


def of_reading(read: ReadBack) -> Truth:
    """The referee's reading in the words of plain questions."""
    values: dict[str, str | None] = {"place": read.place, "count": None}
    if read.num_figures:
        values["count"] = str(read.num_figures) if read.num_figures < 5 else "more"
    figures = read.figures
    if len(figures) == 1 and read.num_figures == 1:
        figure = figures[0]
        motion = figure.motion if figure.motion in MOTIONS else None
        values |= {"kind": figure.kind, "color": figure.color, "size": figure.size, "motion": motion}
        if motion == "travel":
            values |= {"direction": figure.direction, "speed": figure.speed}
        elif motion not in (None, "fall"):
            values |= {"direction": NONE, "speed": NONE}
        if motion == "recolor":
            values["to_color"] = figure.to_color
        elif motion not in (None, "vanish", "appear"):
            values["to_color"] = figure.color
    elif not read.num_figures:
        values |= dict.fromkeys((*_OF_FIGURE, *_GOES), None)  # of several figures no single one is asked about
    known = {factor: value for factor, value in values.items() if value is not None and value in PLAIN[factor].answers}
    return Truth(values=known, unread=tuple(factor for factor in values if factor not in known))
