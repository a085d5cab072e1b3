"""VBench-Long: a long clip is cut into scenes and pieces, each scored as a short clip; consistency also across pieces.

In: frames of a clip. Out: the positions of its pieces, and the fusion of consistency within pieces with consistency
between them. Scenes end where PySceneDetect's content detector (threshold 27) sees a cut; pieces are 2 s (10 s for
human_action, temporal_style and overall_consistency) and the last one of a scene reaches back to be as long as the
others. Meant for clips of 5 s and more. Letters: T frames.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cineloop.config import read_yaml
from cineloop.errors import MissingDependencyError, UsageError
from cineloop.video.frames import Frames
from v2t_eval.sample import Sample

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
        found = detector.process_frame(FrameTimecode(number, fps=frames.fps), small)
        cuts += [code.frame_num for code in found]
    return cuts


def pieces(num: int, piece: int, cuts: list[int] | tuple[int, ...] = ()) -> list[tuple[int, int]]:
    """(start, stop) of every piece of `piece` frames of a clip of T = `num` frames with new scenes at `cuts`.

    A scene shorter than a piece is one piece; a rest is filled up with frames before it.
    """
    edges = [0, *cuts, num]
    found = []
    for start, stop in zip(edges, edges[1:], strict=False):
        if stop - start < piece:
            found.append((start, stop))
            continue
        whole = list(range(start, stop - piece + 1, piece))
        found += [(at, at + piece) for at in whole]
        if whole[-1] + piece < stop:
            found.append((stop - piece, stop))
    return found


def sample_pieces(sample: Sample, piece_s: float, *, compat: bool) -> list[tuple[int, int]]:
    """Pieces of the sample's clip, computed once; the reference cuts the frame rate to whole numbers."""

    def make() -> list[tuple[int, int]]:
        frames = sample.frames
        piece = int(frames.fps) * piece_s if compat else frames.fps * piece_s
        return pieces(len(frames), max(1, round(piece)), scene_cuts(frames))

    return sample.shared(("pieces", piece_s, compat), make)


def read_mapping(path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """A quantile table from consistency between pieces to consistency within them: YAML of `score: mapped`, such as
    `subject_mapping_table.yaml` of VBench-Long. Returns two rising float arrays.

    Raises:
        UsageError: the file cannot be read or is not such a table.
    """
    table = read_yaml(Path(path))
    try:
        pairs = sorted((float(score), float(mapped)) for score, mapped in table.items())
    except (TypeError, ValueError) as error:
        raise UsageError(f"{path} must hold lines `score: mapped`, numbers both") from error
    if len(pairs) < 2:
        raise UsageError(f"{path} must hold at least two lines `score: mapped`")
    scores, mapped = (np.array(column) for column in zip(*pairs, strict=True))
    if (np.diff(mapped) < 0).any():
        raise UsageError(f"{path}: the mapped scores must not fall")
    return scores, mapped


def fuse(
    within: float, between: float | None, weights: tuple[float, float], table: tuple[np.ndarray, np.ndarray] | None
) -> float:
    """w_in * within + w_between * map(between), linear between the lines of `table`.

    `within` alone where there is nothing between pieces (None), or its mapped value is exactly 0, as the reference has
    it, and where the second weight is 0.
    """
    weight_within, weight_between = weights
    if weight_between == 0:
        return weight_within * within
    if between is None or table is None:
        return within
    mapped = float(np.interp(between, *table))
    return within if mapped == 0 else weight_within * within + weight_between * mapped
