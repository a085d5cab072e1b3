"""Footage: what is truly in the file of a clip, every frame decoded, beside what its container claims.

In: a path, a `DecoderPool`. Out: `Footage`, made in a child of the pool. Letters: N frames that can be decoded.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cineloop.errors import ItemError
from cineloop.video.info import VideoInfo
from cineloop.video.limits import Limits
from cineloop.video.open_file import OpenFile
from cineloop.video.pyav_walk import Walk
from cineloop.video.stream import open_container
from cineloop.video.worker import DecoderPool

VERSION = 1  # raised whenever the same file may get other values
_BEAT_S = 10.0
_STEP_SHARE = 0.25  # of the usual step, beyond which a step is another one


@dataclass(frozen=True, eq=False)
class Footage:
    """A clip.

    Attributes:
        info: the file as it is shown; its path is empty.
        times_s: float64 (N,) seconds of the frames that were decoded.
        claimed_frames, claimed_fps: of the container, 0 where it says nothing.
        stored_size: (width, height) before it is turned.
        first_stream: (width, height) of the first video stream, where players show another one; else None.
    """

    info: VideoInfo
    times_s: np.ndarray
    claimed_frames: int
    claimed_fps: float
    stored_size: tuple[int, int]
    first_stream: tuple[int, int] | None = None

    @property
    def num_frames(self) -> int:
        return len(self.times_s)

    @property
    def trainer_fps(self) -> float:
        """The rate that a trainer reads: the container's mean, else the true one."""
        return self.claimed_fps or self.info.fps

    @property
    def trainer_frames(self) -> int:
        """The count that a trainer reads where it does not decode: the container's, else the true one."""
        return self.claimed_frames or self.num_frames

    @property
    def varying_share(self) -> float:
        """Share of the steps between frames that are not the usual one, 0 of a constant rate."""
        steps = np.diff(self.times_s)
        if len(steps) < 2:
            return 0.0
        usual = float(np.median(steps))
        return float((np.abs(steps - usual) > _STEP_SHARE * usual).mean())


def submit_footage(pool: DecoderPool, path: Path | str) -> Future[Footage]:
    """A future of the footage of a file. Raises as `DecoderPool.submit_job` does."""
    return pool.submit_job(path, f"{__name__}:job", {}, read_footage)


def as_plain(footage: Footage) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The values of which `read_footage` makes the footage again."""
    plain = {
        "info": footage.info.record(),
        "claimed_frames": footage.claimed_frames,
        "claimed_fps": footage.claimed_fps,
        "stored_size": list(footage.stored_size),
        "first_stream": None if footage.first_stream is None else list(footage.first_stream),
    }
    return plain, {"times_s": footage.times_s}


def read_footage(plain: dict[str, Any], arrays: dict[str, np.ndarray]) -> Footage:
    """The footage of which `job` made values. Raises TypeError, ValueError, KeyError."""
    width, height = map(int, plain["stored_size"])
    first = None if plain["first_stream"] is None else (int(plain["first_stream"][0]), int(plain["first_stream"][1]))
    info = VideoInfo.read(plain["info"], Path())
    claims = int(plain["claimed_frames"]), float(plain["claimed_fps"])
    return Footage(info, np.asarray(arrays["times_s"], dtype=np.float64), *claims, (width, height), first)


def job(
    opened: OpenFile, limits: Limits, *, threads: int = 0, beat: Callable[[], None] = lambda: None
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Decode every frame and keep its time.

    Raises:
        ItemError: as `DecoderPool.probe`; DECODE_ERROR, no frame can be decoded.
    """
    info = opened.info(limits, beat)
    if opened.layout.is_image:
        raise ItemError("a picture or an animation is no clip for a trainer of videos", code="NOT_VIDEO")
    table = opened.table(limits, beat)
    positions, beaten_s = list[int](), 0.0
    with open_container(opened.source, opened.layout) as container:
        walk = Walk(container, opened.layout, table, threads)
        claimed, rate = walk.stream.frames, walk.stream.average_rate
        first = container.streams.video[0]
        other = None if first.index == table.stream else [first.width, first.height]
        for position, _ in walk.from_position(0):
            positions.append(position)
            if table.times_s[position] - beaten_s > _BEAT_S:
                beaten_s = float(table.times_s[position])
                beat()
    opened.source.check_unchanged()
    if not positions:
        raise ItemError("no frame can be decoded", code="DECODE_ERROR")
    height, width = table.stored_size
    plain = {
        "info": info.record(),
        "claimed_frames": int(claimed or 0),
        "claimed_fps": float(rate or 0),
        "stored_size": [width, height],
        "first_stream": other,
    }
    return plain, {"times_s": table.times_s[np.unique(positions)]}
