"""Loudness of sound: ITU-R BS.1770-5 (K-weighting, gated blocks of 400 ms) and its true peak.

In: samples (S,) or (S, C) and their rate. Out: LUFS and dB of full scale. K-weighting is the standard's two filters,
derived for any rate from their analogue prototypes (the coefficients of its tables at 48 kHz). Channels are those of
FFmpeg's order: the LFE does not count, the surrounds count 1.41 times. A single channel counts once.
Letters: S samples, C channels, B blocks.
"""

from __future__ import annotations

import math

import numpy as np

FLOOR = -70.0  # LUFS; the standard's absolute gate, and the loudness of silence
_BLOCK_S, _STEP_S = 0.4, 0.1
_RELATIVE = -10.0  # LU below the mean of what passes the absolute gate
_OFFSET = -0.691
_WEIGHTS = {
    5: (1.0, 1.0, 1.0, 1.41, 1.41),  # FL FR FC SL SR
    6: (1.0, 1.0, 1.0, 0.0, 1.41, 1.41),  # with the LFE
    8: (1.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.41, 1.41),  # FL FR FC LFE BL BR SL SR
}


def integrated_loudness(samples: np.ndarray, rate: int) -> float:
    """Integrated loudness in LUFS, at least `FLOOR`.

    Raises:
        ValueError: less than one block of 400 ms.
    """
    power = block_power(samples, rate)  # (B,)
    loud = power[power > _power(FLOOR)]
    if not len(loud):
        return FLOOR
    gated = loud[loud > loud.mean() * 10 ** (_RELATIVE / 10)]
    return max(FLOOR, _OFFSET + 10 * math.log10(float(gated.mean())))


def block_power(samples: np.ndarray, rate: int) -> np.ndarray:
    """(B,) weighted mean square of each block of 400 ms, one every 100 ms.

    Raises:
        ValueError: less than one block.
    """
    length, step = round(_BLOCK_S * rate), round(_STEP_S * rate)
    if len(samples) < length:
        raise ValueError(f"loudness takes {_BLOCK_S} s or more, got {len(samples) / rate:.3f} s")
    channels = samples.reshape(len(samples), -1)  # (S, C)
    weights = np.asarray(_WEIGHTS.get(channels.shape[1], (1.0,) * channels.shape[1]))
    total = np.zeros(len(samples) + 1)
    for weight, channel in zip(weights, channels.T, strict=True):
        if weight:
            total[1:] += weight * k_weighting(channel, rate) ** 2
    sums = np.cumsum(total)
    starts = np.arange(0, len(samples) - length + 1, step)  # (B,)
    power: np.ndarray = np.maximum(sums[starts + length] - sums[starts], 0.0) / length
    return power


def k_weighting(channel: np.ndarray, rate: int) -> np.ndarray:
    """(S,) one channel through the two filters of BS.1770."""
    from scipy.signal import sosfilt

    filtered: np.ndarray = sosfilt(filters(rate), channel.astype(np.float64))
    return filtered


def filters(rate: int) -> np.ndarray:
    """(2, 6) second-order sections: the shelf of the head, the high pass."""
    tangent = math.tan(math.pi * 1681.974450955533 / rate)
    high = 10 ** (3.999843853973347 / 20)
    band, quality = high**0.4996667741545416, 0.7071752369554196
    norm = 1 + tangent / quality + tangent**2
    shelf = [
        (high + band * tangent / quality + tangent**2) / norm,
        2 * (tangent**2 - high) / norm,
        (high - band * tangent / quality + tangent**2) / norm,
        1.0,
        2 * (tangent**2 - 1) / norm,
        (1 - tangent / quality + tangent**2) / norm,
    ]
    tangent, quality = math.tan(math.pi * 38.13547087602444 / rate), 0.5003270373238773
    norm = 1 + tangent / quality + tangent**2
    high_pass = [1.0, -2.0, 1.0, 1.0, 2 * (tangent**2 - 1) / norm, (1 - tangent / quality + tangent**2) / norm]
    return np.array([shelf, high_pass])


def true_peak_db(samples: np.ndarray) -> float:
    """Greatest level between the samples, dB of full scale (dBTP): oversampled four times; -inf for digital silence."""
    from scipy.signal import resample_poly

    peak = 0.0
    for channel in samples.reshape(len(samples), -1).T:
        if len(channel):
            peak = max(peak, float(np.abs(channel).max()), float(np.abs(resample_poly(channel, 4, 1)).max()))
    return 20 * math.log10(peak) if peak else -math.inf


def _power(lufs: float) -> float:
    return float(10 ** ((lufs - _OFFSET) / 10))
