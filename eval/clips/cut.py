"""Cut a part of a film into an mp4 of its own, with its sound.

In: an opened video, a `Cut`. Out: the file, written to a path whose renaming is the caller's, and a `CutFile` that says
what is in it. Packets are copied where a key frame allows; otherwise H.264, yuv420p, with the times, colour tags and
pixel aspect of the source, turned as it is shown, cropped, with even sides (an odd last row or column is left out);
scaled and at a constant rate where that is asked for. The sound of a copy is copied where mp4 holds it, else it is AAC.
The same part gives the same bytes. Letters: H W size, N frames of the film, n frames of the part.
"""

from __future__ import annotations

import errno
import heapq
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
from v2t_eval.clips.faces import FaceBlur
from v2t_eval.clips.sound import sound_packets

VERSION = 1  # raised whenever the same part may get other bytes
_PICTURES = frozenset(("av1", "h264", "hevc", "mpeg4", "vp9"))  # codecs that are copied
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
        faces: path of a face detector, see `v2t_eval.clips.faces`; "" blurs nothing.
        fps: frames a second at a constant rate, each the film's frame nearest in time; None keeps the film's times.
        num_frames: exactly so many frames of that rate; None takes what the part holds.
        size: even (H, W) that the crop is scaled to, with square pixels; None scales nothing.
    """

    start_s: float
    end_s: float
    crop: Sequence[int] | None = None
    copy: bool = False
    faces: str = ""
    fps: float | None = None
    num_frames: int | None = None
    size: Sequence[int] | None = None

    @property
    def is_whole(self) -> bool:
        """Whether the picture stays as it is."""
        return not (self.crop or self.faces or self.fps or self.size)


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
            plan = _FramePlan(table, cut, first, stop)
            start_s, end_s = float(table.times_s[first]), plan.end_s
            out = stack.enter_context(
                av.open(target, "w", format="mp4", options={"movflags": "+faststart", "fflags": "+bitexact"})
            )
            if copied is not None:
                stream = out.add_stream_from_template(source, opaque=True)  # FFmpeg may have no encoder of its name
                video, size = _packet_copies(picture, table, stream, *copied), table.stored_size
            else:
                walk = Walk(picture, opened.layout, table, threads)
                video, size = _encode(out, walk, cut, plan, beat)
            offset_s = info.first_pts_s
            audio = sound_packets(out, sound, start_s + offset_s, end_s + offset_s, copy=copied is not None)
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
        start_s=start_s, end_s=end_s, height=size[0], width=size[1], num_frames=len(plan.positions),
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
    if not table.is_plain or table.pts is None or not cut.is_whole or info.rotation or info.mirrored or is_odd:
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


class _FramePlan:
    """Which frames of a film are written, int64 (n,) `positions`, and when and for how long each is shown, int64 (n,)
    `ticks` and `lasts` of `base`, from 0 on; `base` is None where it is the stream's own. [first, stop): the part."""

    def __init__(self, table: FrameTable, cut: Cut, first: int, stop: int) -> None:
        self.rate = Fraction(cut.fps or table.info.fps).limit_denominator(1001)
        self.base, self.fills = (1 / self.rate if cut.fps else None), cut.fps is not None
        self.end_s = _end_s(table, stop)
        if cut.fps is None:
            self.positions = np.arange(first, stop)
            return
        start_s, step_s = float(table.times_s[first]), float(1 / self.rate)
        num = cut.num_frames or max(1, round((self.end_s - start_s) / step_s))
        times_s = table.times_s[first:stop]
        middles = (times_s[1:] + times_s[:-1]) / 2
        self.positions = first + np.searchsorted(middles, start_s + np.arange(num) * step_s, side="left")
        self.ticks, self.lasts = np.arange(num), np.ones(num, dtype=np.int64)
        self.end_s = start_s + num * step_s

    def keep_times(self, table: FrameTable, base: Fraction) -> None:
        """Take `ticks` and `lasts` from the film, whose stream counts in `base`."""
        first, stop = int(self.positions[0]), int(self.positions[-1]) + 1
        own = np.rint((table.times_s - table.times_s[first]) / float(base)) if table.pts is None else table.pts
        end = round((table.info.duration_s - table.times_s[-1]) / base) + int(own[-1])
        after = np.append(own, end)[first + 1 : stop + 1]
        self.ticks, self.lasts = own[first:stop] - own[first], after - own[first:stop]


def _encode(
    out: Any, walk: Walk, cut: Cut, plan: _FramePlan, beat: Callable[[], None]
) -> tuple[Iterator[Any], tuple[int, int]]:
    """Packets of the planned frames, from time 0 on; (H, W)."""
    from av.video.reformatter import ColorRange

    info, given = walk.table.info, walk.stream.codec_context
    x, y, width, height = cut.crop or (0, 0, info.width, info.height)
    size = (min(height, info.height - y) // 2 * 2, min(width, info.width - x) // 2 * 2)
    if min(size) < 2:
        raise ItemError(f"a picture of {width}x{height} is too small to be written", code="ENCODE_ERROR")
    scaled = size if cut.size is None else (int(cut.size[0]), int(cut.size[1]))
    stream = out.add_stream("libx264", rate=plan.rate, options={"crf": "18", **X264})
    stream.width, stream.height, stream.pix_fmt = scaled[1], scaled[0], "yuv420p"
    to = stream.codec_context
    to.thread_count, to.time_base = 1, plan.base or walk.stream.time_base
    if plan.base is None:
        plan.keep_times(walk.table, to.time_base)
    aspect = Fraction(1 if cut.size else info.sample_aspect).limit_denominator(1000)
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
        if scaled == size:
            return _frame(parts)
        way = "AREA" if scaled < size else "LANCZOS"
        return _frame(parts).reformat(width=scaled[1], height=scaled[0], interpolation=way)

    return _packets(stream, walk, plan, display_crop, beat), scaled


def _frame(planes: list[np.ndarray]) -> Any:
    import av

    packed = np.concatenate([plane.reshape(-1) for plane in planes]).reshape(-1, planes[0].shape[1])
    return av.VideoFrame.from_ndarray(packed, format="yuv420p")


def _packets(
    stream: Any, walk: Walk, plan: _FramePlan, shown: Callable[[Any], Any], beat: Callable[[], None]
) -> Iterator[Any]:
    from av.bitstream import BitStreamFilterContext

    times_s, positions = walk.table.times_s, plan.positions.tolist()
    plain = BitStreamFilterContext(PLAIN, "h264")
    beaten_s, due = float(times_s[positions[0]]), 0
    new: Any = None

    def packets_of(number: int) -> Iterator[Any]:
        new.pts, new.time_base = int(plan.ticks[number]), stream.codec_context.time_base
        new.duration = int(plan.lasts[number])
        for packet in stream.encode(new):
            yield from plain.filter(packet)

    for position, frame in walk.from_position(positions[0]):
        if position > positions[-1]:
            break
        if position < positions[due]:
            continue
        if times_s[position] - beaten_s > _BEAT_S:
            beaten_s = float(times_s[position])
            beat()
        new = shown(frame)
        while due < len(positions) and positions[due] <= position:
            if positions[due] == position or plan.fills:  # a frame that cannot be decoded leaves no gap in a rate
                yield from packets_of(due)
            due += 1
        if due == len(positions):
            break
    if new is None:
        raise ItemError("no frame of the part could be decoded", code="DECODE_ERROR")
    for number in range(due, len(positions) if plan.fills else due):
        yield from packets_of(number)
    for packet in stream.encode(None):
        yield from plain.filter(packet)
    yield from plain.filter(None)
