"""Reading frames with PyAV, by presentation time.

In: an `OpenFile` file, its `FrameTable` and positions. Out: upright RGB frames on a `Canvas`; the motion sampler's
energies.
Letters: M grid points.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cineloop.errors import Notice
from cineloop.video.canvas import Canvas, resize_picture
from cineloop.video.frame_index import FrameTable
from cineloop.video.open_file import OpenFile
from cineloop.video.pyav_walk import Walk
from cineloop.video.sample import SampleSpec, motion_energy, window
from cineloop.video.scaler import Scaler
from cineloop.video.stream import check_pixels, open_container

_NEAR = 16  # frames; decoding on is cheaper than seeking this little
_FAR = 2000  # frames; from the start of all but long films, where it would cost more the later the damage is
_MOTION_FPS, _MOTION_POINTS, _MOTION_SIZE = 8.0, 4096, (36, 64)


def read_pyav(opened: OpenFile, table: FrameTable, positions: list[int], canvas: Canvas, threads: int) -> list[Notice]:
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
        return [
            Notice("DAMAGED", f"{errors} packets could not be decoded, {damaged} frames were repaired by the decoder")
        ]
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
            # Never twice to the same place: where seeking lands too early that would never end.
            if not from_afar and walk.key_before(positions[wanted[at]]) > max(position + _NEAR, sought):
                jump = True
                break
        if not jump:
            return damaged
    return damaged


def _upright(frame: Any, table: FrameTable, canvas: Canvas) -> np.ndarray:
    check_pixels(frame.height, frame.width, canvas.limits.max_pixels, str(table.info.path))
    canvas.sizes.add((frame.height, frame.width))
    rgb = frame.to_ndarray(format="rgb24")  # (h, w, 3) as stored
    if table.info.rotation:
        rgb = np.rot90(rgb, k=-(table.info.rotation // 90))  # (H, W, 3) as shown
    if table.info.mirrored:
        rgb = rgb[:, ::-1]
    target = (table.info.height, table.info.width)
    if rgb.shape[:2] != target and rgb.shape[:2] != canvas.size:  # the size changed within the stream
        rgb = resize_picture(np.ascontiguousarray(rgb), target)
    return np.ascontiguousarray(rgb)


def motion_grid(opened: OpenFile, table: FrameTable, spec: SampleSpec, threads: int) -> tuple[np.ndarray, np.ndarray]:
    """(seconds (M,), change (M,)) over the window, from thumbnails at no more than 8 a second."""
    first, stop = window(table.times_s, table.info.duration_s, spec.start_s, spec.end_s)
    span = float(table.times_s[stop - 1] - table.times_s[first])
    step = max(1.0 / _MOTION_FPS, span / _MOTION_POINTS)
    scaled = Scaler(_MOTION_SIZE, "gray")
    times: list[float] = []
    thumbnails: list[np.ndarray] = []
    for position, frame in opened.walk(table, threads).from_position(first):
        if position >= stop:
            break
        at = float(table.times_s[position])
        if position < first or (times and at - times[-1] < step - 1e-6):
            continue
        times.append(at)
        thumbnails.append(scaled(frame))
    gray = np.stack(thumbnails) if thumbnails else np.zeros((0, *_MOTION_SIZE), np.uint8)  # (M, h, w)
    return np.array(times), motion_energy(gray)
