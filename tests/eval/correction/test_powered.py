"""Prediction-powered means: unbiased whatever the judge is worth, narrower where it is worth something."""

from __future__ import annotations

import numpy as np
import pytest

from v2t_eval.correction.powered import powered_mean


def drawn(accuracy: float, seed: int, num: int = 400, labels: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Judged values, truth of the labelled, truth of all, five questions a clip."""
    rng = np.random.default_rng(seed)
    truth = rng.random((num, 5)) < rng.beta(2.1, 0.9, (num, 1))
    judged = np.where(rng.random(truth.shape) < accuracy, truth, ~truth)
    known = rng.permutation(num) < labels
    return judged.mean(1), np.where(known, truth.mean(1), np.nan), truth.mean(1)


def test_labels_of_all_clips_are_the_truth() -> None:
    judged, _, truth = drawn(0.9, 1)
    mean = powered_mean(judged, truth, range(len(truth)))
    assert (mean.value, mean.weight) == (pytest.approx(truth.mean()), 0.0)


def test_a_judge_that_says_nothing_gets_no_weight() -> None:
    judged, truth, _ = drawn(0.5, 2)
    assert powered_mean(judged, truth, range(len(truth))).weight < 0.25


def test_a_good_judge_narrows_the_interval() -> None:
    judged, truth, _ = drawn(0.97, 3)
    powered = powered_mean(judged, truth, range(len(truth)))
    alone = powered_mean(np.zeros_like(judged), truth, range(len(truth)))
    assert powered.weight > 0.6
    assert powered.high - powered.low < 0.6 * (alone.high - alone.low)


def test_seeds_of_one_prompt_are_one_case() -> None:
    judged, truth, _ = drawn(0.9, 4)
    alone = powered_mean(judged, truth, range(len(truth)))
    copies = powered_mean(np.repeat(judged, 4), np.repeat(truth, 4), np.repeat(np.arange(len(truth)), 4).tolist())
    assert copies.prompts == alone.prompts == 60
    assert (copies.low, copies.high) == pytest.approx((alone.low, alone.high))


def test_truth_without_spread_still_has_an_interval() -> None:
    mean = powered_mean(np.ones(200), np.where(np.arange(200) < 50, 1.0, np.nan), range(200))
    assert mean.value == 1.0
    assert 0.9 < mean.low < 0.96


def test_one_prompt_is_refused() -> None:
    with pytest.raises(ValueError, match="two prompts"):
        powered_mean(np.ones(3), np.array([1.0, np.nan, np.nan]), range(3))


@pytest.mark.slow
@pytest.mark.parametrize("accuracy", [0.7, 0.95])
def test_its_interval_holds_the_truth(accuracy: float) -> None:
    inside, errors = 0, []
    for seed in range(400):
        judged, truth, _ = drawn(accuracy, seed, labels=40)
        mean = powered_mean(judged, truth, range(len(truth)))
        inside += mean.low <= 0.7 <= mean.high
        errors.append(mean.value - 0.7)
    assert inside / 400 >= 0.925
    assert abs(np.mean(errors)) < 0.01
