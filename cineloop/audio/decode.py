"""The decoding of sound, in the pool's child: the container's tracks, and a stretch of one laid on the film's clock.

In: an open file. Out: JSON values and samples, for `cineloop.audio.read`. Samples stand where their presentation time
puts them; the resampler begins at a whole second before the stretch, so that its phase is the same wherever one begins.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from cineloop.audio.track import SoundTrack
from cineloop.errors import ItemError, Notice
from cineloop.video.limits import Limits
from cineloop.video.open_file import OpenFile
from cineloop.video.stream import open_container, packets_until_damage

_MARGIN_S = 1  # decoded before a stretch: codecs and the resampler need a moment to be exact
_JITTER_S = 0.01  # presentation times are rounded to milliseconds by some containers; smaller steps are no gaps
_COUNTED = ("aac", "ac3", "amr", "dts", "eac3", "mp3")  # FFmpeg's raw formats: their times are guessed from one rate
_BEAT_S = 60.0
_MOST_CHANNELS = 64


def tracks_job(opened: OpenFile, limits: Limits, **_: Any) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    """`tracks` as a job of `DecoderPool.submit_job`."""
    if opened.layout.is_image:
        return [], {}
    with open_container(opened.source, opened.layout) as container:
        return [track.record() for track in _tracks(container)], {}


def samples_job(
    opened: OpenFile,
    limits: Limits,
    *,
    start_s: float,
    end_s: float | None,
    track: int | None,
    rate: int | None,
    mono: bool,
    threads: int = 0,
    beat: Callable[[], None] = lambda: None,
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """`read` as a job of `DecoderPool.submit_job`."""
    name = opened.source.name
    if opened.layout.is_image:
        raise _no_sound(name, "a picture has none")
    with open_container(opened.source, opened.layout) as container:
        present = _tracks(container)
        if not present:
            kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
            raise _no_sound(name, f"it has {kinds} alone")
        if track is not None and track >= len(present):
            raise _no_sound(name, f"track {track} was asked for, it has {len(present)}")
        chosen = next(t for t in present if (t.is_default if track is None else t.number == track))
        _check_size(chosen, start_s, end_s, rate, mono, limits, name)
        stretch = _Stretch(container, chosen, start_s, end_s, rate or chosen.rate, mono)
        samples = stretch.read(limits, beat, name)
    warnings = [*stretch.warnings]
    if opened.layout.missing_bytes and stretch.is_last:
        text = f"{opened.layout.missing_bytes} bytes of the file are missing; the sound ends where the file does"
        warnings.append(Notice("TRUNCATED", text))
    opened.source.check_unchanged()
    plain = {"rate": stretch.rate, "start_s": start_s, "is_last": stretch.is_last}
    return {**plain, "warnings": [warning.record() for warning in warnings]}, {"samples": samples}


def _no_sound(name: str, why: str) -> ItemError:
    return ItemError(f"no track of sound in {name!r}: {why}", code="NO_AUDIO_STREAM")


def _streams(container: Any) -> list[Any]:
    return [s for s in container.streams.audio if s.codec_context is not None and s.codec_context.sample_rate]


def _zero_s(container: Any) -> float:
    """Second of the container's clock that is second 0 of the film."""
    import av.stream

    shown = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
    best = container.streams.best("video")
    picture = next((s for s in shown if best is not None and s.index == best.index), shown[0] if shown else None)
    starts = [float(s.start_time * s.time_base) for s in _streams(container) if s.start_time is not None]
    if picture is not None and picture.start_time is not None:
        return float(picture.start_time * picture.time_base)
    return min(starts, default=0.0)


def _tracks(container: Any) -> list[SoundTrack]:
    zero_s, streams = _zero_s(container), _streams(container)
    best = container.streams.best("audio")
    default = best.index if best is not None else -1
    if streams and default not in {stream.index for stream in streams}:
        default = streams[0].index
    out = []
    for number, stream in enumerate(streams):
        context = stream.codec_context
        promised = stream.duration * stream.time_base if stream.duration is not None else None
        if promised is None and container.duration:
            promised = container.duration / 1_000_000
        out.append(
            SoundTrack(
                number=number,
                codec=context.codec.canonical_name,
                rate=context.sample_rate,
                channels=context.layout.nb_channels,
                layout=context.layout.name,
                language=stream.metadata.get("language", "").replace("und", ""),
                title=stream.metadata.get("title", ""),
                start_s=float((stream.start_time or 0) * stream.time_base) - zero_s if stream.time_base else 0.0,
                duration_s=float(promised) if promised is not None else None,
                is_default=stream.index == default,
            )
        )
    return out


def _check_size(
    track: SoundTrack, start_s: float, end_s: float | None, rate: int | None, mono: bool, limits: Limits, name: str
) -> None:
    """Raises ItemError TOO_LONG, TOO_LARGE before anything is allocated."""
    if track.duration_s is not None and track.duration_s > limits.max_duration_s:
        text = f"{track.duration_s:.0f} s of sound, longer than the limit of {limits.max_duration_s:g} s: {name!r}"
        raise ItemError(text, code="TOO_LONG", hint="cut the file, or raise max_duration_s")
    until = track.start_s + (track.duration_s or 0.0)
    seconds = (until if end_s is None else end_s) - start_s
    size = 4.0 * seconds * (rate or track.rate) * (1 if mono else min(track.channels, _MOST_CHANNELS))
    if size > limits.memory_mb * (1 << 20) / 4:  # copied twice on its way
        text = f"{seconds:.0f} s of sound are {size / 1e6:.0f} MB in one piece, too much for memory_mb: {name!r}"
        raise ItemError(text, code="TOO_LARGE", hint="read it in blocks, or raise memory_mb")


@dataclass
class _Lost:
    """Seconds of a stretch without decoded sound, by reason."""

    damaged: int = 0  # packets
    gap_s: float = 0.0


class _Stretch:
    """One stretch of a track: decoded frames laid on the film's clock, then resampled.

    All positions are samples of the stored rate from `origin_s`, a whole second of the film before the stretch: so the
    resampler's phase is the same wherever a stretch begins.
    """

    def __init__(
        self, container: Any, track: SoundTrack, start_s: float, end_s: float | None, rate: int, mono: bool
    ) -> None:
        self.container, self.stream = container, _streams(container)[track.number]
        self.start_s, self.end_s, self.rate, self.mono = start_s, end_s, rate, mono
        self.zero_s = _zero_s(container)
        self.origin_s = math.floor(start_s) - _MARGIN_S
        self.is_last = True
        self.warnings: list[Notice] = []
        self._lost = _Lost()
        self._parts: list[np.ndarray] = []
        self._skip = round((start_s - self.origin_s) * rate)  # resampled samples before the stretch
        self._resampler: Any = None
        self._form: tuple[str, str, int] | None = None
        self._position = 0
        self._step = 1  # columns of an array for each sample
        self._waiting: list[np.ndarray] = []  # for the resampler, in the decoder's own format
        self._num_waiting = 0
        self._any = False
        self._is_counted = container.format.name in _COUNTED

    def read(self, limits: Limits, beat: Callable[[], None], name: str) -> np.ndarray:
        """float32 (S,) or (S, C)."""
        import av.error

        at_s = self.origin_s + self.zero_s
        with suppress(av.error.FFmpegError):  # no index: it stands at the start and reads from there
            self.container.seek(round(at_s / self.stream.time_base), stream=self.stream)
        beaten_s = at_s
        for packet in packets_until_damage(self.container, self.stream):
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                self._lost.damaged += 1
                continue
            for frame in frames:
                if not self._add(frame):
                    self.is_last = False
                    return self._finish()
                now_s = self.origin_s + self._position / frame.sample_rate
                if now_s > limits.max_duration_s:
                    text = f"the sound is longer than the limit of {limits.max_duration_s:g} s: {name!r}"
                    raise ItemError(text, code="TOO_LONG", hint="cut the file, or raise max_duration_s")
                if self.end_s is None and 4 * sum(map(np.size, self._parts)) > limits.memory_mb << 18:
                    text = f"the sound does not fit into memory_mb in one piece: {name!r}"
                    raise ItemError(text, code="TOO_LARGE", hint="read it in blocks, or raise memory_mb")
                if now_s + self.zero_s - beaten_s > _BEAT_S:
                    beaten_s = now_s + self.zero_s
                    beat()
        return self._finish()

    def _add(self, frame: Any) -> bool:
        """Lay a frame on the clock; False when it begins after the stretch."""
        form = (frame.format.name, frame.layout.name, frame.sample_rate)
        if form != self._form:
            self._begin(form)
        rate = frame.sample_rate
        position = self._position
        if frame.pts is not None:
            seconds = float(frame.pts * frame.time_base) - self.zero_s - self.origin_s
            position = round(seconds * rate)
            if self._any and (self._is_counted or abs(position - self._position) <= _JITTER_S * rate):
                position = self._position
        if self.end_s is not None and position >= (self.end_s - self.origin_s + _MARGIN_S) * rate:
            return False
        if position > self._position:
            if self._any:
                self._lost.gap_s += (position - self._position) / rate
            self._silence(position - self._position)
        overlap = self._position - position
        if overlap < frame.samples:
            data = frame.to_ndarray()  # (C, S) planar, (1, S * C) packed
            self._push(data[:, max(overlap, 0) * self._step :])
            self._any = True
        return True

    def _begin(self, form: tuple[str, str, int]) -> None:
        """A resampler for frames of this form, from where the clock stands."""
        import av

        if self._form is not None:
            self._flush()
            if form[2] != self._form[2]:
                self.warnings.append(Notice("RATE_CHANGES", f"the rate changes from {self._form[2]} to {form[2]} Hz"))
                self._position = round(self._position * form[2] / self._form[2])
        self._form = form
        form_of = av.AudioFormat(form[0])
        self._step = 1 if form_of.is_planar else av.AudioLayout(form[1]).nb_channels
        layout = "mono" if self.mono else form[1]
        self._resampler = av.AudioResampler(format="flt", layout=layout, rate=self.rate)

    def _silence(self, samples: int) -> None:
        """Zeros, in pieces of at most a second."""
        import av

        name, layout, rate = self._form  # type: ignore[misc]
        like = av.AudioFrame(format=name, layout=layout, samples=16).to_ndarray()
        while samples > 0:
            piece = min(samples, rate)
            shape = (like.shape[0], piece * self._step)
            self._push(np.full(shape, 128 if like.dtype == np.uint8 else 0, like.dtype))
            samples -= piece

    def _push(self, data: np.ndarray) -> None:
        self._waiting.append(data)
        num = data.shape[1] // self._step
        self._position += num
        self._num_waiting += num
        if self._num_waiting >= self._form[2] // 2:  # type: ignore[index]
            self._resample()

    def _resample(self) -> None:
        """Have the resampler do half a second in one piece: a call for each small frame costs more than decoding."""
        import av

        if not self._waiting:
            return
        name, layout, rate = self._form  # type: ignore[misc]
        data = np.ascontiguousarray(np.concatenate(self._waiting, axis=1))
        self._waiting, self._num_waiting = [], 0
        frame = av.AudioFrame.from_ndarray(data, format=name, layout=layout)
        frame.sample_rate = rate
        self._keep(self._resampler.resample(frame))

    def _flush(self) -> None:
        if self._resampler is not None:
            self._resample()
            self._keep(self._resampler.resample(None))
            self._resampler = None

    def _keep(self, frames: list[Any]) -> None:
        for frame in frames:
            channels = frame.layout.nb_channels
            samples = frame.to_ndarray().reshape(-1, channels)  # (S, C)
            drop = min(self._skip, len(samples))
            self._skip -= drop
            if drop < len(samples):
                self._parts.append(np.ascontiguousarray(samples[drop:]))

    def _finish(self) -> np.ndarray:
        self._flush()
        width = self._parts[0].shape[1] if self._parts else 1
        for number, part in enumerate(self._parts):
            if part.shape[1] != width:  # the layout changes within the stretch: all have the channels of the first
                self._parts[number] = np.repeat(part.mean(axis=1, keepdims=True), width, axis=1)
        samples = np.concatenate(self._parts) if self._parts else np.zeros((0, width), np.float32)
        if self.end_s is not None:
            most = round((self.end_s - self.start_s) * self.rate)
            if not self.is_last or len(samples) > most:
                self.is_last = self.is_last and len(samples) <= most
                samples = samples[:most]
        if self._lost.damaged:
            self.warnings.append(Notice("DAMAGED", f"{self._lost.damaged} packets of sound could not be decoded"))
        if self._lost.gap_s:
            self.warnings.append(Notice("SOUND_GAP", f"{self._lost.gap_s:.3f} s are missing and are read as silence"))
        return samples[:, 0] if self.mono else samples
