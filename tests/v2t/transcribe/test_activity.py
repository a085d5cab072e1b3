"""Where somebody may speak: voices are found, steady noise and silence are not."""

from __future__ import annotations

import numpy as np
import pytest

from spoken_sounds import RATE, between, noise, voice
from v2t.transcribe.activity import pieces, stretches


@pytest.mark.parametrize(("hiss", "level"), [(0, 0.3), (0.003, 0.3), (0.01, 0.3), (0, 0.02)])
def test_two_sentences_are_two_stretches(hiss: float, level: float) -> None:
    sound = between(voice(2, level), voice(3, level))
    sound = sound + noise(len(sound) / RATE, hiss) if hiss else sound
    assert stretches(sound) == [(pytest.approx(2, abs=0.35), pytest.approx(4, abs=0.35)),
                                (pytest.approx(6, abs=0.35), pytest.approx(9, abs=0.35))]  # fmt: skip


def test_what_nobody_says() -> None:
    seconds = np.arange(10 * RATE) / RATE
    hum = 0.3 * np.sin(2 * np.pi * 220 * seconds)
    bursts = noise(10, 0.1) * (seconds % 2 < 0.5)
    rumble = np.cumsum(noise(10, 0.001))
    for sound in (np.zeros(10 * RATE), noise(10, 0.1), hum, bursts, rumble, np.zeros(10), voice(0.03)):
        assert stretches(sound.astype(np.float32)) == []


def test_pieces_join_short_pauses_and_are_never_too_long() -> None:
    assert len(pieces(between(voice(2), voice(2), pause_s=0.8), 30)) == 1
    assert len(pieces(between(voice(2), voice(2), pause_s=3), 30)) == 2
    long = pieces(between(voice(50)), 20)
    assert all(end_s - start_s <= 20 for start_s, end_s in long)
    assert long[0][0] == pytest.approx(2, abs=0.35) and long[-1][1] == pytest.approx(52, abs=0.35)
    assert all(a[1] == b[0] for a, b in zip(long, long[1:], strict=False))
    cut_s = long[0][1] - 2  # of the voice; syllables are quiet at each fifth of a second
    assert abs(cut_s * 5 - round(cut_s * 5)) < 0.25
