"""The gate's self-test: halves of one baseline, gated against each other."""

from __future__ import annotations

import numpy as np
import pytest

from cineloop.errors import UsageError
from gate_sides import drawn, policy, result, side
from v2t_eval.gate.policy import Rule
from v2t_eval.gate.self_test import self_test


@pytest.mark.slow
def test_an_even_baseline_hardly_ever_fails() -> None:
    outcome = self_test(side(result(drawn(1))), policy(Rule(metric="score", margin=0.2)), splits=40)
    assert outcome.outcomes.get("fail", 0) <= 2
    assert sum(outcome.outcomes.values()) == 40
    assert (outcome.prompts, outcome.half) == (40, 20)
    assert outcome.as_dict()["rates"]["fail"]["high"] < 0.2


@pytest.mark.slow
def test_too_narrow_a_margin_is_inconclusive_and_not_a_fail() -> None:
    outcome = self_test(side(result(drawn(1))), policy(Rule(metric="score", margin=0.01)), splits=30)
    assert outcome.outcomes.get("inconclusive", 0) >= 25


@pytest.mark.slow
def test_prompts_stay_whole() -> None:
    """Two clips a prompt with the same value: were prompts torn, halves of 12 would have more cases than prompts."""
    values = {f"p{p:02}-{s}": float(p % 2) for p in range(24) for s in range(2)}
    outcome = self_test(side(result(values), num=24), policy(Rule(metric="score", margin=0.9)), splits=60)
    assert outcome.outcomes.get("fail", 0) <= 5
    assert outcome.half == 12


@pytest.mark.slow
def test_the_same_baseline_gives_the_same_rates() -> None:
    scores = side(result(drawn(3)))
    assert self_test(scores, policy(), splits=10) == self_test(scores, policy(), splits=10)


@pytest.mark.slow
def test_rules_that_compare_nothing_are_named() -> None:
    both = side(result(drawn(1)), result(drawn(2), name="set", reduction="set"))
    rules = policy(Rule(metric="score", margin=0.2), Rule(metric="set", margin=0.1))
    assert self_test(both, rules, splits=5).left_out == ("set",)


@pytest.mark.parametrize(("num", "rule", "code"), [
    (6, Rule(metric="score", margin=0.2), "TOO_FEW_PROMPTS"), (20, Rule(metric="score", at_least=0.2), "NO_MARGIN"),
])  # fmt: skip
def test_what_cannot_be_split_is_refused(num: int, rule: Rule, code: str) -> None:
    with pytest.raises(UsageError) as refused:
        self_test(side(result(drawn(1, num=num)), num=num), policy(rule), splits=5)
    assert refused.value.code == code


@pytest.mark.slow
def test_a_gate_that_errs_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the p-value of every change set to zero half of the splits must fail."""
    from v2t_eval.core import bounds

    monkeypatch.setattr(bounds, "p_values", lambda sums, *rest, **more: np.zeros(len(sums)))
    outcome = self_test(side(result(drawn(1))), policy(Rule(metric="score", margin=0.01)), splits=20)
    assert outcome.outcomes["fail"] >= 12
