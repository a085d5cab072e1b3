"""Every frame's presentation time, from the packets themselves.

In: an open `VideoSource`. Out: a `FrameTable` of all frames in the order they are shown, for the decoders, with the
`VideoInfo` made from it. Packets are read (PyAV), nothing is decoded but, where a track may be turned, its first frame.
Letters: N frames of the file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from cineloop.errors import ItemError, Notice
from cineloop.video.container import Layout, VideoSource, as_path
from cineloop.video.info import VideoInfo
from cineloop.video.limits import Limits
from cineloop.video.stream import check_pixels, default_stream, open_container, packets_until_damage

_LONGEST_LAST_FRAME_S = 3600.0
_BEAT_S = 600.0
_HDR = {16: "PQ", 18: "HLG"}


@dataclass(frozen=True)
class FrameTable:
    """All frames of one video stream, in the order they are shown; positions never leave `cineloop.video`.

    Attributes:
        info: the summary for others.
        times_s: float64 (N,) strictly increasing, first 0.
        pts: int64 (N,) in stream units, or None when the container has no presentation times: then frame i is simply
            the i-th that a decoder gives.
        dts: int64 (N,) where to seek to for a frame (its own place in decoding order).
        is_key: bool (N,).
        stream: index of the video stream.
        is_plain: whether counting frames from any intra frame is exact: closed groups of pictures, every packet shown
            exactly once, one codec configuration. decord addresses frames by such counting.
        stored_size: (H, W) before rotation.
    """

    info: VideoInfo
    times_s: np.ndarray
    pts: np.ndarray | None
    dts: np.ndarray
    is_key: np.ndarray
    stream: int
    is_plain: bool
    stored_size: tuple[int, int]


def read_table(
    source: VideoSource, layout: Layout, limits: Limits, beat: Callable[[], None] = lambda: None
) -> FrameTable:
    """Every frame of the default video stream; `beat` is called every ten film minutes.

    Raises:
        ItemError: NOT_MEDIA, NO_INDEX, NO_VIDEO_STREAM, NO_FRAMES, TRUNCATED (nothing usable before the cut), TOO_LARGE
            (a frame beyond max_pixels), TOO_LONG, CODEC_UNAVAILABLE, DECODE_ERROR.
    """
    check_pixels(*layout.size, limits.max_pixels, source.name)
    with open_container(source, layout) as container:
        stream = default_stream(container, source, layout)
        height, width = stream.codec_context.height, stream.codec_context.width
        check_pixels(height, width, limits.max_pixels, source.name)
        packets = _Packets(container, stream, layout, limits.max_duration_s, source.name, beat)
        if not packets.rows:
            code = "TRUNCATED" if layout.missing_bytes else "NO_FRAMES"
            raise ItemError(f"the video stream holds no frame: {source.name!r}", code=code)
        rotation, mirrored = 0, False
        if layout.may_be_turned or height < 1:
            height, width, rotation, mirrored = _first_frame(container, stream, packets, source)
            check_pixels(height, width, limits.max_pixels, source.name)
        if height < 1 or width < 1:
            raise ItemError(
                f"no frame of {source.name!r} could be decoded, its size stays unknown", code="DECODE_ERROR"
            )
        return packets.table(source, layout, (height, width), rotation, mirrored)


def quarter_turns(matrix: bytes) -> tuple[int, bool]:
    """Display matrix (nine native int32 of FFmpeg) → (degrees clockwise, mirrored after that).

    The shown frame is the stored one rotated, then mirrored left to right if so; skews and odd angles are taken as the
    nearest quarter turn.
    """
    a, b, _, c, d = np.frombuffer(matrix[:36], dtype=np.int32)[:5].astype(np.float64)
    mirrored = a * d - b * c < 0
    if mirrored:  # take the mirror (x → -x on screen) off first
        a, c = -a, -c
    clockwise = np.degrees(np.arctan2(b, a))
    return int(round(clockwise / 90.0)) * 90 % 360, bool(mirrored)


def _first_frame(container: Any, stream: Any, packets: _Packets, source: VideoSource) -> tuple[int, int, int, bool]:
    """(H, W, rotation, mirrored) of the first frame that decodes; (stored size, 0, False) when none does."""
    import av.error

    container.seek(packets.first_dts, stream=stream)
    tried = 0
    for packet in container.demux(stream):
        try:
            frames = packet.decode()
        except av.error.FFmpegError:
            frames = []
        for frame in frames:
            for data in frame.side_data:
                if data.type.name == "DISPLAYMATRIX":
                    return frame.height, frame.width, *quarter_turns(bytes(data))
            return frame.height, frame.width, 0, False
        tried += 1
        if tried > 100:
            break
    return stream.codec_context.height, stream.codec_context.width, 0, False


class _Packets:
    """The packets of one stream: (pts, dts, duration, key) each, and what was odd about them."""

    def __init__(
        self,
        container: Any,
        stream: Any,
        layout: Layout,
        max_duration_s: float,
        name: str,
        beat: Callable[[], None],
    ) -> None:
        self.stream = stream
        self.container_name = container.format.name.split(",")[0]
        self.base: Fraction = stream.time_base or Fraction(1, 1000)
        self.rows: list[tuple[int | None, int | None, int, bool]] = []
        self.cut = self.hidden = self.reconfigured = 0
        longest = max_duration_s / float(self.base)
        start: int | None = None
        per_beat, next_beat = _BEAT_S / float(self.base), _BEAT_S / float(self.base)
        for packet in packets_until_damage(container, stream):
            if packet.size == 0:
                continue
            if layout.missing_bytes and packet.is_corrupt:
                self.cut += 1
                continue
            if packet.is_discard:  # an edit list hides it; decoders drop it
                self.hidden += 1
                continue
            if self.rows and packet.has_sidedata("new_extradata"):
                self.reconfigured += 1
            at = packet.pts if packet.pts is not None else packet.dts
            if at is not None:
                start = at if start is None else min(start, at)
                if at - start > longest:
                    seconds = (at - start) * float(self.base)
                    raise ItemError(
                        f"the video lasts at least {seconds:.0f} s, the limit is {max_duration_s:.0f} s: {name!r}",
                        code="TOO_LONG",
                        hint="give a window (start_s, end_s) of a shorter file, or raise max_duration_s",
                    )
            if at is not None and start is not None and at - start > next_beat:
                next_beat = at - start + per_beat
                beat()
            self.rows.append((packet.pts, packet.dts, packet.duration or 0, packet.is_keyframe))

    @property
    def first_dts(self) -> int:
        pts, dts = self.rows[0][:2]
        return dts if dts is not None else pts if pts is not None else 0

    def table(
        self, source: VideoSource, layout: Layout, stored: tuple[int, int], rotation: int, mirrored: bool
    ) -> FrameTable:
        """Sort into the order of showing, and compare with what the container claims."""
        warnings: list[Notice] = []
        pts = [row[0] for row in self.rows]
        seek = (dts if dts is not None else i if pts is None else pts for i, (pts, dts, *_) in enumerate(self.rows))
        dts = np.fromiter(seek, dtype=np.int64, count=len(self.rows))
        is_key = np.array([row[3] for row in self.rows])
        lengths = np.array([row[2] for row in self.rows], dtype=np.int64)
        timed = all(value is not None for value in pts)
        if timed:
            shown = np.array(pts, dtype=np.int64)
        elif all(row[1] is not None for row in self.rows):
            shown = np.sort(dts)  # decoding times are those of showing, but for a constant delay
        else:
            rate = self.stream.average_rate or self.stream.guessed_rate or Fraction(25)
            step = max(1, round(1 / (rate * self.base)))
            shown = np.arange(len(pts), dtype=np.int64) * step
            warnings.append(
                Notice("TIMES_ASSUMED", f"the file has no times; {float(rate):.3f} frames per second are assumed")
            )
        order = np.argsort(shown, kind="stable")
        in_order = shown[order]
        fresh = np.concatenate([[True], np.diff(in_order) > 0])
        if not fresh.all():
            lost = int((~fresh).sum())
            warnings.append(Notice("TIMES_REPEATED", f"{lost} frames share another's time and are left out"))
        kept = order[fresh]
        times_s = (shown[kept] - shown[kept[0]]) * float(self.base)
        duration_s = float(times_s[-1]) + self._last_length(times_s, int(lengths[kept[-1]]), warnings)
        plain = timed and bool(fresh.all()) and not (self.cut or self.hidden or self.reconfigured)
        plain = plain and bool(is_key[0]) and _closed_groups(shown, is_key)
        warnings += self._claims(layout)
        height, width = stored if rotation % 180 == 0 else stored[::-1]
        aspect = self.stream.sample_aspect_ratio
        info = VideoInfo(
            path=as_path(source.path),
            duration_s=duration_s,
            # n frames span n - 1 steps: the true mean rate, and 23.976 stays 23.976 whatever the header says
            fps=(len(times_s) - 1) / float(times_s[-1]) if len(times_s) > 1 else 1.0 / duration_s,
            num_frames=len(times_s),
            width=width,
            height=height,
            rotation=rotation,
            mirrored=mirrored,
            codec=self.stream.codec_context.codec.canonical_name,
            container=self.container_name,
            sample_aspect=float(aspect) if aspect else 1.0,
            keyframe_times_s=tuple(float(t) for t in times_s[is_key[kept]]),
            first_pts_s=float(shown[kept[0]] * self.base) if timed else 0.0,
            warnings=tuple(warnings),
        )
        return FrameTable(
            info=info,
            times_s=times_s,
            pts=shown[kept] if timed else None,
            dts=dts[kept],
            is_key=is_key[kept],
            stream=self.stream.index,
            is_plain=plain,
            stored_size=stored,
        )

    def _last_length(self, times_s: np.ndarray, ticks: int, warnings: list[Notice]) -> float:
        """Seconds the last frame stays: its own packet's, else the usual step, else a twenty-fifth of a second."""
        length = ticks * float(self.base)
        if length > _LONGEST_LAST_FRAME_S:
            warnings.append(
                Notice("IMPLAUSIBLE_DURATION", f"the last frame claims {length:.0f} s; the usual step is taken")
            )
            length = 0.0
        if length > 0:
            return length
        if len(times_s) > 1:
            return float(np.median(np.diff(times_s)))
        rate = self.stream.average_rate
        return 1.0 / float(rate) if rate and 0.1 <= rate <= 1000 else 0.04

    def _claims(self, layout: Layout) -> list[Notice]:
        warnings = []
        claimed, there = self.stream.frames, len(self.rows) + self.hidden
        if layout.missing_bytes or self.cut:
            claim = f" of {claimed}" if claimed > there else ""
            warnings.append(
                Notice(
                    "TRUNCATED", f"{layout.missing_bytes} bytes are missing at the end; {there}{claim} frames are there"
                )
            )
        elif claimed and claimed != there:
            warnings.append(Notice("FRAME_COUNT", f"the container claims {claimed} frames, {there} are there"))
        transfer = getattr(self.stream.codec_context, "color_trc", 0)
        if transfer in _HDR:
            warnings.append(
                Notice("HDR_NOT_TONEMAPPED", f"{_HDR[transfer]} video is read without tone mapping and looks pale")
            )
        return warnings


def _closed_groups(shown: np.ndarray, is_key: np.ndarray) -> bool:
    """Whether no frame behind an intra frame in decoding order is shown before it (times (N,) in decoding order)."""
    earliest_after = np.minimum.accumulate(shown[::-1])[::-1]  # (N,) earliest time from here on
    latest_before = np.concatenate([[np.iinfo(np.int64).min], np.maximum.accumulate(shown)[:-1]])
    return bool((earliest_after[is_key] == shown[is_key]).all() and (latest_before[is_key] < shown[is_key]).all())
