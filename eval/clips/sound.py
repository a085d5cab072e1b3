"""The sound of a part of a film: packets copied, or encoded as AAC, mono or stereo.

In: the written container, the film's container, seconds of it. Out: packets, from time 0 on.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np

from cineloop.video.stream import packets_until_damage

_CODECS = frozenset(("aac", "ac3", "alac", "eac3", "flac", "mp3", "opus"))
_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)  # of AAC


def sound_packets(out: Any, container: Any, start_s: float, end_s: float, *, copy: bool) -> Iterator[Any]:
    """Packets of the sound between two seconds of the container, from time 0 on; none where there is no sound."""
    source = container.streams.best("audio")
    if source is None or source.codec_context is None or not source.codec_context.sample_rate:
        return iter(())
    container.seek(int(start_s / source.time_base), stream=source)
    if copy and source.codec_context.codec.canonical_name in _CODECS:
        return _copied_sound(container, source, out.add_stream_from_template(source, opaque=True), start_s, end_s)
    rate = source.codec_context.sample_rate
    stream = out.add_stream("aac", rate=rate if rate in _RATES else 48000)
    stream.codec_context.layout = "mono" if source.codec_context.layout.nb_channels == 1 else "stereo"
    return _encoded_sound(container, source, stream, start_s, end_s)


def _copied_sound(container: Any, source: Any, stream: Any, start_s: float, end_s: float) -> Iterator[Any]:
    first = round(start_s / source.time_base)
    for packet in packets_until_damage(container, source):
        if not packet.size or packet.pts is None or packet.pts < first:
            continue
        if packet.pts * source.time_base >= end_s:
            return
        packet.pts, packet.dts = packet.pts - first, packet.pts - first
        packet.stream = stream
        yield packet


def _encoded_sound(container: Any, source: Any, stream: Any, start_s: float, end_s: float) -> Iterator[Any]:
    import av

    to = stream.codec_context
    rate = to.sample_rate
    resampler = av.AudioResampler(format="fltp", layout=to.layout.name, rate=rate)
    for frame in _resample(container, source, resampler):
        if frame.pts is None:
            continue
        at = round((float(frame.pts * frame.time_base) - start_s) * rate)
        if at >= round((end_s - start_s) * rate):
            break
        samples = frame.to_ndarray()[:, max(0, -at) : max(0, round((end_s - start_s) * rate) - at)]
        if not samples.shape[1]:
            continue
        part = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="fltp", layout=to.layout.name)
        part.sample_rate, part.pts, part.time_base = rate, max(0, at), Fraction(1, rate)
        yield from stream.encode(part)
    yield from stream.encode(None)


def _resample(container: Any, source: Any, resampler: Any) -> Iterator[Any]:
    import av.error

    for packet in itertools.chain(packets_until_damage(container, source)):
        try:
            frames = packet.decode()
        except av.error.FFmpegError:  # damaged sound is no reason to lose the picture
            continue
        for frame in frames:
            yield from resampler.resample(frame)
