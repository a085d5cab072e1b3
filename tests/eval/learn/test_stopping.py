"""When learning has turned into pleasing the judge."""

from __future__ import annotations

import numpy as np
import pytest

from v2t_eval.learn.measures import Measure, Measured, change
from v2t_eval.learn.settings import DEFAULT_GUARDS, Guard
from v2t_eval.learn.stopping import divergence

IDS = [f"{prompt}-{video}" for prompt in range(30) for video in range(2)]
CLUSTERS = {id: id.split("-")[0] for id in IDS}


def figure(name: str, role: str, mean: float, spread: float = 0.1) -> Measured:
    values = mean + spread * np.random.default_rng([ord(name[0]), len(name)]).standard_normal(len(IDS))
    values = dict(zip(IDS, map(float, values), strict=True))
    return Measured(name=name, role=role, value=mean, low=mean - 0.02, high=mean + 0.02, values=values)


def measured(number: int, reward: float, judge: float = 0.5, referee: float = 0.5, diversity: float = 0.3) -> Measure:
    figures = {
        "reward": figure("reward", "reward", reward),
        "clipsim": figure("clipsim", "judge", judge),
        "obedience": figure("obedience", "referee", referee),
        "diversity": Measured(name="diversity", role="guard", value=diversity, low=0, high=1),
    }
    return Measure(round=number, figures=figures, clusters=CLUSTERS)


def noisy(one: Measure, name: str, seed: int) -> Measure:
    """The same with other clips by chance."""
    values = one.figures[name].values
    moved = {id: value + 0.2 * float(z) for (id, value), z in
             zip(values.items(), np.random.default_rng(seed).standard_normal(len(values)), strict=True)}  # fmt: skip
    from dataclasses import replace

    return replace(one, figures={**one.figures, name: replace(one.figures[name], values=moved)})


def test_learning_that_the_others_confirm_goes_on():
    history = [measured(0, 0.5), measured(2, 0.6, 0.52, 0.55), measured(4, 0.7, 0.53, 0.6)]
    assert divergence(history, DEFAULT_GUARDS) is None and divergence(history[:1], DEFAULT_GUARDS) is None


@pytest.mark.parametrize("name, values", [("clipsim", {"judge": 0.4}), ("obedience", {"referee": 0.4})])
def test_a_judge_or_the_referee_that_falls_while_the_reward_rises(name, values):
    found = divergence([measured(0, 0.5), measured(2, 0.6, **values)], DEFAULT_GUARDS)
    assert found is not None and found.measure == name
    assert "fell by 0.100" in found.reason and "reward rose by 0.100" in found.reason


def test_a_fall_within_chance_is_none():
    start = measured(0, 0.5)
    fallen = sum(divergence([start, noisy(measured(2, 0.6), "obedience", seed)], ()) is not None for seed in range(200))
    assert fallen <= 12  # of 200, at a one-sided level of 2.5 %


def test_a_reward_that_falls_too_is_no_divergence():
    assert divergence([measured(0, 0.5), measured(2, 0.4, 0.4, 0.4)], DEFAULT_GUARDS) is None


def test_a_measure_that_falls_twice_in_a_row():
    history = [measured(0, 0.5), measured(2, 0.6, referee=0.7), measured(4, 0.7, referee=0.68),
               measured(6, 0.8, referee=0.66)]  # fmt: skip
    assert divergence(history[:3], DEFAULT_GUARDS) is None
    found = divergence(history, DEFAULT_GUARDS)
    assert found is not None and found.measure == "obedience" and "twice in a row" in found.reason


def test_guards():
    found = divergence([measured(0, 0.5), measured(2, 0.6, diversity=0.2)], DEFAULT_GUARDS)
    assert found is not None and found.measure == "diversity" and "0.8 times" in found.reason
    assert divergence([measured(0, 0.5), measured(2, 0.6, diversity=0.25)], DEFAULT_GUARDS) is None
    most = (Guard(metric="diversity", most=1.5),)
    assert divergence([measured(0, 0.5), measured(2, 0.6, diversity=0.46)], most) is not None
    assert divergence([measured(0, 0.5), measured(2, 0.6, diversity=0.2)], most) is None


def test_a_change_is_paired_and_clustered():
    found = change(measured(2, 0.6), measured(0, 0.5), "reward")
    assert found is not None and found.value == pytest.approx(0.1) and found.high - found.low < 1e-6 and found.num == 60
    assert change(measured(2, 0.6), measured(0, 0.5), "diversity") is None
