"""Frechet distances: closed forms, other implementations, low rank."""

from __future__ import annotations

import numpy as np
import pytest

from v2t_eval.distribution.frechet import Gaussian, frechet

SQUARE = np.array([(0, 0), (2, 0), (0, 2), (2, 2)])


def drawn(num: int, dimension: int, seed: int) -> np.ndarray:
    """Correlated features with a mean far from zero."""
    draws = np.random.default_rng(seed)
    return draws.normal(size=(num, dimension)) @ draws.normal(size=(dimension, dimension)) + draws.normal(
        size=dimension
    )


# Parity case A9 (reference sheet, section 14A)


@pytest.mark.parametrize("divisor", ["n-1", "n"])
def test_a_shift_alone_is_its_squared_length(divisor: str) -> None:
    assert frechet(SQUARE, SQUARE + [3, 4], divisor) == pytest.approx(25.0, abs=1e-12)  # reference: 25 exactly


# Section 9: what few vectors alone make of two sets of one distribution (d = 64)


@pytest.mark.parametrize(("num", "reference"), [(64, 34.5), (256, 8.6), (1024, 2.2), (2048, 1.05), (4096, 0.53)])
def test_the_noise_floor_is_that_of_the_sheet(num: int, reference: float) -> None:
    draws = np.random.default_rng(num)
    values = [frechet(draws.normal(size=(num, 64)), draws.normal(size=(num, 64))) for _ in range(6)]
    # The sheet's figure is one draw, given to two digits.
    assert abs(np.mean(values) - reference) < 4 * np.std(values, ddof=1) * np.sqrt(1 + 1 / 6) + 0.05


# Other implementations


def moments_of(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return features.mean(0), np.cov(features, rowvar=False)


@pytest.mark.parametrize(("num", "other", "dimension"), [(300, 300, 40), (200, 500, 64), (70, 90, 64)])
def test_equals_scipy_and_torchmetrics(num: int, other: int, dimension: int) -> None:
    from scipy.linalg import sqrtm

    first, second = drawn(num, dimension, 1), drawn(other, dimension, 2)
    (m1, s1), (m2, s2) = moments_of(first), moments_of(second)
    rest = (m1 - m2) @ (m1 - m2) + np.trace(s1) + np.trace(s2)
    by_scipy = rest - 2 * np.trace(sqrtm(s1 @ s2)).real
    by_torchmetrics = rest - 2 * np.sqrt(np.linalg.eigvals(s1 @ s2).astype(complex)).real.sum()  # its formula
    assert frechet(first, second) == pytest.approx(by_scipy, rel=1e-6)
    assert frechet(first, second) == pytest.approx(by_torchmetrics, rel=1e-6)


# Low rank


@pytest.mark.parametrize(("num", "other"), [(12, 15), (12, 90), (90, 12), (90, 80)])
def test_a_subspace_changes_nothing(num: int, other: int) -> None:
    """Features that fill 6 of 60 dimensions: the distance is that of the 6, whatever the number of vectors."""
    basis = np.linalg.qr(np.random.default_rng(3).normal(size=(60, 6)))[0].T  # (6, 60)
    first, second = drawn(num, 6, 4), drawn(other, 6, 5)
    inside = frechet(first, second)
    assert inside > 1
    assert frechet(first @ basis, second @ basis) == pytest.approx(inside, rel=1e-9)


@pytest.mark.parametrize(("num", "other"), [(20, 30), (20, 100)])
def test_fewer_vectors_than_dimensions_equal_the_covariance_form(num: int, other: int) -> None:
    first, second = drawn(num, 50, 6), drawn(other, 50, 7)
    from scipy.linalg import sqrtm

    (m1, s1), (m2, s2) = moments_of(first), moments_of(second)
    whole = (m1 - m2) @ (m1 - m2) + np.trace(s1) + np.trace(s2) - 2 * np.trace(sqrtm(s1 @ s2)).real
    assert Gaussian.of(first).covariance is None
    assert frechet(first, second) == pytest.approx(whole, rel=1e-4)  # sqrtm loses digits at low rank


def test_features_that_never_fire_do_no_harm() -> None:
    first, second = drawn(200, 20, 8), drawn(200, 20, 9)
    silent = np.zeros((200, 30))
    widened = frechet(np.hstack([first, silent]), np.hstack([second, silent]))
    assert widened == pytest.approx(frechet(first, second), rel=1e-9)


def test_clips_that_are_all_the_same_leave_the_means() -> None:
    assert frechet(np.zeros((8, 400)), np.full((8, 400), 0.5)) == pytest.approx(100.0)
    assert frechet(np.zeros((500, 4)), np.full((500, 4), 0.5)) == pytest.approx(1.0)


# Properties


@pytest.mark.parametrize("num", [20, 200])
def test_identity_symmetry_and_order(num: int) -> None:
    first, second = drawn(num, 30, 10), drawn(num + 5, 30, 11)
    value = frechet(first, second)
    assert frechet(first, first) == pytest.approx(0.0, abs=1e-9 * np.trace(np.cov(first.T)))
    assert frechet(second, first) == pytest.approx(value, rel=1e-10)
    shuffled = np.random.default_rng(0).permutation(num)
    assert frechet(first[shuffled], second) == pytest.approx(value, rel=1e-10)


# What is refused


def test_what_cannot_be_measured_is_refused_in_words() -> None:
    good = drawn(5, 3, 14)
    with pytest.raises(ValueError, match="at least 2 vectors"):
        frechet(good[:1], good)
    with pytest.raises(ValueError, match="at least one vector"):
        frechet(np.zeros((0, 3)), good)
    with pytest.raises(ValueError, match="vector 2 of 5 holds NaN"):
        frechet(good, np.where(np.arange(5)[:, None] == 2, np.nan, good))
    with pytest.raises(ValueError, match="3 and 2 dimensions"):
        frechet(good, good[:, :2])
