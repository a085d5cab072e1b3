"""Intervals, floors and limits of distances between sets: clusters stay whole, coverage holds, bias shrinks."""

from __future__ import annotations

import numpy as np
import pytest

from v2t_eval.core.statistics import jackknife_interval
from v2t_eval.distribution.frechet import frechet
from v2t_eval.distribution.kernels import kernel_sums
from v2t_eval.distribution.kernels import mmd as kernel_mmd
from v2t_eval.distribution.resampling import (
    floor_halves,
    floor_values,
    groups_of,
    intercept,
    limit,
    replicates,
    sizes_for_limit,
)


def test_groups_hold_whole_clusters_and_are_of_near_equal_size() -> None:
    clusters = [f"clip {number // 3}" for number in range(150)]
    groups = groups_of(clusters, 7, seed=0)
    assert all(len({groups[number] for number in range(first, first + 3)}) == 1 for first in range(0, 150, 3))
    sizes = np.bincount(groups)
    assert len(sizes) == 7 and sizes.max() - sizes.min() <= 3
    with pytest.raises(ValueError, match="50 clusters cannot fill 60 groups"):
        groups_of(clusters, 60, seed=0)


def covered(shift: float, truth: float, num: int = 50, rounds: int = 100) -> float:
    draws, hits = np.random.default_rng(1), 0
    for seed in range(rounds):
        first, second = draws.normal(size=(num, 6)), draws.normal(size=(num, 6)) + shift

        def without_each(one: np.ndarray, two: np.ndarray, first=first, second=second) -> np.ndarray:
            sums = kernel_sums(first, second, groups=one, groups_reference=two)
            return np.array([sums.mmd(without=g) for g in range(len(sums.num))])

        left = replicates(without_each, range(num), range(num), seed=seed)
        assert left is not None
        low, high = jackknife_interval(kernel_mmd(first, second), left)
        hits += low <= truth <= high
    return hits / rounds


@pytest.mark.slow
def test_the_interval_covers_the_truth() -> None:
    draws = np.random.default_rng(2)
    shifted = kernel_mmd(draws.normal(size=(5000, 6)), draws.normal(size=(5000, 6)) + 0.6)
    assert covered(0.0, 0.0) >= 0.93
    assert 0.89 <= covered(0.6, shifted) <= 1.0


@pytest.mark.slow
def test_the_interval_of_a_skewed_distance_is_corrected() -> None:
    """Of lognormal vectors Student's interval around the value holds 92 %."""
    draws, hits = np.random.default_rng(7), 0

    def drawn() -> tuple[np.ndarray, np.ndarray]:
        first, second = draws.normal(size=(2, 10, 8))
        return np.exp(first / 2), np.exp(second / 2 + 0.3)

    truth = float(np.mean([frechet(*drawn()) for _ in range(1000)]))
    for _ in range(300):
        first, second = drawn()
        groups = np.arange(10)
        left = np.array([frechet(first[groups != g], second[groups != g]) for g in range(10)])
        low, high = jackknife_interval(frechet(first, second), left)
        hits += low <= truth <= high
    assert hits / 300 >= 0.92


def test_no_interval_where_nothing_can_be_left_out() -> None:
    def never(one: np.ndarray, two: np.ndarray) -> np.ndarray:
        raise AssertionError("nothing may be left out")

    assert replicates(never, ["a"] * 9, range(9), seed=0) is None
    assert replicates(never, range(2), range(9), seed=0) is None


def test_floor_halves_share_no_cluster() -> None:
    clusters = [f"clip {number // 5}" for number in range(60)]
    for seed in range(20):
        halves = floor_halves(clusters, 22, seed)
        assert halves is not None
        first, second = ({clusters[position] for position in half} for half in halves)
        assert not first & second
        assert len(halves[0]) == len(halves[1]) == 22
    assert floor_halves(["one"] * 10, 5, 0) is None


def test_the_floor_is_that_of_equal_numbers() -> None:
    reference = np.random.default_rng(3).normal(size=(600, 16))
    values, num = floor_values(reference, range(600), 100, frechet, splits=8, seed=0)
    assert num == 100 and len(values) == 8
    expected = np.mean([frechet(*np.random.default_rng(n).normal(size=(2, 100, 16))) for n in range(8)])
    assert values.mean() == pytest.approx(expected, rel=0.15)
    assert floor_values(reference, range(600), 500, frechet, splits=2, seed=0)[1] == 300  # the most there is


@pytest.mark.slow
def test_the_limit_takes_the_bias_away() -> None:
    draws = np.random.default_rng(4)
    first, second = draws.normal(size=(1500, 32)), draws.normal(size=(1000, 32)) + 0.1
    truth, raw = 32 * 0.01, frechet(first, second)
    found = limit(first, second, range(1500), range(1000), frechet, seed=0)
    assert found is not None
    value, error = found
    assert raw - truth > 0.4
    assert abs(value - truth) < (raw - truth) / 4
    assert 0 < error < 0.2
    assert found == limit(first, second, range(1500), range(1000), frechet, seed=0)


def test_no_limit_from_too_few() -> None:
    assert sizes_for_limit(100, 1000, 64) is None
    shares = sizes_for_limit(130, 1000, 64)
    assert shares is not None and len(shares) == 15
    assert shares[0] == pytest.approx(0.5) and shares[-1] == 1.0
    few = np.zeros((10, 64))
    assert limit(few, few, range(10), range(10), frechet, seed=0) is None


def test_intercept_of_a_line() -> None:
    x = np.linspace(1, 10, 15)
    assert intercept(x, 3 + 2 * x) == pytest.approx((3.0, 0.0), abs=1e-9)
    from scipy.stats import linregress

    noisy = 3 + 2 * x + np.random.default_rng(5).normal(size=15)
    fit = linregress(x, noisy)
    assert intercept(x, noisy) == pytest.approx((fit.intercept, fit.intercept_stderr), rel=1e-9)
