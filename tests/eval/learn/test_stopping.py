"""When learning has turned into pleasing the judge."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from v2t_eval.core.metric import Figure, MetricResult
from v2t_eval.core.scores import ItemScores, Scores
from v2t_eval.core.sequential import p_values_and_levels
from v2t_eval.learn import stopping
from v2t_eval.learn.settings import DEFAULT_GUARDS, GuardLimit
from v2t_eval.learn.stopping import ALPHA, OF_GUARDS, alpha_until, gain, guard_level

ROLES = {"clipsim": "judge", "vqascore": "judge", "obedience": "referee", "diversity": "guard"}
IDS = [f"{prompt}-{video}" for prompt in range(30) for video in range(2)]
CLUSTERS = {id: id.split("-")[0] for id in IDS}


def result(name: str, mean: float, values: dict[str, float] | None = None, half: float = 0.02) -> MetricResult:
    figure = Figure(value=mean, low=mean - half, high=mean + half, n=60)
    items = [{"id": id, "value": value} for id, value in (values or {}).items()]
    return MetricResult(name=name, headline=name, figures={name: figure}, n=60, coverage=1.0, fingerprint={},
                        items=items, reduction="mean" if items else "set")  # fmt: skip


def spread(name: str, mean: float) -> MetricResult:
    values = mean + 0.1 * np.random.default_rng([ord(name[0]), len(name)]).standard_normal(len(IDS))
    return result(name, mean, dict(zip(IDS, map(float, values), strict=True)))


def measured(reward: float, judge: float = 0.5, referee: float = 0.5, diversity: float = 0.3) -> Scores:
    results = [spread("reward", reward), spread("clipsim", judge), spread("obedience", referee)]
    return scored([*results, result("diversity", diversity)], CLUSTERS)


def scored(results: list[MetricResult], clusters: dict[str, str]) -> Scores:
    clips = [ItemScores(id=id, cluster=cluster) for id, cluster in clusters.items()]
    return Scores(sources={}, clips=clips, results=results)


def divergence(history: list[Scores], limits=(), tolerated=None):
    return stopping.divergence(history, ROLES, limits, tolerated)


def test_learning_that_the_others_confirm_goes_on():
    history = [measured(0.5), measured(0.6, 0.52, 0.55), measured(0.7, 0.53, 0.6)]
    assert divergence(history, DEFAULT_GUARDS) is None and divergence(history[:1], DEFAULT_GUARDS) is None


@pytest.mark.parametrize("name, values", [("clipsim", {"judge": 0.4}), ("obedience", {"referee": 0.4})])
def test_a_judge_or_the_referee_that_falls_while_the_reward_rises(name, values):
    found = divergence([measured(0.5), measured(0.6, **values)], DEFAULT_GUARDS)
    assert found is not None and found.measure == name and found.kept == 0
    assert "fell by 0.100" in found.reason and "reward rose by 0.100" in found.reason


def learnt(seed: int, fall: float = 0.0, looks: int = 6, num: int = 64) -> list[Scores]:
    """A learning of right-or-wrong judges and a referee that is a share: chances of prompts stay, or those of the
    referee fall evenly; a clip's errors at two looks in a row are much alike. The reward rises."""
    rng = np.random.default_rng(seed)
    ids = [f"{prompt}-{video}" for prompt in range(num) for video in range(2)]
    chances = np.repeat(rng.random(num), 2)
    errors = {name: rng.standard_normal((8, 2 * num)) for name in ("clipsim", "vqascore", "obedience")}
    history = []
    for look in range(looks + 1):
        columns = {"reward": np.full(2 * num, 0.5 + 0.02 * look)}
        for name, error in errors.items():
            share = chances * (1 - (2 * fall * look / looks if name == "obedience" else 0))
            right = norm.cdf(error) < share
            columns[name] = right.mean(0) if name == "obedience" else right[0].astype(float)
            errors[name] = 0.7 * error + 0.714 * rng.standard_normal(error.shape)
        results = [result(name, float(values.mean()), dict(zip(ids, values.tolist(), strict=True)))
                   for name, values in columns.items()]  # fmt: skip
        history.append(scored(results, {id: id.split("-")[0] for id in ids}))
    return history


def looked(history: list[Scores]) -> int:
    """After which look it is stopped; 0 for never."""
    return next((n for n in range(1, len(history)) if divergence(history[: n + 1]) is not None), 0)


@pytest.mark.slow
def test_a_learning_in_which_nothing_falls_is_hardly_ever_stopped():
    stopped = sum(looked(learnt(seed)) > 0 for seed in range(100))
    assert stopped <= 5  # of 100, at six looks for three watchers; the table is in docs/learning.md


@pytest.mark.slow
def test_a_learning_that_does_harm_is_stopped():
    looks = [looked(learnt(seed, fall=0.15)) for seed in range(20)]
    assert sum(look > 0 for look in looks) >= 18


def test_what_is_spent_never_exceeds_alpha_however_many_looks_follow():
    shares = [alpha_until(look) for look in range(1, 200)]
    assert shares == sorted(shares) and shares[0] == (ALPHA - OF_GUARDS) / 4 and shares[-1] < ALPHA - OF_GUARDS
    alone = p_values_and_levels(np.ones((30, 1, 40, 2)), np.ones((30, 1)), alpha=ALPHA - OF_GUARDS)[1]
    # the same changes at every look are one test: its level is all that is spent up to there
    assert alone == pytest.approx(shares[:30], abs=1e-3)
    rng = np.random.default_rng(0)
    sums = np.stack([rng.standard_normal((5, 4, 60)), np.ones((5, 4, 60))], -1)
    apart = p_values_and_levels(sums, np.ones((5, 4)), alpha=ALPHA - OF_GUARDS)
    assert all(apart[1] < shares[:5]) and all(apart[1] > np.diff([0, *shares[:5]]) / 4 - 1e-9)


def test_a_fall_that_is_tolerated_does_not_stop():
    history = [measured(0.5), measured(0.6, referee=0.4)]
    assert divergence(history, ()) is not None and divergence(history, (), {"clipsim": 0.06}) is not None
    assert divergence(history, (), {"obedience": 0.06}) is None


def test_the_few_prompts_that_gain_all_may_be_missing():
    """Right-or-wrong, 30 prompts, none gains and three lose: 1 of 10 that gains may just not be among them."""
    start, now = measured(0.5), measured(0.6)
    for one, wrong in ((start, 0), (now, 3)):
        values = {id: float(int(prompt) >= wrong) for id, prompt in CLUSTERS.items()}
        one.results[2] = result("obedience", 0.5, values)
    assert divergence([start, now], ()) is None


def test_a_clip_that_is_lost_is_left_out():
    start, now = measured(0.5), measured(0.6, referee=0.4)
    del now.results[2].items[:4]  # two prompts
    fall = stopping.falls([start, now], ROLES, {})["obedience"]
    assert fall.p < fall.level


def test_a_reward_that_falls_too_is_no_divergence():
    assert divergence([measured(0.5), measured(0.4, 0.4, 0.4)], DEFAULT_GUARDS) is None


def test_the_model_that_is_kept_is_the_last_that_was_not_lower():
    history = [measured(0.5), measured(0.6, referee=0.52), measured(0.7, referee=0.499),
               measured(0.8, referee=0.4)]  # fmt: skip
    found = divergence(history, DEFAULT_GUARDS)
    assert found is not None and found.kept == 1


def test_guards():
    found = divergence([measured(0.5), measured(0.6, diversity=0.2)], DEFAULT_GUARDS)
    assert found is not None and found.measure == "diversity" and "0.8 times" in found.reason
    assert divergence([measured(0.5), measured(0.6, diversity=0.25)], DEFAULT_GUARDS) is None
    most = (GuardLimit(metric="diversity", most=1.5),)
    assert divergence([measured(0.5), measured(0.6, diversity=0.46)], most) is not None
    assert divergence([measured(0.5), measured(0.6, diversity=0.2)], most) is None


def test_a_gain_is_paired_and_turned_to_the_good_side():
    start, now = measured(0.5), measured(0.6)
    assert gain(start, now, "reward") == pytest.approx(0.1) and gain(start, now, "diversity") is None
    for one in (start, now):
        one.results[0] = replace(one.results[0], higher_is_better=False)
    assert gain(start, now, "reward") == pytest.approx(-0.1)


def test_a_guard_beyond_its_limit_by_chance_does_not_stop():
    """With few prompts a figure of a whole set varies by more than its limit allows."""
    start, now = measured(0.5, diversity=0.3), measured(0.5, diversity=0.23)
    for one in (start, now):
        one.results[3] = result("diversity", one.results[3].value, half=0.06)
    assert divergence([start, now], DEFAULT_GUARDS) is None
    assert divergence([start, measured(0.5, diversity=0.1)], DEFAULT_GUARDS) is not None
    assert sum(guard_level(look, 3) for look in range(1, 1000)) * 3 == pytest.approx(OF_GUARDS, rel=0.01)
