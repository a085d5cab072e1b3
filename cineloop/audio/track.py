"""Tracks of sound and samples of them, as data; nothing is read here.

In: what a decoder found. Out: `SoundTrack` and `Sound` records. Second 0 is the first shown frame of the film, or, of a
file without a picture, the start of its earliest track: the seconds of `Frames.times_s`.
Letters: S samples, C channels.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from cineloop.errors import Notice


@dataclass(frozen=True, kw_only=True)
class SoundTrack:
    """One track of sound as the container describes it.

    Attributes:
        number: from 0, in the order of the container's tracks of sound.
        codec: FFmpeg's short name.
        rate: samples a second, as stored.
        channels: number of channels; `layout` is FFmpeg's name of their places ("stereo", "5.1").
        language: the container's word for it, "" without.
        title: the container's name of the track, "" without.
        start_s: second of the film at which the first sample is heard; below 0 where it begins before the picture.
        duration_s: seconds of sound that the container promises; None where it promises nothing.
        is_default: whether a player would play this one.
    """

    number: int
    codec: str
    rate: int
    channels: int
    layout: str
    language: str
    title: str
    start_s: float
    duration_s: float | None
    is_default: bool

    def record(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Sound:
    """Samples of a stretch of one track.

    Attributes:
        samples: float32 (S,) for mono, (S, C) otherwise; full scale is 1, and decoders may exceed it. Where the track
            has no sound (before its start, in gaps, after damage) samples are 0.
        rate: samples a second.
        start_s: second of the film of sample 0.
        is_last: whether the track ends within or before this stretch; then it may be shorter than asked for.
        warnings: what is wrong with the stretch: DAMAGED, SOUND_GAP, RATE_CHANGES, TRUNCATED.
    """

    samples: np.ndarray
    rate: int
    start_s: float
    is_last: bool
    warnings: tuple[Notice, ...] = ()

    @property
    def duration_s(self) -> float:
        return len(self.samples) / self.rate

    @property
    def end_s(self) -> float:
        return self.start_s + self.duration_s
