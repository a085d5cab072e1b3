"""Intervals against published values and known cases."""

from __future__ import annotations

import random
from statistics import fmean

import pytest

from eval.stats import bootstrap, mean_of_shares, wilson


@pytest.mark.parametrize(  # Newcombe 1998, Statistics in Medicine 17:857, table I, method 3
    ("right", "num", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0000, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_as_published(right: int, num: int, low: float, high: float) -> None:
    assert wilson(right, num) == pytest.approx((low, high), abs=5e-5)


def test_wilson_at_the_ends() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(10, 10).high == 1.0 and wilson(10, 10).low == pytest.approx(0.7225, abs=1e-4)
    with pytest.raises(ValueError, match="within 0 and 5"):
        wilson(6, 5)
    with pytest.raises(ValueError, match="confidence"):
        wilson(1, 5, confidence=1.0)


def test_wilson_covers() -> None:
    draw = random.Random(0)
    inside = 0
    for _ in range(1000):
        low, high = wilson(sum(draw.random() < 0.9 for _ in range(60)), 60)
        inside += low <= 0.9 <= high
    assert 0.92 <= inside / 1000 <= 0.98


def test_mean_of_shares() -> None:
    mean, (low, high) = mean_of_shares([(100, 100), (0, 100)])
    assert mean == 0.5 and low < 0.5 < high and low == pytest.approx(1 - high)
    with pytest.raises(ValueError, match="at least one case"):
        mean_of_shares([(0, 0)])


def test_bootstrap() -> None:
    draw = random.Random(1)
    values = [draw.random() for _ in range(200)]
    low, high = bootstrap(values)
    spread = (1 / 12 / 200) ** 0.5
    assert low < fmean(values) < high
    assert high - low == pytest.approx(2 * 1.96 * spread, rel=0.15)
    assert bootstrap(values) == (low, high)
    assert bootstrap(values, seed=1) != (low, high)


def test_bootstrap_of_copies_is_as_wide_as_of_the_originals() -> None:
    draw = random.Random(2)
    values = [draw.random() for _ in range(60)]
    copies = [value for value in values for _ in range(5)]
    owners = [number for number in range(60) for _ in range(5)]
    one, clustered, careless = (
        bootstrap(values),
        bootstrap(copies, clusters=owners),
        bootstrap(copies, num_resamples=500),
    )
    assert clustered.high - clustered.low == pytest.approx(one.high - one.low, rel=0.02)
    assert careless.high - careless.low < 0.6 * (one.high - one.low)
