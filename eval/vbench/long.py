"""VBench-Long: a long clip is cut into scenes and pieces, each scored as a short clip.

In: frames of a clip. Out: the positions of its pieces. Scenes end where
PySceneDetect's content detector (threshold 27) sees a cut; pieces are 2 s (10 s for human_action, temporal_style and
overall_consistency) and the last one of a scene reaches back to be as long as the others. Meant for clips of 5 s and
more. Letters: T frames.
"""

from __future__ import annotations

import numpy as np

from cineloop.errors import MissingDependencyError
from cineloop.video.frames import Frames
from v2t_eval.core.sample import Sample

PIECE_S, LONG_PIECE_S = 2.0, 10.0
LONG_FROM_S = 5.0
_THRESHOLD = 27.0
_LEAST_WIDTH = 256  # PySceneDetect halves, thirds ... wider frames down to about this


def scene_cuts(frames: Frames) -> list[int]:
    """Indices of the first frame of every new scene but the first; none for a clip without cuts.

    Raises:
        MissingDependencyError: PySceneDetect is not installed.
    """
    try:
        from scenedetect.common import FrameTimecode
        from scenedetect.detectors import ContentDetector
    except ImportError as error:
        raise MissingDependencyError(
            "cutting long clips needs PySceneDetect", hint="pip install scenedetect-headless"
        ) from error
    import cv2

    detector = ContentDetector(threshold=_THRESHOLD)
    height, width = frames.size
    factor = max(1, width // _LEAST_WIDTH)
    cuts: list[int] = []
    for number, frame in enumerate(frames.pixels):
        small = np.ascontiguousarray(frame[..., ::-1])  # BGR
        if factor > 1:
            small = cv2.resize(small, (width // factor, height // factor), interpolation=cv2.INTER_LINEAR)
        codes = detector.process_frame(FrameTimecode(number, fps=frames.fps), small)
        cuts += [code.frame_num for code in codes]
    return cuts


def pieces(num: int, piece: int, cuts: list[int] | tuple[int, ...] = ()) -> list[tuple[int, int]]:
    """(start, stop) of every piece of `piece` frames of a clip of T = `num` frames with new scenes at `cuts`.

    A scene shorter than a piece is one piece; a rest is filled up with frames before it.
    """
    edges = [0, *cuts, num]
    spans = []
    for start, stop in zip(edges, edges[1:], strict=False):
        if stop - start < piece:
            spans.append((start, stop))
            continue
        whole = list(range(start, stop - piece + 1, piece))
        spans += [(at, at + piece) for at in whole]
        if whole[-1] + piece < stop:
            spans.append((stop - piece, stop))
    return spans


def sample_pieces(sample: Sample, piece_s: float, *, compat: bool) -> list[tuple[int, int]]:
    """Pieces of the sample's clip, computed once; the reference cuts the frame rate to whole numbers."""

    def make() -> list[tuple[int, int]]:
        frames = sample.frames
        piece = int(frames.fps) * piece_s if compat else frames.fps * piece_s
        return pieces(len(frames), max(1, round(piece)), scene_cuts(frames))

    return sample.once(("pieces", piece_s, compat), make)


def is_long(sample: Sample) -> bool:
    """Whether VBench-Long would cut the clip."""
    return sample.frames.duration_s >= LONG_FROM_S
