"""Reading frames with PyAV, by presentation time: seek to an intra frame, decode forward, match each frame's time.

In: an `Opened` file, its `Table` and positions. Out: upright RGB frames on a `Canvas`; the motion sampler's energies.
Letters: M grid points.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from cineloop.video.canvas import Canvas, resized
from cineloop.video.container import Layout
from cineloop.video.frame_index import Table
from cineloop.video.sample import SampleSpec, motion_energy, window
from cineloop.video.stream import check_pixels, demuxed, open_container

if TYPE_CHECKING:
    from cineloop.video.open_file import Opened

_NEAR = 16  # frames; decoding on is cheaper than seeking this little
_FAR = 2000  # frames; from the start of all but long films, where it would cost more the later the damage is
_MOTION_FPS, _MOTION_POINTS, _MOTION_SIZE = 8.0, 4096, (36, 64)


class Walk:
    """Decode one stream forward from any frame, saying which frame of the table each one is."""

    def __init__(self, container: Any, layout: Layout, table: Table, threads: int) -> None:
        self.container, self.table, self.threads = container, table, threads
        self.stream = container.streams[table.stream]
        self.stream.thread_type = "AUTO"
        self.stream.codec_context.thread_count = threads
        self.keys = np.flatnonzero(table.is_key).tolist()
        self.fresh = True
        self.errors = 0
        self.is_cut = layout.missing_bytes > 0

    def key_before(self, position: int) -> int:
        """The last intra frame at or before a frame; 0 where there is none or frames have no times to seek by."""
        found = bisect_right(self.keys, position) - 1
        return self.keys[found] if found >= 0 and self.table.pts is not None else 0

    def from_position(self, position: int) -> Iterator[tuple[int, Any]]:
        """(position, frame) in the order of showing, from the intra frame at or before `position`."""
        key = self.key_before(position)
        if self.fresh and key == 0:
            self.fresh = False
            yield from self._placed()
            return
        self.fresh = False
        for place in self._places(key):
            self.container.seek(place, stream=self.stream)
            frames = self._placed()
            first = next(frames, None)
            if first is not None and first[0] <= position:
                break
        if first is not None:
            yield first
            yield from frames

    def _placed(self) -> Iterator[tuple[int, Any]]:
        """(position, frame) from where the container stands; frames the table does not know are left out."""
        pts = self.table.pts
        for count, frame in enumerate(self._decoded()):
            if pts is None:
                if count < len(self.table.times_s):
                    yield count, frame
            elif frame.pts is not None:
                at = int(np.searchsorted(pts, frame.pts))
                if at < len(pts) and pts[at] == frame.pts:
                    yield at, frame

    def _decoded(self) -> Iterator[Any]:
        """Frames as they come out, those the decoder still holds at the end (or the cut) included."""
        import av.error

        for packet in demuxed(self.container, self.stream):
            if packet.size == 0 or (self.is_cut and packet.is_corrupt):
                continue
            try:
                yield from packet.decode()
            except av.error.FFmpegError:
                self.errors += 1
        try:
            yield from self.stream.codec_context.decode(None)
        except av.error.FFmpegError:  # nothing was held
            return

    def _places(self, key: int) -> list[int]:
        """Where to seek to for an intra frame, best first: landing behind it would lose frames.

        Most containers, mp4 in newer FFmpeg among them, are indexed by presentation time; mp4 in older ones is indexed
        by decoding time, which where it is not lands one intra frame too early.
        """
        table = self.table
        shown = [] if table.pts is None else [int(table.pts[key])]
        return list(dict.fromkeys([*shown, int(table.dts[key]), int(table.dts[0])]))


def read_pyav(opened: Opened, table: Table, positions: list[int], canvas: Canvas, threads: int) -> list[str]:
    """Put the frames at `positions` on `canvas`; returns warnings. What cannot be read stays absent there."""
    walk = opened.walk(table, threads)
    walk.errors = 0
    damaged = _walk_through(walk, positions, list(range(len(positions))), canvas, from_afar=False)
    errors = walk.errors
    # A second time when frames are missing, from far before and on one thread: seeking in damaged files lands
    # elsewhere, and an error on one of several threads takes good frames of the others with it.
    wanted = [i for i in range(len(positions)) if not canvas.there[i]]
    if wanted:
        with open_container(opened.source, opened.layout) as container:
            walk = Walk(container, opened.layout, table, 1)
            damaged += _walk_through(walk, positions, wanted, canvas, from_afar=True)
            errors = walk.errors
    if errors or damaged:
        return [f"DAMAGED: {errors} packets could not be decoded, {damaged} frames were repaired by the decoder"]
    return []


def _walk_through(walk: Walk, positions: list[int], wanted: list[int], canvas: Canvas, *, from_afar: bool) -> int:
    """Put the wanted frames on the canvas; returns how many the decoder marked as damaged."""
    at = damaged = 0
    while at < len(wanted):
        start = max(0, positions[wanted[at]] - (_FAR if from_afar else 0))
        sought, jump = walk.key_before(start), False
        for position, frame in walk.from_position(start):
            while at < len(wanted) and positions[wanted[at]] < position:
                at += 1  # passed without being seen
            if at < len(wanted) and positions[wanted[at]] == position:
                damaged += bool(frame.is_corrupt)
                canvas.put(wanted[at], _upright(frame, walk.table, canvas))
                at += 1
            if at == len(wanted):
                return damaged
            # Never twice to the same place: where seeking lands too early that would go on for ever.
            if not from_afar and walk.key_before(positions[wanted[at]]) > max(position + _NEAR, sought):
                jump = True
                break
        if not jump:
            return damaged
    return damaged


def _upright(frame: Any, table: Table, canvas: Canvas) -> np.ndarray:
    check_pixels(frame.height, frame.width, canvas.limits.max_pixels, str(table.info.path))
    canvas.sizes.add((frame.height, frame.width))
    rgb = frame.to_ndarray(format="rgb24")  # (h, w, 3) as stored
    if table.info.rotation:
        rgb = np.rot90(rgb, k=-(table.info.rotation // 90))  # (H, W, 3) as shown
    if table.info.mirrored:
        rgb = rgb[:, ::-1]
    target = (table.info.height, table.info.width)
    if rgb.shape[:2] != target and rgb.shape[:2] != canvas.size:  # the size changed within the stream
        rgb = resized(np.ascontiguousarray(rgb), target)
    return np.ascontiguousarray(rgb)


def motion_grid(opened: Opened, table: Table, spec: SampleSpec, threads: int) -> tuple[np.ndarray, np.ndarray]:
    """(seconds (M,), change (M,)) over the window, from thumbnails at no more than 8 a second."""
    first, stop = window(table.times_s, table.info.duration_s, spec.start_s, spec.end_s)
    span = float(table.times_s[stop - 1] - table.times_s[first])
    step = max(1.0 / _MOTION_FPS, span / _MOTION_POINTS)
    height, width = _MOTION_SIZE
    times: list[float] = []
    thumbnails: list[np.ndarray] = []
    for position, frame in opened.walk(table, threads).from_position(first):
        if position >= stop:
            break
        at = float(table.times_s[position])
        if position < first or (times and at - times[-1] < step - 1e-6):
            continue
        small = frame.reformat(width=width, height=height, format="gray", interpolation="AREA")
        times.append(at)
        thumbnails.append(small.to_ndarray())
    gray = np.stack(thumbnails) if thumbnails else np.zeros((0, height, width), np.uint8)  # (M, h, w)
    return np.array(times), motion_energy(gray)
