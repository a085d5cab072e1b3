"""Scene cuts: where one shot of a film ends and the next begins.

In: an opened video and a window. Out: seconds of the first frame of every new shot; none for a film without cuts.
PySceneDetect's adaptive detector (BSD-3, the default of its command line) judges each frame by how much its colours
differ from the frame before, against the frames around it, so a fast camera is no cut. It is fed small frames one by
one: memory does not grow with the film. Dissolves and fades are no cuts to it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cineloop.errors import MissingDependencyError
from cineloop.video.canvas import Limits
from cineloop.video.open_file import Opened
from cineloop.video.sample import window

SHORTEST_SCENE_S = 0.6
_SIDE = 160  # pixels of the longer side the detector sees
_MOST_FPS = 30.0
_BEAT_S = 60.0  # film seconds after which the time limit restarts


def find_cuts(
    opened: Opened,
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
    detector, timecode = _detector()
    table = opened.table(limits, beat)
    first, stop = window(table.times_s, table.info.duration_s, start_s, end_s)
    scale = min(1.0, _SIDE / max(table.stored_size))
    height, width = (max(16, round(side * scale)) for side in table.stored_size)
    step = 1.0 / _MOST_FPS - 1e-6
    cuts: list[float] = []
    last_s = beaten_s = float(table.times_s[first]) - 2 * step
    for position, frame in opened.walk(table, threads).from_position(first):
        if position >= stop:
            break
        at_s = float(table.times_s[position])
        if at_s - beaten_s > _BEAT_S:
            beaten_s = at_s
            beat()
        if position < first or at_s - last_s < step:
            continue
        last_s = at_s
        small = frame.reformat(width=width, height=height, format="bgr24", interpolation="AREA").to_ndarray()
        found = detector.process_frame(timecode(position, table.info.fps), small)
        cuts += [float(table.times_s[code.frame_num]) for code in found]
    opened.source.check_unchanged()
    return cuts


def _detector() -> tuple[Any, Callable[[int, float], Any]]:
    try:
        from scenedetect.common import FrameTimecode
        from scenedetect.detectors import AdaptiveDetector
    except ImportError as error:
        raise MissingDependencyError(
            "finding scenes needs PySceneDetect", hint="pip install scenedetect-headless"
        ) from error
    return AdaptiveDetector(min_scene_len=SHORTEST_SCENE_S), lambda number, fps: FrameTimecode(number, fps=fps)
