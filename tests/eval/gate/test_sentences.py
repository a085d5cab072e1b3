"""The words of a metric's reasons, once for each code of a decision; other tests of the gate hold codes and numbers."""

from __future__ import annotations

from typing import Any

import pytest

from gate_sides import drawn, policy, result, side
from planted_scores import metric_decisions, metric_verdicts
from v2t_eval.core.scores import Scores
from v2t_eval.gate.guards import GuardCheck
from v2t_eval.gate.policy import Rule
from v2t_eval.gate.sentences import guard


def shifted(shift: float, seed: int = 2, spread: float = 0.1, **other: None) -> Scores:
    return side(result(drawn(seed, shift, spread=spread), **other))


def rule(**bounds: float) -> Rule:
    return Rule(metric="score", **bounds)


BEFORE, MARGIN = shifted(0, seed=1), rule(margin=0.08)
AGAIN = "(a new set alone decides: the same candidate gated twice at this alpha passes in error more often)"
WORDS = [
    ("WITHIN_MARGIN", shifted(0), BEFORE, MARGIN,
     "not worse than the margin allows: change +0.0114 [-0.0655, +0.0867] stays above -0.08"),
    ("ABOVE_ACCEPTED", shifted(-0.3), BEFORE, MARGIN,
     "worse than the accepted 0.04: change -0.289 [-0.345, -0.193], p = 0.0002 after Holm"),
    ("TOO_EARLY", shifted(-0.05), BEFORE, MARGIN,
     "too early to say: change -0.0386 [-0.112, +0.0402] reaches -0.08, p = 0.85 after Holm; 40 prompts suffice for a "
     f"margin of 0.088, this one takes about 45 {AGAIN}"),
    ("BEYOND_MARGIN", shifted(-0.2, spread=0.5), shifted(0, seed=1, spread=0.5), rule(margin=0.06),
     "worse by the margin or more, but it may be chance: change -0.143 [-0.303, +0.0262], p = 0.17 after Holm; 40 "
     f"prompts suffice for a margin of 0.23, this one takes about 429 {AGAIN}"),
    ("EQUAL", BEFORE, BEFORE, MARGIN, "equal to the baseline for 80 clips"),
    ("NO_DIRECTION", shifted(-0.4, higher_is_better=None), shifted(0, seed=1, higher_is_better=None), MARGIN,
     "no preferred direction, so a margin says nothing: give at_least or at_most"),
    ("NO_BASELINE", BEFORE, None, MARGIN,
     "there is no baseline, so whether it got worse is unknown: make one with `v2t-eval gate init`"),
    ("IN_BOUND", BEFORE, None, rule(at_least=0.1), "0.512 [0.492, 0.532] is at least 0.1"),
    ("OUT_OF_BOUND", BEFORE, None, rule(at_least=0.9), "0.512 [0.492, 0.532] is not at least 0.9"),
    ("ACROSS_BOUND", BEFORE, None, rule(at_most=0.5), "0.512 [0.492, 0.532] may or may not be at most 0.5"),
]  # fmt: skip


@pytest.mark.parametrize(("code", "candidate", "baseline", "asked", "words"), WORDS, ids=[code for code, *_ in WORDS])
def test_the_words_of_a_code(code, candidate, baseline, asked, words):
    (decision,) = metric_decisions(candidate, baseline, policy(asked))
    (verdict,) = metric_verdicts(candidate, baseline, policy(asked))
    assert decision.findings[0].kind == code and verdict.reasons[0] == words


def check(name: str, count: int, **numbers: Any) -> GuardCheck:
    return GuardCheck(name=name, is_within=False, count=count, num=40, **{"limit": 0.05, **numbers})  # type: ignore[arg-type]


LOST, FROZEN, OUTSIDE = "lost clips", "frozen clips", "outside the judge's world"
CHECKS = [
    (check(LOST, 2, limit=0.0, causes={("MISSING", ""): 2}), "fail",
     "2 of 40 clips are missing or have no score, 0 % may: 2 missing"),
    (check(LOST, 3, limit=0.0, causes={("NO_SCORE", "sharpness"): 2, ("UNREADABLE", "NOT_MEDIA"): 1}), "fail",
     "3 of 40 clips are missing or have no score, 0 % may: 2 no score by sharpness; 1 unreadable (NOT_MEDIA)"),
    (check(FROZEN, 12, p=0.001), "fail", "12 of 40 clips stand still, 5 % may"),
    (check(FROZEN, 19, p=0.001, own=0.2), "fail", "19 of 40 clips stand still, 5 % may beyond the baseline's 20 %"),
    (check(FROZEN, 3, p=0.3), "inconclusive",
     "3 of 40 clips stand still, 5 % may; this may be chance (p = 0.3 after Holm)"),
    (check(OUTSIDE, 15, p=0.001, own=0.05, metric="starter"), "fail",
     "15 of 40 clips are unlike what the judge of starter was trained on, or to show what it cannot be asked "
     "(UNAUDITED), 5 % may beyond the baseline's 5 %"),
]  # fmt: skip


@pytest.mark.parametrize(("numbers", "outcome", "words"), CHECKS)
def test_the_words_of_a_guard(numbers, outcome, words):
    assert guard(numbers, outcome, numbers.p).message == words
