"""The counts behind an audit's agreement: made by the audit, stored with the starter, and the same as its kappas."""

from __future__ import annotations

from pathlib import Path

import pytest

import v2t_eval
from v2t_eval.audit.agreement import by_luck
from v2t_eval.audit.judging import ClaimAnswers
from v2t_eval.audit.record import Audit, Confusion, read_audit
from v2t_eval.judge.calibration import claim_of
from v2t_eval.judge.grammar.wording import LISTS, plain_claim, plain_question
from v2t_eval.judge.question import Question


@pytest.fixture(scope="module")
def starter() -> Audit:
    return read_audit(Path(v2t_eval.__file__).parent / "audit" / "starter.json")


@pytest.mark.parametrize("name", ["world", "generated"])
def test_the_starters_counts_give_its_kappas(starter: Audit, name: str) -> None:
    by_key = {(row.kind, row.answer): row for row in starter.confusion[name]}
    compared = 0
    for answer in starter.answers[name]:
        if answer.kappa is None:
            continue
        row = by_key[answer.kind, answer.answer]
        num = row.true + row.false
        luck = by_luck(num, row.hits + row.alarms, row.true)
        assert (row.true, row.hits, num) == (answer.n, answer.right, answer.claims)
        assert ((row.hits + row.false - row.alarms) / num - luck) / (1 - luck) == pytest.approx(answer.kappa, abs=1e-12)
        compared += 1
    assert compared > 60


def test_claims_are_counted_by_kind_and_answer() -> None:
    answers = ClaimAnswers()
    answers.held["color", "red"] = [("a", True, True), ("b", True, False), ("c", False, True), ("c", False, False)]
    assert answers.confusion() == (Confusion(kind="color", answer="red", true=2, hits=1, false=2, alarms=1, clips=3),)


def test_a_question_is_counted_under_what_it_claims() -> None:
    value, answer = next(iter(LISTS["color"].answers.items()))
    assert claim_of(plain_question("color", value)) == ("color", answer)
    assert claim_of(plain_claim("color", value)) == ("yes_no color", answer)
    assert claim_of(Question(id="q", question="Is it raining?")) == ("yes_no all", "")
    assert claim_of(Question(id="q", question="Is it raining?", answer="no")) == ("yes_no all, no", "")
    assert claim_of(Question(id="q", question="Which?", answer="this", choices=("this", "that"))) == ("all", "")
