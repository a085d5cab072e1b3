"""Loudness against the standard's own figures: BS.1770-5, table 1 and 2; EBU Tech 3341, cases 1 to 6."""

from __future__ import annotations

import numpy as np
import pytest

from cineloop.audio.loudness import FLOOR, filters, integrated_loudness, true_peak_db

RATE = 48_000


def tone(db: float, seconds: float, hertz: float = 1000, rate: int = RATE) -> np.ndarray:
    return 10 ** (db / 20) * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def stereo(*parts: tuple[float, float]) -> np.ndarray:
    sound = np.concatenate([tone(db, seconds) for db, seconds in parts])
    return np.stack([sound, sound], 1)


def test_the_filters_are_those_of_the_standard_at_48_khz() -> None:
    shelf = [1.53512485958697, -2.69169618940638, 1.19839281085285, 1, -1.69065929318241, 0.73248077421585]
    high_pass = [1, -2, 1, 1, -1.99004745483398, 0.99007225036621]
    np.testing.assert_allclose(filters(RATE), [shelf, high_pass], atol=1e-7)


def test_a_sine_at_full_scale_in_one_channel() -> None:
    assert integrated_loudness(tone(0, 5, 997), RATE) == pytest.approx(-3.01, abs=0.01)


@pytest.mark.parametrize(
    "parts",
    [
        [(-23, 20)],
        [(-36, 10), (-23, 60), (-36, 10)],
        [(-72, 10), (-36, 10), (-23, 60), (-36, 10), (-72, 10)],
        [(-26, 20), (-20, 20.1), (-26, 20)],
    ],
)
def test_gating(parts: list[tuple[float, float]]) -> None:
    assert integrated_loudness(stereo(*parts), RATE) == pytest.approx(-23, abs=0.1)


def test_surrounds_weigh_more_and_the_lfe_nothing() -> None:
    levels = (-28, -28, -24, 0, -30, -30)  # FL FR FC LFE BL BR
    sound = np.stack([tone(db, 10) for db in levels], 1)
    assert integrated_loudness(sound, RATE) == pytest.approx(-23, abs=0.1)


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 192_000])
def test_any_rate(rate: int) -> None:
    assert integrated_loudness(tone(-20, 3, 997, rate), rate) == pytest.approx(-23, abs=0.35 if rate == 8_000 else 0.1)


def test_silence_and_less_than_a_block() -> None:
    assert integrated_loudness(np.zeros(RATE), RATE) == FLOOR
    with pytest.raises(ValueError, match=r"0\.4 s"):
        integrated_loudness(np.zeros(100), RATE)


def test_a_peak_between_samples() -> None:
    phase = np.sin(2 * np.pi * (np.arange(4800) / 4 + 1 / 8))  # a quarter of the rate: samples at .707 of the peak
    assert true_peak_db(0.5 * phase) == pytest.approx(-6.02, abs=0.3)
    assert true_peak_db(np.zeros(10)) == -np.inf
