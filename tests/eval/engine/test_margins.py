"""Margins from runs of one engine: what is accepted, what a clip's limit is, and that the same engine passes."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from cineloop.errors import UsageError
from gate_sides import result, side
from v2t_eval.core.scores import Scores
from v2t_eval.engine.derived import ABOVE, STRAYS, limit_of, limits_of
from v2t_eval.engine.equivalence import equivalence
from v2t_eval.engine.margins import LEAST_DB, RunValues, calibrate
from v2t_eval.metrics.pixel_distance import Metric as PixelDistance
from v2t_eval.metrics.sharpness import Metric as Sharpness
from v2t_eval.suites.suite import Suite

NUM = 30
SUITE = Suite(name="two", metrics=[PixelDistance(), Sharpness()])


def table(values: Any, **other: Any) -> RunValues:
    array = np.asarray(values, dtype=float)
    ids = tuple(f"c{n:02}" for n in range(array.shape[1]))
    made = {"ids": ids, "values": array, "clusters": ids, "sign": 1.0, "unrelated": np.array([30.0, 28.0])}
    return RunValues(**{**made, **other})


def run(decibels: np.ndarray, shown: np.ndarray, **other: Any) -> Scores:
    ids = [f"p{n:02}-0" for n in range(len(decibels))]
    distance = result(
        {}, name="pixel_distance", headline="pixel_distance", higher_is_better=False, value_range=(0.0, math.inf),
        items=[{"id": id, "value": float(value), "distance": 0.1} for id, value in zip(ids, decibels, strict=True)],
        figures=result({"a": float(decibels.mean())}).figures,
    )  # fmt: skip
    distance = replace(distance, figures={"pixel_distance": distance.figures["score"]})
    sharp = result(dict(zip(ids, map(float, shown), strict=True)), name="sharpness", headline="score")
    return side(distance, sharp, num=len(decibels), seeds=1, **other)


def noise(seed: int, spread: float = 1.0, level: float = 6.0) -> np.ndarray:
    own = np.random.default_rng(1).normal(level, 2, NUM)
    return np.maximum(own + np.random.default_rng(seed).normal(0, spread, NUM), 0)


def shown(seed: int, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(2).uniform(0.5, 0.7, NUM) + shift + np.random.default_rng(seed).normal(0, 0.002, NUM)


def margins(num_runs: int = 3, spread: float = 1.0, level: float = 6.0) -> Scores:
    runs = [run(noise(seed, spread, level), shown(seed)) for seed in range(10, 10 + num_runs)]
    return calibrate(run(np.zeros(NUM), shown(9)), run(np.full(NUM, 30.0), shown(9) * 0.2), runs, SUITE)


def test_runs_that_are_equal_to_the_bit_accept_one_floor() -> None:
    same = table(np.zeros((2, 24)))
    assert same.drift == 0 and same.accepted == pytest.approx(10 * math.log10(2))
    rule = same.rule("x", 0.05, 10)
    assert rule.accepted < rule.margin < 10 and (rule.worst, rule.best, rule.gain) == (30, 0, 0)
    assert table(np.full((2, 24), 20.0)).accepted == LEAST_DB  # a floor more is nothing from so far off


def test_runs_that_differ_as_a_whole_are_accepted_and_single_clips_are_not_drift() -> None:
    values = np.full((3, 24), 10.0)
    values += np.array([[0.0], [1.0], [2.0]])
    factor = 2.919986 * math.sqrt(1 + 1 / 3)  # Student's quantile of 95 % at two degrees
    assert table(values).accepted == pytest.approx(factor * 1.0, rel=1e-5)
    values = np.full((3, 24), 10.0)
    values[0, :3] = 28  # three clips took another way
    assert table(values).drift == 0


def test_the_limit_of_a_clip_is_a_tolerance_limit() -> None:
    harms = np.random.default_rng(0).normal(size=1000)
    assert limit_of(harms, 0.5) == pytest.approx(
        0.5 + max(harms.max(), harms.mean() + 2.43 * harms.std(ddof=1)), abs=0.03
    )
    few = np.array([-1.0, 0.0, 1.0])
    assert limit_of(few, 0.0) > 5  # of three the greatest says nothing


def test_every_metric_is_asked_and_what_is_shown_both_ways() -> None:
    made = margins()
    names = [rule["metric"] for rule in made.policy["primary"]]
    assert names == ["pixel_distance", "sharpness", f"sharpness{ABOVE}", STRAYS]
    assert set(limits_of(made)) == {"pixel_distance"} and set(limits_of(made, all_metrics=True)) > {"sharpness"}
    assert made.by_name[f"sharpness{ABOVE}"].higher_is_better is False
    with pytest.raises(UsageError, match="2 runs"):
        margins(1)


def test_runs_that_repeat_the_first_or_differ_by_everything_are_refused() -> None:
    def contents(word: str) -> dict[str, dict[str, str]]:
        return {"content": {f"p{n:02}-0": f"{word}{n}" for n in range(NUM)}}

    own, far = run(np.zeros(NUM), shown(9), **contents("a")), run(np.full(NUM, 30.0), shown(9) * 0.2)
    same, others = (
        run(np.zeros(NUM), shown(9), **contents("a")),
        [run(noise(s), shown(s), **contents("b")) for s in (1, 2)],
    )
    assert calibrate(own, far, [same, same], SUITE).by_name["pixel_distance"].value == 0
    assert calibrate(own, far, [same, *others], SUITE).by_name["pixel_distance"].value > 3
    with pytest.raises(UsageError, match="byte for byte"):
        calibrate(own, far, [same, others[0]], SUITE)
    with pytest.raises(UsageError, match="anything pass"):
        calibrate(own, far, [others[0], run(noise(3) + 8, shown(3), **contents("c"))], SUITE)


def test_a_rule_of_the_suite_takes_the_place_of_a_measured_one() -> None:
    from v2t_eval.gate.policy import Policy, Rule

    own = Suite(name="two", metrics=SUITE.metrics,
                policy=Policy(primary=(Rule(metric="sharpness", margin=0.3),), alpha=0.1))  # fmt: skip
    runs = [run(noise(seed), shown(seed)) for seed in (1, 2)]
    made = calibrate(run(np.zeros(NUM), shown(9)), run(np.full(NUM, 30.0), shown(9)), runs, own)
    assert next(one for one in made.policy["primary"] if one["metric"] == "sharpness")["margin"] == 0.3
    assert made.policy["alpha"] == 0.1


@pytest.mark.slow
def test_the_same_engine_passes_and_faults_do_not() -> None:
    made = margins()
    assert equivalence(run(noise(77), shown(77)), made).outcome == "pass"
    farther = equivalence(run(noise(77) + 10, shown(77)), made)
    assert farther.outcome == "fail"
    assert {one.metric for one in farther.metrics if one.outcome == "fail"} >= {"pixel_distance", STRAYS}
    for shift, name in ((-0.2, "sharpness"), (0.2, f"sharpness{ABOVE}")):  # equivalence: better is another engine too
        verdict = equivalence(run(noise(77), shown(77, shift)), made)
        assert verdict.outcome == "fail" and [one.metric for one in verdict.metrics if one.outcome == "fail"] == [name]


@pytest.mark.slow
def test_clips_that_flip_in_every_run_do_not_fail_and_new_ones_do() -> None:
    def flipped(seed: int, share: float) -> np.ndarray:
        values = noise(seed)
        places = np.random.default_rng(seed + 500).random(NUM) < share
        values[places] = 25
        return values

    runs = [run(flipped(seed, 0.3), shown(seed)) for seed in range(20, 24)]
    loose = calibrate(run(np.zeros(NUM), shown(9)), run(np.full(NUM, 30.0), shown(9) * 0.2), runs, SUITE)
    outcomes = [equivalence(run(flipped(seed, 0.3), shown(seed)), loose).outcome for seed in range(40, 60)]
    assert "fail" not in outcomes
    assert equivalence(run(flipped(77, 0.4), shown(77)), margins()).outcome == "fail"
