"""Scene cuts: where one shot of a film ends and the next begins.

In: an opened video and a window. Out: seconds of the first frame of every new shot; none for a film without cuts.
PySceneDetect's adaptive detector (BSD-3, the default of its command line) judges each frame by how much its colours
differ from the frame before, against the frames around it, so a fast camera is no cut. It is fed small frames one by
one: memory does not grow with the film. Dissolves and fades are no cuts to it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from cineloop.errors import MissingDependencyError
from cineloop.video.frame_index import FrameTable
from cineloop.video.limits import Limits
from cineloop.video.open_file import OpenFile
from cineloop.video.pyav_walk import Walk
from cineloop.video.sample import window
from cineloop.video.scaler import Scaler

SHORTEST_SCENE_S = 0.6
_SIDE = 160  # pixels of the longer side the detector sees
_MOST_FPS = 30.0
_TICKS = 1000  # a second
_TICKS_BACK = 8  # frames; the detector answers two frames late
_BEAT_S = 60.0  # film seconds after which the time limit restarts


def job(opened: OpenFile, limits: Limits, **given: Any) -> tuple[list[float], dict[str, np.ndarray]]:
    """`find_cuts` as a job of `DecoderPool.submit_job`."""
    return find_cuts(opened, limits, **given), {}


def find_cuts(
    opened: OpenFile,
    limits: Limits,
    *,
    start_s: float | None = None,
    end_s: float | None = None,
    threads: int = 0,
    beat: Callable[[], None] = lambda: None,
) -> list[float]:
    """Seconds of the file at which a new shot begins within the window, in order.

    Args:
        opened: the file; an image has no cuts.
        limits: refusals, as for decoding.
        start_s, end_s: the window in seconds of the file; None for all of it.
        threads: of the decoder, 0 for its own choice.
        beat: called after every minute of film.

    Raises:
        ItemError: as `DecoderPool.probe`, and NO_FRAMES for a window beyond the end.
        MissingDependencyError: PySceneDetect is not installed.
    """
    if opened.layout.is_image:
        return []
    table = opened.table(limits, beat)
    finder = CutFinder()
    scaled = Scaler(small_size(table.stored_size), "bgr24")
    for at_s, frame in frames_between(table, opened.walk(table, threads), start_s, end_s, beat):
        if finder.is_due(at_s):
            finder.add(at_s, scaled(frame))
    opened.source.check_unchanged()
    return finder.cuts


class CutFinder:
    """The detector, fed frame by frame; `cuts` are the seconds found so far.

    Raises:
        MissingDependencyError: PySceneDetect is not installed.
    """

    def __init__(self) -> None:
        try:
            from scenedetect.common import FrameTimecode
            from scenedetect.detectors import AdaptiveDetector
        except ImportError as error:
            raise MissingDependencyError(
                "finding scenes needs PySceneDetect", hint="pip install scenedetect-headless"
            ) from error
        self.cuts: list[float] = []
        self._detector = AdaptiveDetector(min_scene_len=SHORTEST_SCENE_S)
        self._code = FrameTimecode
        self._seconds: deque[tuple[int, float]] = deque(maxlen=_TICKS_BACK)

    def is_due(self, at_s: float) -> bool:
        """Whether the frame is seen: at most `_MOST_FPS` a second are."""
        return not self._seconds or at_s - self._seconds[-1][1] >= 1.0 / _MOST_FPS - 1e-6

    def add(self, at_s: float, picture: np.ndarray) -> None:
        """The next frame, uint8 (h, w, 3) BGR."""
        tick = round(at_s * _TICKS)  # true times: frame numbers would be wrong where the rate changes
        self._seconds.append((tick, at_s))
        for code in self._detector.process_frame(self._code(tick, fps=float(_TICKS)), picture):
            self.cuts.append(dict(self._seconds)[code.frame_num])


def small_size(stored: tuple[int, int]) -> tuple[int, int]:
    """(h, w) of the picture the detector sees, for a stored size."""
    scale = min(1.0, _SIDE / max(stored))
    height, width = (max(16, round(side * scale)) for side in stored)
    return height, width


def frames_between(
    table: FrameTable, walk: Walk, start_s: float | None, end_s: float | None, beat: Callable[[], None]
) -> Iterator[tuple[float, Any]]:
    """(second of the file, frame of PyAV) of each frame within the window; `beat` is called after every minute."""
    first, stop = window(table.times_s, table.info.duration_s, start_s, end_s)
    beaten_s = float(table.times_s[first])
    for position, frame in walk.from_position(first):
        if position >= stop:
            break
        at_s = float(table.times_s[position])
        if at_s - beaten_s > _BEAT_S:
            beaten_s = at_s
            beat()
        if position >= first:
            yield at_s, frame
