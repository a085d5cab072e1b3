"""Stability of a judge's answers under irrelevant changes, and their response to relevant ones.

In: clips of the world, a judge. Out: shares by name, each with the number of cases under `NAME_n`:
flips_repeat, flips_wording, flips_order: of answers, those that change when the same is asked again, in other
words, with the list of answers reversed; flips_codec, flips_phase: on the same clip encoded again, or drawn half a
frame later; flips_claim: of right answers picked from a list, those that the judge denies when it is asked for yes or
no; both_held: of two claims that exclude each other, those of which it affirms both; right: of answers on clean clips;
still_right_blur, still_right_noise: of right answers, those still right under slight blur and noise (RR of INFACT,
arXiv:2603.11481); changes_reverse, changes_shuffle: of right answers about direction and motion, those that change when
the frames are reversed or shuffled (its TSS: an answer that stays did not come from the order of frames).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from v2t_eval.audit.claims import question
from v2t_eval.audit.clips import PHASE, AuditClip
from v2t_eval.audit.judge_cache import CachedJudge
from v2t_eval.audit.judging import BREAKS, truth_values, value_questions
from v2t_eval.judge.answer import Answer
from v2t_eval.judge.grammar.wording import LISTS
from v2t_eval.judge.question import Question

SLIGHT = (("blur", 1), ("noise", 2))  # no answer should change under these
ORDER = ("reverse", "shuffle")


def stability(
    judge: CachedJudge, clips: Sequence[AuditClip], step: Callable[[], None] = lambda: None
) -> dict[str, float]:
    """The shares of the module's head over clips of one figure."""
    cases: dict[str, list[bool]] = {}
    closed = judge.has_likelihoods
    for clip in clips:
        values = truth_values(clip)
        asked = value_questions(clip, values, closed=closed)
        plain = judge.ask(clip.sample(), asked)
        right = [_is_right(each, reply) for each, reply in zip(asked, plain, strict=True)]
        _add(cases, "right", [good for good, reply in zip(right, plain, strict=True) if _has_answer(reply)])
        _add(cases, "flips_repeat", _flips(plain, judge.ask(clip.sample(), asked, repeat=1)))
        if closed:
            _ask_rewordings(cases, judge, clip, values)
            backwards = [replace(each, choices=each.choices[::-1]) for each in asked]
            _add(cases, "flips_order", _flips(plain, judge.ask(clip.sample(), backwards)))
        _ask_claims(cases, judge, clip, values, plain)
        _add(cases, "flips_codec", _flips(plain, judge.ask(clip.sample(codec=True), asked)))
        _add(cases, "flips_phase", _flips(plain, judge.ask(clip.sample(PHASE), asked)))
        for fault, severity in SLIGHT:
            corrupted = judge.ask(clip.sample(fault, severity), asked)
            kept = [
                _is_right(q, r) for q, r, good in zip(asked, corrupted, right, strict=True) if good and _has_answer(r)
            ]
            _add(cases, f"still_right_{fault}", kept)
        for fault in ORDER:
            kind, broken = BREAKS[fault]
            if broken is not None and values.get(kind) in broken:
                _add(cases, f"changes_{fault}", _changes(judge, clip, fault, kind, values[kind], closed=closed))
        step()
    rates: dict[str, float] = {}
    for name, outcomes in cases.items():
        if outcomes:
            rates |= {name: sum(outcomes) / len(outcomes), f"{name}_n": float(len(outcomes))}
    return rates


def _ask_rewordings(cases: dict[str, list[bool]], judge: CachedJudge, clip: AuditClip, values: dict[str, str]) -> None:
    """Ask each question in its wordings, one by one."""
    ways = range(max(len(LISTS[factor].wordings) for factor in values) if values else 0)
    replies: list[list[Answer]] = []
    for way in ways:
        made = [question(factor, value, closed=True, wording=way % len(LISTS[factor].wordings))
                for factor, value in values.items()]  # fmt: skip
        replies.append(judge.ask(clip.sample(), [each for each in made if each is not None]))
    for other in replies[1:]:
        _add(cases, "flips_wording", _flips(replies[0], other))


def _ask_claims(
    cases: dict[str, list[bool]], judge: CachedJudge, clip: AuditClip, values: dict[str, str], plain: Sequence[Answer]
) -> None:
    """Ask for yes or no whether the truth is the case, and whether something that excludes it is."""
    picked = {each.question.about: each for each in plain if judge.has_likelihoods}
    for factor, value in values.items():
        other = next((each for each in LISTS[factor].claims if each != value), None)
        claims = [question(factor, each, closed=False) for each in (value, other) if each is not None]
        asked = [each for each in claims if each is not None]
        replies = judge.ask(clip.sample(), asked)
        if len(replies) < 2 or not all(map(_has_answer, replies)):
            continue
        _add(cases, "both_held", [all(bool(reply.right) for reply in replies)])
        own = picked.get(asked[0].about)
        if own is not None and _is_right(own.question, own):
            _add(cases, "flips_claim", [not replies[0].right])


def _changes(judge: CachedJudge, clip: AuditClip, fault: str, kind: str, value: str, *, closed: bool) -> list[bool]:
    """Whether a right answer changes on the corrupted clip; empty where it was not right."""
    asked = question(kind, value, closed=closed)
    if asked is None:
        return []
    (clean,), (other,) = judge.ask(clip.sample(), [asked]), judge.ask(clip.sample(fault, 5), [asked])
    if not _is_right(asked, clean) or not _has_answer(other):
        return []
    return [other.text != clean.text]


def _is_right(asked: Question, reply: Answer) -> bool:
    """Whether the wanted answer, a true one, was given."""
    return _has_answer(reply) and reply.text == asked.answer


def _flips(first: Sequence[Answer], second: Sequence[Answer]) -> list[bool]:
    return [a.text != b.text for a, b in zip(first, second, strict=True) if _has_answer(a) and _has_answer(b)]


def _has_answer(reply: Answer) -> bool:
    return reply.right is not None


def _add(cases: dict[str, list[bool]], name: str, more: Sequence[bool]) -> None:
    cases.setdefault(name, []).extend(more)
