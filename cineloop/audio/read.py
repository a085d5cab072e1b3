"""Sound out of files: tracks and samples, decoded in the pool's killable child, resampled by FFmpeg (PyAV).

In: a `DecoderPool` and a path. Out: `SoundTrack` and `Sound`. Decoding begins a whole second before a stretch.
Samples stand where their presentation time puts them: gaps are silence, overlaps are cut, so the seconds are those of
the film whatever the container lost, and reading block after block gives the samples of one reading of the whole.
Memory is that of one stretch. Limits, refusals and codes are those of the picture (`cineloop.video.worker`).
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from cineloop.audio.track import Sound, SoundTrack
from cineloop.errors import Notice, UsageError
from cineloop.video.worker import DecoderPool

SPEECH_RATE = 16_000  # Hz; what models of speech are trained on
BLOCK_S = 600.0  # of a long recording: 38 MB of mono samples at 16 kHz
_RATES = (4_000, 384_000)
_JOBS = "cineloop.audio.decode"
SAMPLES_JOB = f"{_JOBS}:samples_job"  # of `DecoderPool.submit_job`


def tracks(pool: DecoderPool, path: str | bytes | os.PathLike[str]) -> list[SoundTrack]:
    """The file's tracks of sound; [] for a film without any.

    Raises:
        ItemError: as `DecoderPool.decode` does of files that cannot be opened.
    """
    job = f"{_JOBS}:tracks_job"
    return pool.submit_job(path, job, {}, lambda plain, _: [SoundTrack(**track) for track in plain]).result()


def read(
    pool: DecoderPool,
    path: str | bytes | os.PathLike[str],
    *,
    start_s: float = 0.0,
    end_s: float | None = None,
    track: int | None = None,
    rate: int | None = SPEECH_RATE,
    mono: bool = True,
) -> Sound:
    """Samples of a stretch of one track.

    Args:
        pool: of the decoding children.
        path: a film or a file of sound.
        start_s, end_s: seconds of the film, `end_s` above `start_s`; None reads up to the track's end. `start_s` may be
            below 0 where the sound begins before the picture.
        track: number of the track; the one a player would choose when None.
        rate: samples a second to resample to, 4,000 to 384,000; None keeps the stored rate.
        mono: mix the channels down to one by FFmpeg's matrix; else (S, C).

    Raises:
        ItemError: as `DecoderPool.decode`, and NO_AUDIO_STREAM (no sound, or no track of this number), TOO_LARGE (the
            stretch does not fit into `memory_mb`: read it in `blocks`), TOO_LONG.
        UsageError: a wrong stretch or rate.
    """
    _check(start_s, end_s, track, rate)
    given = {"start_s": start_s, "end_s": end_s, "track": track, "rate": rate, "mono": mono}
    return pool.submit_job(path, SAMPLES_JOB, given, sound_of).result()


def of_clip(start_s: float | None, end_s: float | None) -> dict[str, Any]:
    """What `SAMPLES_JOB` is given for all that is heard of a clip: all channels, at the stored rate."""
    return {"start_s": start_s or 0.0, "end_s": end_s, "track": None, "rate": None, "mono": False}


def blocks(
    pool: DecoderPool,
    path: str | bytes | os.PathLike[str],
    *,
    block_s: float = BLOCK_S,
    start_s: float = 0.0,
    track: int | None = None,
    rate: int | None = SPEECH_RATE,
    mono: bool = True,
) -> Iterator[Sound]:
    """The whole track in blocks of `block_s` seconds, the last one shorter; arguments and errors as of `read`."""
    if not block_s > 0:
        raise UsageError(f"block_s must be above 0, got {block_s!r}")
    number = 0
    while True:
        begin, end = (start_s + block_s * edge for edge in (number, number + 1))
        sound = read(pool, path, start_s=begin, end_s=end, track=track, rate=rate, mono=mono)
        if len(sound.samples) or not number:
            yield sound
        if sound.is_last:
            return
        number += 1


def _check(start_s: float, end_s: float | None, track: int | None, rate: int | None) -> None:
    if not math.isfinite(start_s) or (end_s is not None and not (math.isfinite(end_s) and end_s > start_s)):
        raise UsageError(f"a stretch of sound must have finite seconds, the end above the start: {start_s} to {end_s}")
    if track is not None and track < 0:
        raise UsageError(f"the number of a track must be >= 0, got {track}")
    if rate is not None and not _RATES[0] <= rate <= _RATES[1]:
        raise UsageError(f"the rate must be {_RATES[0]:,} to {_RATES[1]:,} Hz, got {rate}")


def sound_of(plain: Any, arrays: dict[str, np.ndarray]) -> Sound:
    """What `SAMPLES_JOB` returned, JSON values and arrays, as sound. Raises ValueError, KeyError: another form."""
    warnings = tuple(map(Notice.read, plain["warnings"]))
    samples = arrays["samples"]
    if samples.dtype != np.float32 or samples.ndim not in (1, 2):
        raise ValueError("no samples")
    rate, start_s = int(plain["rate"]), float(plain["start_s"])
    return Sound(samples=samples, rate=rate, start_s=start_s, is_last=bool(plain["is_last"]), warnings=warnings)
