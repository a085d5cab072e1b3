"""A survey of a film: one pass over its frames, from which shots and faults are found by arithmetic alone.

In: an opened video and a window. Out: a `Survey`: the cuts, a few numbers and a thumbnail of each frame that was seen
(at most 30 a second), larger pictures of twelve a second, the sharpness and the dark borders of two, and samples of
motion. Frames are seen one by one; memory grows by 12 kB a second. Letters: N frames seen, G pictures, M frames looked
at closely, K samples of motion.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from cineloop.errors import ItemError
from cineloop.video.cuts import CutFinder, frames_between, small_size
from cineloop.video.info import VideoInfo
from cineloop.video.limits import Limits
from cineloop.video.open_file import OpenFile
from cineloop.video.pyav_walk import Walk
from cineloop.video.scaler import Scaler
from cineloop.video.stream import open_container
from v2t_eval.frames.flow import FLOW_HEIGHT, VECTOR_CODECS, Motion, of_pictures, of_vectors
from v2t_eval.frames.sharpness import common_size, laplacian_variance
from v2t_eval.frames.still import BLOCK, GREY_LEVELS

SURVEY_JOB = f"{__name__}:job"
VERSION = 2  # raised whenever the same file may get other values
THUMB = (9, 16)  # height, width
PICTURE = (18, 32)  # of the pictures, which are seen `PICTURE_FPS` times a second: of a frame that moves, a thumbnail
PICTURE_FPS = 12.0  # is too coarse to tell from one that dissolves
DARK = 16  # grey level, of 255, below which a border is dark
_STEP = 8  # grey levels between a bar and the picture beside it
_SUDDEN = 0.7  # of the light farther inside, reached at the edge of a bar
_BRIGHT = 0.99  # share of the pixels that are no brighter than `bright`
_CLOSE_S = 0.5  # between frames that are looked at closely
_MOTION_S = 0.25  # between samples of motion, of vectors; half of it for the dense flow would cost as much as decoding
_PAIR_S = 0.06  # the least step of a pair of frames for the dense flow


Sides = tuple[float, float, float, float]  # top, bottom, left, right


@dataclass(frozen=True, eq=False)
class Survey:
    """What was seen of a film.

    Attributes:
        info: the file; its path is empty, since the same bytes have many.
        cuts: seconds of the file at which a new shot begins.
        motion_by: "vectors" of the codec, "flow", or "" where nothing could be measured.
        times_s: float64 (N,) seconds of the file of each frame seen.
        thumbs: uint8 (N, 9, 16) grey.
        picture_s: float64 (G,) seconds of the pictures, 12 a second or every frame.
        pictures: uint8 (G, 18, 32) grey.
        bright: uint8 (N,) the grey level that 99 % of the picture does not exceed.
        still: bool (N,) whether the frame shows what the frame before showed, up to what a codec does to it.
        close_s: float64 (M,) seconds of the frames looked at closely.
        sharpness: float64 (M,) see `v2t_eval.frames.sharpness`.
        borders: float64 (M, 4) dark share of the picture at top, bottom (of the height), left, right (of the width).
        edges: float64 (M, 4) share of each border's length over which the picture begins at once beside it: 1 of a
            straight edge of a bright picture, little where the dark is a part of the scene.
        motion_s: float64 (K, 2) the two seconds between which motion was measured.
        motion: float64 (K, 3) see `v2t_eval.frames.flow.Motion`.
    """

    info: VideoInfo
    cuts: list[float]
    motion_by: str
    times_s: np.ndarray
    thumbs: np.ndarray
    picture_s: np.ndarray
    pictures: np.ndarray
    bright: np.ndarray
    still: np.ndarray
    close_s: np.ndarray
    sharpness: np.ndarray
    borders: np.ndarray
    edges: np.ndarray
    motion_s: np.ndarray
    motion: np.ndarray

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays by name."""
        return {
            name: value for each in fields(self) if isinstance(value := getattr(self, name := each.name), np.ndarray)
        }

    def plain(self) -> dict[str, Any]:
        """The rest as JSON values."""
        return {"info": self.info.record(), "cuts": self.cuts, "motion_by": self.motion_by}

    @classmethod
    def read(cls, plain: dict[str, Any], arrays: dict[str, np.ndarray]) -> Survey:
        """The survey of which `plain` and `arrays` were given. Raises TypeError, ValueError, KeyError."""
        return cls(VideoInfo.read(plain["info"], Path()), plain["cuts"], plain["motion_by"], **arrays)


def job(opened: OpenFile, limits: Limits, **given: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """`survey` as a job of `DecoderPool.submit_job`."""
    seen = survey(opened, limits, **given)
    return seen.plain(), seen.arrays()


def survey(
    opened: OpenFile,
    limits: Limits,
    *,
    start_s: float | None = None,
    end_s: float | None = None,
    threads: int = 0,
    beat: Callable[[], None] = lambda: None,
) -> Survey:
    """Survey the window of a file; arguments and errors as of `cineloop.video.cuts.find_cuts`, which misses dissolves
    and fades too: `Survey.thumbs` hold them. An image is a film of its frames.

    Raises:
        ItemError: also DECODE_ERROR, no frame of the window could be decoded.
    """
    info = opened.info(limits, beat)
    if opened.layout.is_image:
        seen = _Seen(info, (info.height, info.width), has_vectors=False)
        for at_s, frame in _of_image(opened, limits):
            seen.add(at_s, frame)
        return seen.survey()
    table = opened.table(limits, beat)
    has_vectors = info.codec in VECTOR_CODECS and not bool(table.is_key.all())
    seen = _Seen(info, table.stored_size, has_vectors=has_vectors)
    with open_container(opened.source, opened.layout) as container:
        walk = Walk(container, opened.layout, table, threads)
        if has_vectors:
            walk.stream.codec_context.options = {"flags2": "+export_mvs"}
        for at_s, frame in frames_between(table, walk, start_s, end_s, beat):
            seen.add(at_s, frame)
    opened.source.check_unchanged()
    return seen.survey()


def _of_image(opened: OpenFile, limits: Limits) -> Iterator[tuple[float, Any]]:
    import av

    from cineloop.video.images import read_frames, read_times

    times_s, _, info = read_times(opened.source, limits)
    frames: list[Any] = []
    if info.num_frames * info.width * info.height * 3 > 0.6 * (limits.memory_mb << 20):
        raise ItemError(f"the animation has {info.num_frames} frames, too many to hold", code="TOO_LARGE")
    read_frames(opened.source, range(len(times_s)), lambda _, rgb: frames.append(np.ascontiguousarray(rgb)))
    for at_s, rgb in zip(times_s, frames, strict=True):
        yield float(at_s), av.VideoFrame.from_ndarray(rgb, format="rgb24")


class _Seen:
    """The survey being made, frame by frame; used once."""

    def __init__(self, info: VideoInfo, stored: tuple[int, int], *, has_vectors: bool) -> None:
        self.info, self.has_vectors = info, has_vectors
        small, ratio = small_size(stored), FLOW_HEIGHT / stored[0]
        self.small, self.close = Scaler(small, "bgr24"), Scaler(common_size(*stored), "gray")
        self.grey = Scaler(None, "gray")
        self.flow = Scaler((FLOW_HEIGHT, max(32, round(stored[1] * ratio))), "gray")
        self.block = max(1, round(BLOCK * small[0] / stored[0]))  # of as many stored pixels as in `still.frozen`
        self.finder = CutFinder()
        self.anchor: np.ndarray | None = None
        self.rows: list[tuple[float, np.ndarray, int, bool]] = []
        self.pictures: list[tuple[float, np.ndarray]] = []
        self.closeups: list[tuple[float, float, tuple[float, ...], tuple[float, ...]]] = []
        self.motion: list[tuple[float, float, Motion]] = []
        self.reference_s: float | None = None  # of the last frame that a later one may point to
        self.first: tuple[float, np.ndarray] | None = None  # of a pair for the dense flow

    def add(self, at_s: float, frame: Any) -> None:
        """The next frame that is shown."""
        if self.has_vectors:
            self._vectors(at_s, frame)
        if not self.finder.is_due(at_s):
            return
        import cv2

        picture = self.small(frame)
        self.finder.add(at_s, picture)
        grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
        thumb = cv2.resize(grey, THUMB[::-1], interpolation=cv2.INTER_AREA)
        if not self.pictures or at_s >= self.pictures[-1][0] + 0.75 / PICTURE_FPS:
            self.pictures.append((at_s, cv2.resize(grey, PICTURE[::-1], interpolation=cv2.INTER_AREA)))
        levels = np.cumsum(np.bincount(grey.ravel(), minlength=256))
        bright = int(np.searchsorted(levels, _BRIGHT * levels[-1]))
        self.rows.append((at_s, thumb, bright, self._is_still(grey)))
        if not self.closeups or at_s - self.closeups[-1][0] >= _CLOSE_S - 1e-6:
            self._look(at_s, frame)
        if not self.has_vectors:
            self._flow(at_s, frame)

    def _is_still(self, grey: np.ndarray) -> bool:
        """Whether the picture is the one at which the picture last changed."""
        import cv2

        if self.anchor is not None:
            change = cv2.blur(cv2.absdiff(grey, self.anchor).astype(np.float32), (self.block, self.block))
            if float(change.max()) <= GREY_LEVELS:
                return True
        self.anchor = grey
        return False

    def _look(self, at_s: float, frame: Any) -> None:
        borders, edges = _borders(self.grey(frame))  # of (H, W) as stored
        self.closeups.append(
            (at_s, laplacian_variance(self.close(frame)), self._upright(borders), self._upright(edges))
        )

    def _upright(self, sides: Sides) -> Sides:
        """Top, bottom, left, right of the picture as it is shown."""
        top, bottom, left, right = sides
        for _ in range(self.info.rotation // 90):  # clockwise: the left side comes to the top
            top, bottom, left, right = left, right, bottom, top
        return (top, bottom, right, left) if self.info.mirrored else (top, bottom, left, right)

    def _vectors(self, at_s: float, frame: Any) -> None:
        """P frames alone: they point to the frame before that is no B frame, so that the step in time is known."""
        kind = int(frame.pict_type)
        if kind not in (1, 2):  # I, P
            return
        since_s, self.reference_s = self.reference_s, at_s
        if kind != 2 or since_s is None or (self.motion and at_s - self.motion[-1][1] < _MOTION_S):
            return
        vectors = frame.side_data.get("MOTION_VECTORS")
        motion = None if vectors is None else of_vectors(vectors.to_ndarray(), self.info.height, at_s - since_s)
        if motion is not None:
            self.motion.append((since_s, at_s, motion))

    def _flow(self, at_s: float, frame: Any) -> None:
        if self.first is None and self.motion and at_s - self.motion[-1][1] < 2 * _MOTION_S:
            return
        if self.first is not None and at_s - self.first[0] < _PAIR_S:
            return
        grey = self.flow(frame)
        if self.first is not None:
            since_s, before = self.first
            turned = self.info.height / self.info.width if self.info.rotation % 180 else 1.0
            motion = of_pictures(before, grey, at_s - since_s)
            self.motion.append((since_s, at_s, Motion(motion.camera / turned, motion.object / turned, motion.share)))
        self.first = (at_s, grey) if self.first is None else None

    def survey(self) -> Survey:
        """All that was seen."""
        if not self.rows:
            raise ItemError("no frame of the film could be decoded", code="DECODE_ERROR")
        times_s, thumbs, bright, still = zip(*self.rows, strict=True)
        by = ("vectors" if self.has_vectors else "flow") if self.motion else ""
        return Survey(
            info=self.info,
            cuts=self.finder.cuts,
            motion_by=by,
            times_s=np.array(times_s),
            thumbs=np.stack(thumbs),
            picture_s=np.array([at_s for at_s, _ in self.pictures]),
            pictures=np.stack([picture for _, picture in self.pictures]),
            bright=np.array(bright, dtype=np.uint8),
            still=np.array(still),
            close_s=np.array([closeup[0] for closeup in self.closeups]),
            sharpness=np.array([closeup[1] for closeup in self.closeups]),
            borders=np.array([closeup[2] for closeup in self.closeups]).reshape(-1, 4),
            edges=np.array([closeup[3] for closeup in self.closeups]).reshape(-1, 4),
            motion_s=np.array([each[:2] for each in self.motion]).reshape(-1, 2),
            motion=np.array([each[2] for each in self.motion]).reshape(-1, 3),
        )


def _borders(grey: np.ndarray) -> tuple[Sides, Sides]:
    """Shares of uint8 (H, W) at top, bottom, left and right whose rows or columns are dark but for 1 % of their pixels,
    1 of a dark picture; and `Survey.edges`."""
    lit = grey >= DARK  # (H, W)
    rows = np.flatnonzero(lit.mean(1) > 1 - _BRIGHT)
    columns = np.flatnonzero(lit[rows[0] : rows[-1] + 1].mean(0) > 1 - _BRIGHT) if len(rows) else rows
    if not len(columns):
        return (1.0, 1.0, 1.0, 1.0), (0.0, 0.0, 0.0, 0.0)
    height, width = grey.shape
    top, bottom, left, right = (int(n) for n in (rows[0], height - 1 - rows[-1], columns[0], width - 1 - columns[-1]))
    across, down = grey[:, left : width - right], grey[top : height - bottom].T
    edges = (_edge(across, top), _edge(across[::-1], bottom), _edge(down, left), _edge(down[::-1], right))
    return (top / height, bottom / height, left / width, right / width), edges


def _edge(picture: np.ndarray, size: int) -> float:
    """Share of the columns of uint8 (h, w) that begin right below `size` dark rows, and do not go on growing brighter
    as light that falls off does."""
    if not size:
        return 0.0
    reach = max(4, round(picture.shape[0] / 100))  # pixels; a codec smears an edge
    outside = picture[max(0, size - reach)].astype(np.int16)
    inside = picture[size : size + reach].max(0) - outside
    farther = picture[size + 2 * reach : size + 4 * reach]
    beyond = farther.mean(0) - outside if len(farther) else inside
    return float((inside >= np.maximum(_STEP, _SUDDEN * beyond)).mean())
