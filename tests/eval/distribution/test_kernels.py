"""Kernel distances and the Inception Score: parity case A8, brute force, values below zero."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from v2t_eval.distribution.kernels import CUBIC, Kernel, kernel_sums, mmd, subset_mmds
from v2t_eval.metrics.inception_score import inception_score

A8_FIRST = np.arange(1, 10).reshape(3, 3)
A8_SECOND = np.array([[7, 6, 5], [4, 3, 2], [1, 1, 8], [0, 2, 5]])


def drawn(num: int, seed: int, shift: float = 0.0, dimension: int = 12) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(num, dimension)) + shift


def test_unbiased_mmd_leaves_out_pairs_with_oneself() -> None:
    first, second = drawn(6, 1), drawn(9, 2, 0.3)

    def k(x: np.ndarray, y: np.ndarray) -> float:
        return (x @ y / 12 + 1) ** 3

    own = np.mean([k(x, y) for x, y in itertools.permutations(first, 2)])
    other = np.mean([k(x, y) for x, y in itertools.permutations(second, 2)])
    cross = np.mean([k(x, y) for x in first for y in second])
    assert mmd(first, second) == pytest.approx(own + other - 2 * cross, rel=1e-12)


def test_one_distribution_scores_zero_on_average_and_often_below() -> None:
    values = np.array([mmd(drawn(40, 2 * number), drawn(40, 2 * number + 1)) for number in range(200)])
    assert abs(values.mean()) < 3 * values.std() / np.sqrt(len(values))
    assert 60 < (values < 0).sum() < 160
    biased = [mmd(drawn(40, 2 * n), drawn(40, 2 * n + 1), unbiased=False) for n in range(20)]
    assert min(biased) > 0.1


def test_sums_by_group_give_the_distance_without_each_group() -> None:
    first, second = drawn(30, 5), drawn(25, 6, 0.5)
    groups, other = np.arange(30) % 4, np.arange(25) % 4
    sums = kernel_sums(first, second, CUBIC, groups, other)
    for unbiased in (True, False):
        assert sums.mmd(unbiased=unbiased) == pytest.approx(mmd(first, second, unbiased=unbiased), rel=1e-10)
        for g in range(4):
            direct = mmd(first[groups != g], second[other != g], unbiased=unbiased)
            assert sums.mmd(unbiased=unbiased, without=g) == pytest.approx(direct, rel=1e-10)


def test_chunks_are_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = drawn(30, 7), drawn(25, 8, 0.5)
    whole = mmd(first, second)
    monkeypatch.setattr("v2t_eval.distribution.kernels._AT_ONCE", 70)
    assert mmd(first, second) == pytest.approx(whole, rel=1e-12)


def test_subsets_are_drawn_from_the_seed_and_scatter_about_the_whole() -> None:
    first, second = drawn(120, 9), drawn(150, 10, 0.5)
    found = subset_mmds(first, second, num_subsets=40, subset_size=60, seed=3)
    np.testing.assert_array_equal(found, subset_mmds(first, second, num_subsets=40, subset_size=60, seed=3))
    assert (found != subset_mmds(first, second, num_subsets=40, subset_size=60, seed=4)).any()
    assert abs(found.mean() - mmd(first, second)) < 4 * found.std() / np.sqrt(40)
    with pytest.raises(ValueError, match="subsets of 130 cannot be drawn from 120 and 150"):
        subset_mmds(first, second, subset_size=130)


def test_order_does_not_matter() -> None:
    first, second = drawn(30, 11), drawn(30, 12, 0.5)
    assert mmd(first[::-1], second) == pytest.approx(mmd(first, second), rel=1e-12)
    assert mmd(second, first) == pytest.approx(mmd(first, second), rel=1e-12)


def test_what_cannot_be_measured_is_refused_in_words() -> None:
    good = drawn(5, 13)
    with pytest.raises(ValueError, match="at least 2 vectors a side, got 1 and 5"):
        mmd(good[:1], good)
    with pytest.raises(ValueError, match="holds NaN or infinity"):
        mmd(good, np.full((3, 12), np.inf))
    with pytest.raises(ValueError, match="12 and 3 dimensions"):
        mmd(good, good[:, :3])
    with pytest.raises(ValueError, match="degree"):
        Kernel(degree=0)


# Inception Score


def test_inception_score_of_closed_forms() -> None:
    assert inception_score(np.eye(7)) == pytest.approx(7.0)  # sure of every frame, every class as often
    assert inception_score(np.full((5, 4), 0.25)) == pytest.approx(1.0)
    half = np.array([[0.5, 0.5, 0.0], [0.0, 0.5, 0.5]])  # marginal 1/4 1/2 1/4: each frame ln 2 / 2
    assert inception_score(half) == pytest.approx(np.sqrt(2))


def test_inception_score_equals_scipys_divergence() -> None:
    from scipy.stats import entropy

    probabilities = np.random.default_rng(0).dirichlet(np.full(10, 0.3), size=50)
    theirs = np.exp(np.mean([entropy(row, probabilities.mean(0)) for row in probabilities]))
    assert inception_score(probabilities) == pytest.approx(theirs, rel=1e-9)


def test_inception_score_wants_probabilities() -> None:
    with pytest.raises(ValueError, match="sum to 1"):
        inception_score(np.array([[0.5, 0.2]]))
    with pytest.raises(ValueError, match="sum to 1"):
        inception_score(np.array([[1.5, -0.5]]))
