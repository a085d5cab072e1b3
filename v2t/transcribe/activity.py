"""Where somebody may be speaking: stretches of sound that stand out of its background, cut into pieces at pauses.

In: mono samples at 16 kHz. Out: stretches in seconds. A step of 10 ms counts where the power between 200 and 4,000 Hz
is 9 dB above the background (the quiet tenth of the 10 seconds around it) and above -55 dB of full scale, and where
that band's spectrum is peaked rather than flat: steady noise and hum are background, hiss is flat. Music that swells
passes: the recogniser has to reject it. Short gaps are closed, short stretches dropped, and all are widened a little,
since words begin and end softly. Letters: S samples, K steps, F bins.
"""

from __future__ import annotations

import numpy as np

from cineloop.audio.read import SPEECH_RATE

Stretch = tuple[float, float]  # start and end, seconds
STEP_S = 0.01
_WINDOW = 512  # samples, 32 ms
_BAND = (200.0, 4000.0)  # Hz
_ABOVE_DB, _LEAST_DB = 9.0, -55.0
_FLATTEST = 0.45  # geometric over arithmetic mean of the band's power; of white noise .56
_BACKGROUND_S, _QUIET = 10.0, 0.1
_GAP_S, _SHORTEST_S, _MARGIN_S = 0.3, 0.1, 0.2


def stretches(samples: np.ndarray) -> list[Stretch]:
    """Stretches that may hold speech, in order, apart from each other."""
    power_db, flatness = _steps(samples)  # (K,)
    if not len(power_db):
        return []
    active = (power_db > _background(power_db) + _ABOVE_DB) & (power_db > _LEAST_DB) & (flatness < _FLATTEST)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], active, [0]]).astype(int)))
    runs = [(float(a) * STEP_S, float(b) * STEP_S) for a, b in zip(edges[::2], edges[1::2], strict=True)]
    end_s = len(samples) / SPEECH_RATE
    kept = [run for run in _join(runs, _GAP_S) if run[1] - run[0] >= _SHORTEST_S]
    wide = [(max(0.0, start_s - _MARGIN_S), min(end_s, stop_s + _MARGIN_S)) for start_s, stop_s in kept]
    return _join(wide, 0.0)


def pieces(samples: np.ndarray, longest_s: float, pause_s: float = 1.0) -> list[Stretch]:
    """The stretches joined over pauses of up to `pause_s`, none longer than `longest_s`: a longer one is cut where it
    is quietest in the last third."""
    out: list[Stretch] = []
    for start_s, end_s in stretches(samples):
        if out and start_s - out[-1][1] <= pause_s and end_s - out[-1][0] <= longest_s:
            out[-1] = (out[-1][0], end_s)
            continue
        while end_s - start_s > longest_s:
            cut_s = _quietest(samples, start_s + longest_s * 2 / 3, start_s + longest_s)
            out.append((start_s, cut_s))
            start_s = cut_s
        out.append((start_s, end_s))
    return out


def _join(runs: list[Stretch], gap_s: float) -> list[Stretch]:
    out: list[Stretch] = []
    for run in runs:
        if out and run[0] - out[-1][1] <= gap_s:
            out[-1] = (out[-1][0], run[1])
        else:
            out.append(run)
    return out


def _steps(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Power in the band in dB of full scale, and how flat its spectrum is, of each step (K,)."""
    step = round(STEP_S * SPEECH_RATE)
    num = max(0, (len(samples) - _WINDOW) // step + 1)
    window = np.hanning(_WINDOW).astype(np.float32)
    bins = np.fft.rfftfreq(_WINDOW, 1 / SPEECH_RATE)
    band = (bins >= _BAND[0]) & (bins <= _BAND[1])
    scale = 2.0 / (float((window**2).sum()) * _WINDOW)
    power_db, flatness = np.empty(num), np.empty(num)
    views = np.lib.stride_tricks.sliding_window_view(samples, _WINDOW)[::step] if num else np.zeros((0, _WINDOW))
    for first in range(0, num, 4096):  # 10 minutes at once would take a gigabyte
        part = views[first : first + 4096]
        spectrum = np.abs(np.fft.rfft(part * window, axis=1)[:, band]) ** 2 + 1e-12  # (K, F)
        stop = first + len(part)
        power_db[first:stop] = 10 * np.log10(spectrum.sum(1) * scale + 1e-12)
        flatness[first:stop] = np.exp(np.log(spectrum).mean(1)) / spectrum.mean(1)
    return power_db, flatness


def _background(power_db: np.ndarray) -> np.ndarray:
    """(K,) the level that a tenth of the steps around each stay below, in windows that overlap by half."""
    width = round(_BACKGROUND_S / STEP_S)
    num = len(power_db)
    if num <= width:
        return np.full(num, np.quantile(power_db, _QUIET))
    centres = np.arange(width // 2, num - width // 2 + 1, width // 2)
    levels = [np.quantile(power_db[c - width // 2 : c + width // 2], _QUIET) for c in centres]
    background: np.ndarray = np.interp(np.arange(num), centres, levels)
    return background


def _quietest(samples: np.ndarray, start_s: float, end_s: float) -> float:
    part = samples[round(start_s * SPEECH_RATE) : round(end_s * SPEECH_RATE)]
    power_db, _ = _steps(part)
    if not len(power_db):
        return end_s
    return start_s + int(np.argmin(power_db)) * STEP_S + _WINDOW / SPEECH_RATE / 2
