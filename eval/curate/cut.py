"""Cut a part of a film into an mp4 of its own, with its sound.

In: an opened video, a `Cut`. Out: the file, written to a path whose renaming is the caller's, and a `CutFile` that says
what is in it. Packets are copied where a key frame allows; otherwise H.264, yuv420p, with the times, colour tags and
pixel aspect of the source, turned as it is shown, cropped, with even sides (an odd last row or column is left out).
The sound of a copy is copied where mp4 holds it, else it is AAC. The same part gives the same bytes.
Letters: H W size, N frames of the film.
"""

from __future__ import annotations

import errno
import heapq
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from cineloop.errors import ItemError
from cineloop.video.encode import PLAIN, X264
from cineloop.video.frame_index import FrameTable
from cineloop.video.limits import Limits
from cineloop.video.open_file import OpenFile
from cineloop.video.pyav_walk import Walk
from cineloop.video.sample import window
from cineloop.video.stream import open_container, packets_until_damage
from cineloop.video.worker import DecoderPool
from v2t_eval.curate.faces import FaceBlur

VERSION = 1  # raised whenever the same part may get other bytes
_PICTURES = frozenset(("av1", "h264", "hevc", "mpeg4", "vp9"))  # codecs that are copied
_SOUNDS = frozenset(("aac", "ac3", "alac", "eac3", "flac", "mp3", "opus"))
_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)  # of AAC
_SNAP_S = 0.5  # what a copy may lack at each end
_BEAT_S = 1.0  # film seconds after which the time limit restarts: writing is slower than reading


@dataclass(frozen=True, kw_only=True)
class Cut:
    """What to cut out.

    Attributes:
        start_s, end_s: seconds of the film.
        crop: x, y, width, height within the picture as it is shown, even numbers; None takes all of it.
        copy: copy the packets where a key frame comes within half a second of the start and nothing is to be cropped,
            turned or blurred; the copy begins there, and may end up to half a second early.
        faces: path of a face detector, see `v2t_eval.curate.faces`; "" blurs nothing.
    """

    start_s: float
    end_s: float
    crop: Sequence[int] | None = None
    copy: bool = False
    faces: str = ""


@dataclass(frozen=True, kw_only=True)
class CutFile:
    """What was written; `start_s`, `end_s` are seconds of the film."""

    start_s: float
    end_s: float
    width: int
    height: int
    num_frames: int
    copied: bool
    has_sound: bool


def submit_cut(pool: DecoderPool, film: Path, target: Path, cut: Cut) -> Future[CutFile]:
    """A future of the part, written to `target` by a child of the pool. Raises as `DecoderPool.submit_job` does; also
    DISK_FULL."""
    given = {"target": os.fsencode(os.path.abspath(target)).decode("latin-1"), "cut": asdict(cut)}
    return pool.submit_job(film, f"{__name__}:job", given, lambda plain, _: CutFile(**plain))


def job(
    opened: OpenFile, limits: Limits, *, target: str, cut: dict[str, Any], **more: Any
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """`write_cut` as a job of `DecoderPool.submit_job`."""
    return asdict(write_cut(opened, limits, os.fsdecode(target.encode("latin-1")), Cut(**cut), **more)), {}


def write_cut(
    opened: OpenFile,
    limits: Limits,
    target: str,
    cut: Cut,
    *,
    threads: int = 0,
    beat: Callable[[], None] = lambda: None,
) -> CutFile:
    """Write the part to `target`.

    Args:
        opened: the film.
        limits: refusals, as for decoding.
        target: path of the mp4; an error leaves a torn file there.
        cut: the part.
        threads: of the decoder, 0 for its own choice. The encoder has one, which gives the same bytes everywhere.
        beat: called after every second of film.

    Raises:
        ItemError: as `DecoderPool.probe`; NO_FRAMES, it is a picture or ends before the part; DISK_FULL; ENCODE_ERROR.
    """
    import av

    if opened.layout.is_image:
        raise ItemError("a picture has no part to cut out", code="NO_FRAMES")
    table = opened.table(limits, beat)
    info = table.info
    try:
        with ExitStack() as stack:
            picture, sound = (stack.enter_context(open_container(opened.source, opened.layout)) for _ in range(2))
            source = picture.streams[table.stream]
            copied = _copied_span(sound, table, cut) if cut.copy else None
            first, stop = window(table.times_s, info.duration_s, cut.start_s, cut.end_s)
            if copied is not None:
                first, stop = copied[0], copied[0] + len(copied[1])
            start_s, end_s = float(table.times_s[first]), _end_s(table, stop)
            out = stack.enter_context(
                av.open(target, "w", format="mp4", options={"movflags": "+faststart", "fflags": "+bitexact"})
            )
            if copied is not None:
                stream = out.add_stream_from_template(source, opaque=True)  # FFmpeg may have no encoder of its name
                video, size = _packet_copies(picture, table, stream, *copied), table.stored_size
            else:
                walk = Walk(picture, opened.layout, table, threads)
                video, size = _encode(out, walk, cut, first, stop, beat)
            offset_s = info.first_pts_s
            audio = _sound(out, sound, start_s + offset_s, end_s + offset_s, copy=copied is not None)
            has_sound = False
            for packet in heapq.merge(video, audio, key=_second):
                has_sound = has_sound or packet.stream_index > 0
                out.mux(packet)
        opened.source.check_unchanged()
    except OSError as error:  # FFmpeg's errors of input and output are such
        code = "DISK_FULL" if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else "ENCODE_ERROR"
        raise ItemError(f"cannot write {target!r}: {error}", code=code) from error
    except ValueError as error:  # as PyAV calls invalid data and arguments
        raise ItemError(f"cannot write {target!r}: {error}", code="ENCODE_ERROR") from error
    return CutFile(
        start_s=start_s, end_s=end_s, height=size[0], width=size[1], num_frames=stop - first,
        copied=copied is not None, has_sound=has_sound,
    )  # fmt: skip


def _second(packet: Any) -> float:
    return float(packet.dts * packet.time_base)


def _end_s(table: FrameTable, stop: int) -> float:
    """When the frame before `stop` ends."""
    return float(table.times_s[stop]) if stop < len(table.times_s) else table.info.duration_s


# ---- the picture, copied


def _copied_span(picture: Any, table: FrameTable, cut: Cut) -> tuple[int, list[int]] | None:
    """The first frame of a copy of a part, and the times of all of them in the order of decoding, in ticks of the
    stream; None where the part must be encoded."""
    times, info = table.times_s, table.info
    is_odd = any(side % 2 for side in table.stored_size)
    if not table.is_plain or table.pts is None or cut.crop or cut.faces or info.rotation or info.mirrored or is_odd:
        return None
    if info.codec not in _PICTURES:
        return None
    asked, stop = window(times, info.duration_s, cut.start_s, cut.end_s)
    keys = np.flatnonzero(table.is_key[asked:stop]) + asked
    if not len(keys) or times[keys[0]] - times[asked] > _SNAP_S:
        return None
    first = int(keys[0])
    # In the order of decoding up to the first frame beyond the end: all that is needed to show these is among them.
    ticks = [packet.pts for packet in _from(picture, table, first, stop)]
    if sorted(ticks) != table.pts[first : first + len(ticks)].tolist():
        return None
    lacking_s = _end_s(table, stop) - _end_s(table, first + len(ticks))
    return (first, ticks) if ticks and lacking_s <= _SNAP_S else None


def _from(picture: Any, table: FrameTable, key: int, stop: int) -> Iterator[Any]:
    """Packets from a key frame on, in the order of decoding, up to the first one that is not shown before `stop`."""
    pts: Any = table.pts
    source, first, place = picture.streams[table.stream], int(pts[key]), int(table.dts[key])
    for seek in (first, place, int(table.dts[0])):  # as in `Walk`: a transport stream may land behind what is asked
        picture.seek(seek, stream=source)
        begun = False
        for packet in packets_until_damage(picture, source):
            begun = begun or (packet.pts == first and packet.is_keyframe)
            if not begun and packet.dts is not None and packet.dts > place:
                break
            if not begun or not packet.size or packet.pts is None or packet.pts < first:
                continue
            if stop < len(pts) and packet.pts >= pts[stop]:
                return
            yield packet
        if begun:
            return


def _packet_copies(picture: Any, table: FrameTable, stream: Any, key: int, ticks: list[int]) -> Iterator[Any]:
    """The packets of a copy, from time 0 on."""
    first, shown = ticks[0], sorted(ticks)
    late = max(at - own for at, own in zip(shown, ticks, strict=True))  # Matroska has no decoding times: all are made
    for packet, at in zip(_from(picture, table, key, key + len(ticks)), shown, strict=True):
        packet.pts, packet.dts, packet.stream = packet.pts - first, at - first - late, stream
        yield packet


# ---- the picture, encoded


def _encode(
    out: Any, walk: Walk, cut: Cut, first: int, stop: int, beat: Callable[[], None]
) -> tuple[Iterator[Any], tuple[int, int]]:
    """Packets of the frames [first, stop), from time 0 on; (H, W)."""
    from av.video.reformatter import ColorRange

    info, given = walk.table.info, walk.stream.codec_context
    x, y, width, height = cut.crop or (0, 0, info.width, info.height)
    size = (min(height, info.height - y) // 2 * 2, min(width, info.width - x) // 2 * 2)
    if min(size) < 2:
        raise ItemError(f"a picture of {width}x{height} is too small to be written", code="ENCODE_ERROR")
    stream = out.add_stream("libx264", rate=Fraction(info.fps).limit_denominator(1001), options={"crf": "18", **X264})
    stream.width, stream.height, stream.pix_fmt = size[1], size[0], "yuv420p"
    to = stream.codec_context
    to.thread_count, to.time_base = 1, walk.stream.time_base
    aspect = Fraction(info.sample_aspect).limit_denominator(1000)
    to.sample_aspect_ratio = 1 / aspect if info.rotation % 180 else aspect
    is_rgb = given.format is not None and given.format.is_rgb
    for tag in ("colorspace", "color_primaries", "color_trc"):
        setattr(to, tag, 1 if is_rgb else getattr(given, tag))
    is_full = not is_rgb and (given.color_range == ColorRange.JPEG or str(given.pix_fmt).startswith("yuvj"))
    to.color_range = ColorRange.JPEG if is_full else ColorRange.MPEG

    faces = FaceBlur(cut.faces) if cut.faces else None

    def display_crop(frame: Any) -> Any:
        """The frame as it is shown, cropped."""
        if is_rgb:
            frame = frame.reformat(format="yuv420p", dst_colorspace=1, dst_color_range=to.color_range)
        elif frame.format.name not in ("yuv420p", "yuvj420p"):
            frame = frame.reformat(format="yuv420p", src_color_range=to.color_range, dst_color_range=to.color_range)
        parts = []
        for number, plane in enumerate(frame.planes):
            array = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]
            array = np.rot90(array, -info.rotation // 90)
            array = array[:, ::-1] if info.mirrored else array
            part = 2 if number else 1
            top, left = y // part, x // part
            parts.append(array[top : top + size[0] // part, left : left + size[1] // part].copy())
        if faces is not None:
            faces.blur(_frame(parts).to_ndarray(format="bgr24"), parts)
        return _frame(parts)

    return _packets(stream, walk, first, stop, display_crop, beat), size


def _frame(planes: list[np.ndarray]) -> Any:
    import av

    packed = np.concatenate([plane.reshape(-1) for plane in planes]).reshape(-1, planes[0].shape[1])
    return av.VideoFrame.from_ndarray(packed, format="yuv420p")


def _packets(
    stream: Any, walk: Walk, first: int, stop: int, shown: Callable[[Any], Any], beat: Callable[[], None]
) -> Iterator[Any]:
    from av.bitstream import BitStreamFilterContext

    table, base = walk.table, stream.codec_context.time_base
    ticks = np.rint((table.times_s - table.times_s[first]) / float(base)) if table.pts is None else table.pts
    end = round((table.info.duration_s - table.times_s[-1]) / base) + int(ticks[-1])
    plain = BitStreamFilterContext(PLAIN, "h264")
    beaten_s = float(table.times_s[first])
    count = 0
    for position, frame in walk.from_position(first):
        if position >= stop:
            break
        if position < first:
            continue
        if table.times_s[position] - beaten_s > _BEAT_S:
            beaten_s = float(table.times_s[position])
            beat()
        after = int(ticks[position + 1]) if position + 1 < len(ticks) else end
        new = shown(frame)
        new.pts, new.time_base = int(ticks[position] - ticks[first]), base
        new.duration = after - int(ticks[position])
        count += 1
        for packet in stream.encode(new):
            yield from plain.filter(packet)
    if not count:
        raise ItemError("no frame of the part could be decoded", code="DECODE_ERROR")
    for packet in stream.encode(None):
        yield from plain.filter(packet)
    yield from plain.filter(None)


# ---- the sound


def _sound(out: Any, container: Any, start_s: float, end_s: float, *, copy: bool) -> Iterator[Any]:
    """Packets of the sound between two seconds of the container, from time 0 on; none where there is no sound."""
    source = container.streams.best("audio")
    if source is None or source.codec_context is None or not source.codec_context.sample_rate:
        return iter(())
    container.seek(int(start_s / source.time_base), stream=source)
    if copy and source.codec_context.codec.canonical_name in _SOUNDS:
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
