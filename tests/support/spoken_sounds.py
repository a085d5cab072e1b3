"""Sounds like a voice, noise, and pauses between them, at 16 kHz."""

from __future__ import annotations

import numpy as np

RATE = 16_000


def voice(seconds: float, level: float = 0.3) -> np.ndarray:
    """Harmonics of 120 Hz under two formants, in syllables of a fifth of a second."""
    at_s = np.arange(round(seconds * RATE)) / RATE
    sound = np.zeros(len(at_s))
    for number in range(1, 30):
        hertz = 120 * number
        loud = np.exp(-(((hertz - 600) / 300) ** 2)) + 0.5 * np.exp(-(((hertz - 1800) / 400) ** 2))
        sound += loud * np.sin(2 * np.pi * hertz * at_s)
    syllables = 0.5 - 0.5 * np.cos(2 * np.pi * 5 * at_s)
    return (level * syllables * sound / np.abs(sound).max()).astype(np.float32)


def noise(seconds: float, level: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, level, round(seconds * RATE)).astype(np.float32)


def between(*parts: np.ndarray, pause_s: float = 2.0) -> np.ndarray:
    gap = np.zeros(round(pause_s * RATE), np.float32)
    return np.concatenate([gap, *(piece for part in parts for piece in (part, gap))])
