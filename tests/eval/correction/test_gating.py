"""A gate by corrected values: the change is the true one, the margin leaves room for the audit, refusals decide
nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from judged_scores import KINDS, audit, confusion, scoring
from v2t_eval.audit.record import Audit, Confusion
from v2t_eval.core.scores import Scores
from v2t_eval.correction.gating import scores_for_gate
from v2t_eval.gate.policy import Policy, Rule
from v2t_eval.gate.run import gate

NAME = "question_score"


def large_audit() -> Audit:
    return audit(confusion={"generated": confusion(20_000, 18_000, 4_000)})


def corrected(scores: Scores, by: Audit | None = None) -> Scores:
    return scores_for_gate(scores, [NAME], by or large_audit(), "generated")


def worse(scores: Scores, share: float) -> Scores:
    """The scores of clips of which so many lost all of their facts: the judge says no but for its false alarms."""
    rng, (result,) = np.random.default_rng(8), scores.results
    items: list[dict[str, Any]] = []
    for item in result.items:
        rows = item["questions"]
        if rng.random() < share:
            rows = [row | {"right": bool(rng.random() < 0.2)} for row in rows]
        items.append(item | {"questions": rows, "value": float(np.mean([row["right"] for row in rows]))})
    return replace(scores, results=[replace(result, items=items)])


def test_the_mean_of_the_clips_is_the_corrected_share() -> None:
    (result,) = corrected(scoring()[0]).results
    values = [item["value"] for item in result.items]
    assert np.mean(values) == pytest.approx(result.value)
    assert result.value_range[0] <= min(values) < 0
    assert 1 < max(values) <= result.value_range[1]
    assert 1 < result.scale_error < 1.05


def test_a_change_is_measured_in_true_answers() -> None:
    """A third of the clips lost everything: four in five answers were true, a harm of .27; the judge sees .18."""
    before, after = scoring()[0], worse(scoring()[0], 1 / 3)
    judged = np.mean(
        [a["value"] - b["value"] for a, b in zip(after.results[0].items, before.results[0].items, strict=True)]
    )
    verdict = gate(
        corrected(after), Policy(primary=(Rule(metric=NAME, margin=0.1),), corrected=True), baseline=corrected(before)
    )
    change = verdict.metrics[0].change
    assert change is not None
    assert verdict.outcome == "fail"
    assert change == pytest.approx(judged / 0.7, abs=0.02)


def test_an_unchanged_side_passes_and_says_that_it_is_corrected() -> None:
    both = corrected(scoring()[0])
    verdict = gate(both, Policy(primary=(Rule(metric=NAME, margin=0.1),), corrected=True), baseline=both)
    assert verdict.outcome == "pass"
    assert any("corrected for the judge's errors" in note for note in verdict.notes)
    assert verdict.metrics[0].margin is not None
    assert verdict.metrics[0].margin < 0.1


def test_a_corrected_side_is_not_comparable_with_one_that_is_not() -> None:
    verdict = gate(corrected(scoring()[0]), Policy(primary=(Rule(metric=NAME, margin=0.1),)), baseline=scoring()[0])
    assert verdict.outcome == "not_comparable"


def test_what_cannot_be_corrected_decides_nothing() -> None:
    small = audit(confusion={"generated": confusion(60, 48, 12)})
    (result,) = corrected(scoring()[0], small).results
    assert result.figures == {}
    assert any("ROUGH_AUDIT" in note for note in result.notes)
    both = corrected(scoring()[0], small)
    verdict = gate(both, Policy(primary=(Rule(metric=NAME, margin=0.1),), corrected=True), baseline=both)
    assert verdict.outcome == "inconclusive"
    assert any("ROUGH_AUDIT" in note for note in verdict.notes)


def test_scores_without_the_answers_cannot_be_corrected() -> None:
    scores, _ = scoring()
    bare = [{"id": item["id"], "value": item["value"]} for item in scores.results[0].items]
    (result,) = corrected(replace(scores, results=[replace(scores.results[0], items=bare)])).results
    assert any("NO_CLAIMS" in note for note in result.notes)


def test_a_side_is_corrected_once() -> None:
    once = corrected(scoring()[0])
    assert corrected(once) == once


def test_ranges_of_sides_that_ask_other_answers_are_joined() -> None:
    """Of the second side one kind has a worse judge: its values go farther, and the sides stay comparable."""
    rows = [*large_audit().confusion["generated"]]
    rows[0] = Confusion(kind="kind", answer="a dog", true=20_000, hits=16_000, false=20_000, alarms=6_000, clips=40_000)
    by = audit(confusion={"generated": tuple(rows)})
    before = scoring()[0]
    items = [item | {"questions": item["questions"][1:]} for item in before.results[0].items]
    after = replace(before, results=[replace(before.results[0], items=items)])
    assert len(KINDS) == 3
    verdict = gate(corrected(after, by), Policy(primary=(Rule(metric=NAME, margin=0.3),), corrected=True),
                   baseline=corrected(before, by))  # fmt: skip
    assert verdict.outcome != "not_comparable"


def test_margins_leave_room_for_the_audit() -> None:
    policy = Policy(primary=(Rule(metric="a", margin=0.1, worst=0.2), Rule(metric="b", margin=0.1)), corrected=True)
    first, second = policy.allowing({"a": 1.25}).primary
    assert (first.margin, first.accepts, first.worst) == (pytest.approx(0.08), pytest.approx(0.0625), None)
    assert second == policy.primary[1]
