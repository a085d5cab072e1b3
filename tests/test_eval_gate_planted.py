"""Changes of a known size, planted in the values of clips: what the gate must say of each."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from v2t_eval.gate.decide import Side, decide_metrics
from v2t_eval.gate.policy import Policy, Rule
from v2t_eval.gate.run import gate
from v2t_eval.gate.verdict import MetricVerdict
from v2t_eval.metric import Figure, MetricResult

sys.path.insert(0, str(Path(__file__).parent))

NUM = 60


def side(values: np.ndarray, *, reduction: str = "mean", counts: dict[str, int] | None = None, **other: Any) -> Side:
    """Float (prompts, seeds) as one side; `other`: of the metric's result."""
    ids = [f"p{p:03}-{s}" for p in range(values.shape[0]) for s in range(values.shape[1])]
    prompts = {id: id.split("-")[0] for id in ids}
    mean = float(values.mean())
    made: dict[str, Any] = {
        "figures": {"score": Figure(value=mean, low=mean - 0.02, high=mean + 0.02, n=values.size)},
        "items": [{"id": id, "value": float(v)} for id, v in zip(ids, values.ravel(), strict=True)],
    }
    result = MetricResult(
        name="score", headline="score", n=values.size, coverage=1.0, fingerprint={}, value_range=(0.0, 1.0),
        reduction=reduction, counts=counts or {}, **(made | other),
    )  # fmt: skip
    return Side(results={"score": result}, clusters=prompts, prompts=prompts)


def decided(after: np.ndarray, before: np.ndarray, *, margin: float = 0.1, **other: Any) -> MetricVerdict:
    policy = Policy(primary=(Rule(metric="score", margin=margin),))
    return decide_metrics(side(after, **other), side(before, **other), policy)[0]


def noise(seed: int, spread: float = 0.03, shape: tuple[int, int] = (NUM, 1)) -> np.ndarray:
    return 0.7 + np.random.default_rng(seed).normal(0, spread, shape)


def test_a_loss_without_spread_fails() -> None:
    """20 prompts, two seeds that lose .5 and .25 everywhere: the prompts' means have no spread at all."""
    before = np.full((20, 2), 1.0)
    found = decided(before - [0.5, 0.25], before)
    assert found.outcome == "fail" and found.change == pytest.approx(-0.375)
    assert not any("equal" in why for why in found.reasons)


def test_a_clear_gain_passes_whatever_could_have_been_detected() -> None:
    """The spread of the changes says nothing once the whole interval lies on the good side."""
    found = decided(noise(2, 0.15) + 0.15, noise(1, 0.01), margin=0.03)
    assert found.low is not None and found.low > 0 and found.outcome == "pass"


def test_a_loss_inside_the_margin_passes_and_one_beyond_fails() -> None:
    assert decided(noise(2) - 0.02, noise(1)).outcome == "pass"
    assert decided(noise(2) - 0.16, noise(1)).outcome == "fail"


def test_a_perfect_baseline_can_be_compared() -> None:
    """A corpus figure that happens to be the mean of its clips, since all of them are perfect."""
    ends = {"score": Figure(value=1.0, low=0.97, high=1.0, n=NUM)}
    worse = {"score": Figure(value=0.6, low=0.5, high=0.7, n=NUM)}
    perfect = np.ones((NUM, 1))
    after = np.random.default_rng(0).uniform(0, 1, (NUM, 1))
    policy = Policy(primary=(Rule(metric="score", margin=0.1),))
    found = decide_metrics(
        side(after, reduction="set", figures=worse), side(perfect, reduction="set", figures=ends), policy
    )[0]
    assert found.outcome == "fail" and found.num_pairs == 0


def test_pairs_are_what_the_metric_declares_and_not_a_coincidence_of_numbers() -> None:
    values = noise(1)
    assert decided(noise(2), values, reduction="mean").num_pairs == NUM
    assert decided(noise(2), values, reduction="set").num_pairs == 0, "though the figure is the mean of its clips"


def test_below_its_own_minimum_a_metric_decides_nothing() -> None:
    policy = Policy(primary=(Rule(metric="score", margin=0.2, at_most=0.9, at_least=0.1),))
    for counts in ({"below_minimum": 1, "minimum": 512, "vectors": 32},):
        small = side(noise(1), reduction="set", counts=counts)
        found = decide_metrics(small, small, policy)[0]
        assert found.outcome == "inconclusive" and "512" in found.reasons[0] and "score" not in found.reasons[0][:5]


def test_broken_prompts_that_may_be_missing_from_the_sample_forbid_a_pass() -> None:
    """20 prompts of which none broke: a share of 14 % broken ones is missed with a chance of 5 %."""
    few, many = noise(1, 0.001, (20, 1)), noise(1, 0.001, (200, 1))
    found = decided(few + 1e-4, few, margin=0.03)
    assert found.outcome == "inconclusive" and "20 prompts" in found.reasons[0]
    assert decided(many + 1e-4, many, margin=0.03).outcome == "pass"


def test_few_broken_prompts_do_not_pass() -> None:
    """6 of 200 prompts lost completely, which is a mean harm of .02."""
    before = noise(1, 0.001, (200, 1))
    after = before.copy()
    after[:6] = 0.0
    assert decided(after, before, margin=0.02).outcome != "pass"


def test_flat_agreement_needs_prompts_and_copies_need_none() -> None:
    right = np.ones((NUM, 1))
    assert decided(right, right, margin=0.01).outcome == "inconclusive"
    assert decided(right, right, margin=0.06).outcome == "pass"


@pytest.mark.parametrize("still", [False, True])
def test_a_candidate_that_hardly_moves_does_not_pass_on_its_smoothness(still: bool) -> None:
    """A still picture with a small drifting square is not frozen, and smoother than any clip that moves."""
    from planted_scores import scores, with_motion

    from v2t_eval.gate import baseline as file
    from v2t_eval.gate.run import plain_policy

    policy = Policy(primary=(Rule(metric="temporal_flickering", margin=0.3),))
    before = file.made_of(with_motion(scores(), 0.5), "two", plain_policy(policy))
    verdict = gate(with_motion(scores(seed=2), 0.01 if still else 0.5), policy, baseline=before)
    assert verdict.outcome == ("fail" if still else "pass")
    blind = gate(scores(seed=2), policy, baseline=replace(before, scores=scores()))
    assert any("motion" in note for note in blind.notes)
