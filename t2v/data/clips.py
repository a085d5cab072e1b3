"""Clips of a training set as pixels: measured, put into buckets, decoded at one rate, cut to their bucket's shape.

In: items of `t2v.data.layouts`. Out: `ClipWindow`s (which window of which item in which bucket), a table of the
buckets, and pixels. Decoding happens in killable children (`cineloop.video.worker`), rotation and pixel aspect are
applied. Frame i of a sample is what is on screen i / fps seconds behind its start. A clip is made to cover its bucket,
keeping its shape, and the overhang is cut equally on both sides. Letters: T frames, H W pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from cineloop.errors import ItemError, UsageError
from cineloop.log import logger, printable
from cineloop.video.info import VideoInfo
from cineloop.video.sample import SampleSpec, positions_at
from cineloop.video.worker import DecoderPool
from t2v.data.buckets import Assignment, Bucket, BucketConfig, Extent, assign, cover_scale
from t2v.data.layouts import Item

READING = 1  # counts up when the pixels of a sample change, so that caches know
_TICK = 1e-6  # seconds; container times are rounded


@dataclass(frozen=True)
class ClipWindow:
    """One training clip: T / fps seconds of an item from `start_s` on (seconds of the file), in its bucket's shape."""

    item: Item
    extent: Extent
    bucket: Bucket
    start_s: float


@dataclass(frozen=True)
class PreparedSet:
    """The samples of a set; positions in `assignment` are those of the measured items, in `members` of the samples."""

    samples: list[ClipWindow]
    assignment: Assignment
    members: dict[Bucket, list[int]]


def prepare(
    items: Sequence[Item],
    config: BucketConfig,
    *,
    fps: float,
    window: Literal["first", "middle", "all"] = "first",
    on_bad: Literal["stop", "skip"] = "stop",
    pool: DecoderPool,
) -> PreparedSet:
    """Measure every item and choose its bucket and window.

    Args:
        fps: rate of the training clips.
        window: of a clip longer than its bucket, take the first part, the middle one, or all parts, each a sample.
        on_bad: stop at files that cannot be read (all are named), or leave them out with a warning.

    Raises:
        UsageError: files that cannot be read, or too many clips fit no bucket.
    """
    if not fps > 0:
        raise UsageError(f"fps must be above 0, got {fps}")
    kept, extents = _measure(items, fps, on_bad, pool)
    assignment = assign(extents, config)
    samples: list[ClipWindow] = []
    members: dict[Bucket, list[int]] = {}
    for bucket, positions in assignment.members.items():
        members[bucket] = []
        for position in positions:
            for start_s in _starts(kept[position], extents[position], bucket, fps, window):
                members[bucket].append(len(samples))
                samples.append(ClipWindow(kept[position], extents[position], bucket, start_s))
    return PreparedSet(samples, assignment, members)


def extent_of(item: Item, info: VideoInfo, fps: float) -> Extent:
    """Frames at `fps` of the item's window (1 for an image), height and width as it is shown.

    Raises:
        ItemError: NO_FRAMES, the window starts behind the end of the file.
    """
    aspect = info.sample_aspect if info.rotation in (0, 180) else 1 / info.sample_aspect
    width = max(1, round(info.width * aspect))
    if info.container == "image" and info.num_frames == 1:
        return Extent(1, info.height, width)
    start_s, end_s = item.start_s or 0.0, min(info.duration_s, item.end_s or math.inf)
    if start_s >= end_s:
        raise ItemError(f"its window starts at {start_s:g} s, the file ends at {info.duration_s:g} s", code="NO_FRAMES")
    # As many multiples of 1 / fps as lie within the window: each of these frames is on screen.
    return Extent(max(1, math.ceil((end_s - start_s) * fps - _TICK * fps)), info.height, width)


def read_pixels(sample: ClipWindow, fps: float, pool: DecoderPool) -> np.ndarray:
    """The sample's frames: uint8 (T, H, W, 3), RGB.

    Raises:
        ItemError: the file cannot be read (any more).
    """
    bucket, extent = sample.bucket, sample.extent
    scale = cover_scale(extent, (bucket.height, bucket.width))
    size = (max(bucket.height, round(extent.height * scale)), max(bucket.width, round(extent.width * scale)))
    length = bucket.num_frames
    spec = SampleSpec(sampler="fps", fps=fps, max_frames=length + 1)
    if extent.num_frames > 1:
        end_s = sample.start_s + length / fps
        spec = SampleSpec(sampler="fps", fps=fps, max_frames=length + 1, start_s=sample.start_s, end_s=end_s)
    frames = pool.decode(sample.item.path, spec, size)
    shown = positions_at(frames.relative_times_s, np.arange(length) / fps)
    top, left = (size[0] - bucket.height) // 2, (size[1] - bucket.width) // 2
    return frames.pixels[shown, top : top + bucket.height, left : left + bucket.width]  # (T, H, W, 3)


def _measure(items: Sequence[Item], fps: float, on_bad: str, pool: DecoderPool) -> tuple[list[Item], list[Extent]]:
    waiting = [pool.submit_probe(item.path) for item in items]
    kept, extents, bad = [], [], []
    for item, info in zip(items, waiting, strict=True):
        try:
            extents.append(extent_of(item, info.result(), fps))
            kept.append(item)
        except ItemError as error:
            bad.append(f"{printable(str(item.path))}: {error.code}, {error.message}")
    tell_bad(bad, len(items), on_bad)
    return kept, extents


def tell_bad(bad: Sequence[str], total: int, on_bad: str) -> None:
    """Say which clips cannot be read.

    Raises:
        UsageError: there are some, and `on_bad` is stop; or nothing is left.
    """
    if not bad:
        return
    message = f"{len(bad)} of {total} clips cannot be read: {'; '.join(bad)}"
    if on_bad == "stop" or len(bad) == total:
        raise UsageError(message, code="LAYOUT", hint="mend or remove them, or leave them out with on_bad: skip")
    logger.warning("left out: %s", message)


def _starts(item: Item, extent: Extent, bucket: Bucket, fps: float, window: str) -> list[float]:
    first = item.start_s or 0.0
    parts = extent.num_frames // bucket.num_frames
    if window == "all":
        return [first + part * bucket.num_frames / fps for part in range(parts)]
    spare = extent.num_frames - bucket.num_frames if window == "middle" else 0
    return [first + spare // 2 / fps]
