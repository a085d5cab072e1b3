"""Buckets: clips of one size and length together, so that a batch is one tensor; nothing is dropped silently.

In: what each clip holds (frames at the training rate, height, width), the buckets a user wants. Out: the bucket of each
clip, a table of how full each is and what was left out for which reason, and batches of one bucket as a pure function
of the sample number (`cineloop.training.loader`), so that a resumed run meets the same clips.
A clip goes to the size that shows most of its picture, of sizes alike in that to the largest, but to none that would
blow it up too far; and to the longest length it fills. Letters: T frames, H W pixels.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from cineloop.errors import UsageError
from cineloop.log import logger

_ALIKE = 0.05  # sizes whose share of the picture differs by less are of one aspect ratio: 480×832 and 720×1280


class Bucket(NamedTuple):
    """T, H, W of the clips of a bucket."""

    num_frames: int
    height: int
    width: int

    def tokens(self) -> int:
        """A measure of what one clip of it costs: latent cells at 4 × 8 × 8."""
        return (1 + (self.num_frames - 1) // 4) * (self.height // 8) * (self.width // 8)

    def __str__(self) -> str:
        return f"{self.num_frames}×{self.height}×{self.width}"


@dataclass(frozen=True, kw_only=True)
class BucketConfig:
    """The buckets.

    Args:
        sizes: (height, width) pairs, multiples of `size_step`.
        lengths: frames, each k·`frame_step` + 1; 1 is a bucket of images.
        frame_step, size_step: the model's rule (4 and 16 for Wan and our own; 8 and 32 for LTX).
        max_upscale: how far a clip may be blown up to fill its bucket, ≥ 1.
        max_dropped: share of clips in [0, 1] that may be left out; above it is an error.
        equal_tokens: fill batches of small buckets with more clips, so that every batch costs about the same.

    Raises:
        ValueError: a size or length that breaks the rule, or a number out of range.
    """

    sizes: tuple[tuple[int, int], ...] = ((64, 64),)
    lengths: tuple[int, ...] = (17,)
    frame_step: int = 4
    size_step: int = 16
    max_upscale: float = 1.5
    max_dropped: float = 0.05
    equal_tokens: bool = False

    def __post_init__(self) -> None:
        if not self.sizes or not self.lengths or min(self.frame_step, self.size_step) < 1:
            raise ValueError("sizes and lengths must not be empty, frame_step and size_step at least 1")
        for side in (side for size in self.sizes for side in size):
            if side < 1 or side % self.size_step:
                raise ValueError(f"sizes must be multiples of {self.size_step}, got {side}")
        for length in self.lengths:
            if length < 1 or (length - 1) % self.frame_step:
                near = 1 + max(0, round((length - 1) / self.frame_step)) * self.frame_step
                raise ValueError(f"lengths must be {self.frame_step}k + 1, got {length} (nearest: {near})")
        if self.max_upscale < 1 or not 0 <= self.max_dropped <= 1:
            raise ValueError("max_upscale must be at least 1 and max_dropped in [0, 1]")

    def buckets(self) -> list[Bucket]:
        """Every length with every size, short ones first."""
        return [Bucket(length, *size) for length in sorted(set(self.lengths)) for size in dict.fromkeys(self.sizes)]


class Extent(NamedTuple):
    """What a clip holds: frames at the training rate (1 for an image), height, width."""

    num_frames: int
    height: int
    width: int


@dataclass(frozen=True)
class Assignment:
    """`extents` of all clips; `members`: bucket (or empty) → positions of its clips; `dropped`: position → reason."""

    extents: Sequence[Extent]
    members: Mapping[Bucket, list[int]]
    dropped: Mapping[int, str]

    def table(self, batch_size: int = 1, *, equal_tokens: bool = False) -> str:
        """The table to print: clips of each bucket, how much of them is seen, what a step takes; what is left out.

        Args:
            batch_size: of the run.
            equal_tokens: as in the config.
        """
        total = max(1, len(self.extents))
        rows: list[tuple[str, ...]] = [
            ("bucket (T×H×W)", "clips", "share", "picture seen", "time seen", "clips a step", "steps a pass")
        ]
        shares = clips_per_sample([bucket for bucket, clips in self.members.items() if clips], equal_tokens)
        for bucket, clips in sorted(self.members.items()):
            step = batch_size * shares.get(bucket, 1)
            kept = [
                (_visible_share(self.extents[n], bucket), bucket.num_frames / self.extents[n].num_frames) for n in clips
            ]
            seen = [f"{sum(column) / len(clips):.0%}" for column in zip(*kept, strict=True)] if clips else ["", ""]
            fill = f"{len(clips) / step:.2f}" if clips else "empty"
            rows.append((str(bucket), str(len(clips)), f"{len(clips) / total:.1%}", *seen, str(step), fill))
        for reason, count in Counter(self.dropped.values()).most_common():
            rows.append((f"dropped: {reason}", str(count), f"{count / total:.1%}", "", "", "", ""))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])] for row in rows)
        return "\n".join("  ".join(line).rstrip() for line in lines)


def assign(extents: Sequence[Extent], config: BucketConfig) -> Assignment:
    """The bucket of every clip.

    Raises:
        UsageError: more than `max_dropped` of the clips fit nowhere; the message says why, the log holds the table.
    """
    members: dict[Bucket, list[int]] = {bucket: [] for bucket in config.buckets()}
    dropped: dict[int, str] = {}
    for position, extent in enumerate(extents):
        place = _place(extent, config)
        if isinstance(place, Bucket):
            members[place].append(position)
        else:
            dropped[position] = place
    result = Assignment(extents, members, dropped)
    if len(dropped) > config.max_dropped * len(extents) or len(dropped) == len(extents):
        logger.info("%s", result.table())
        reasons = "; ".join(f"{count} {reason}" for reason, count in Counter(dropped.values()).most_common())
        raise UsageError(
            f"{len(dropped)} of {len(extents)} clips fit no bucket, allowed are {config.max_dropped:.1%}: {reasons}",
            code="DROPPED",
            hint="add shorter lengths (1 for images) or smaller sizes, or raise max_upscale or max_dropped",
        )
    return result


def _place(extent: Extent, config: BucketConfig) -> Bucket | str:
    fitting = [length for length in config.lengths if length <= extent.num_frames]
    if not fitting:
        what = "an image" if extent.num_frames == 1 else "too short"
        return f"{what}, and the shortest bucket has {min(config.lengths)} frames"
    large_enough = [size for size in config.sizes if cover_scale(extent, size) <= config.max_upscale + 1e-9]
    if not large_enough:
        return f"too small: every size would blow it up more than {config.max_upscale:g} times"
    best = max(_visible_share(extent, Bucket(1, *size)) for size in large_enough)
    alike = [size for size in large_enough if _visible_share(extent, Bucket(1, *size)) >= best - _ALIKE]
    return Bucket(max(fitting), *max(alike, key=lambda size: size[0] * size[1]))


def _visible_share(extent: Extent, bucket: Bucket) -> float:
    """Share of a clip's picture that its bucket shows after covering it and cutting the overhang."""
    return math.exp(-abs(math.log(bucket.width / bucket.height) - math.log(extent.width / extent.height)))


def cover_scale(extent: Extent, size: tuple[int, int]) -> float:
    """How many times larger the clip must be shown to cover `size` (H, W)."""
    return max(size[0] / extent.height, size[1] / extent.width)


def clips_per_sample(buckets: Sequence[Bucket], equal_tokens: bool) -> dict[Bucket, int]:
    """How many clips stand for one sample of the loop: 1, or as many as make up the tokens of the largest bucket."""
    most = max((bucket.tokens() for bucket in buckets), default=1)
    return {bucket: max(1, most // bucket.tokens()) if equal_tokens else 1 for bucket in buckets}


@dataclass(frozen=True)
class BucketBatches:
    """Which clips stand in which sample: a pure function, picklable.

    Each bucket is an endless stream of its clips, reshuffled each pass; a step takes the next clips of one bucket.
    Over e passes bucket b gets ⌊e·clips_b / clips of a step⌋ steps, so every clip is seen equally often and none is
    dropped or doubled to fill a batch.

    Args:
        members: bucket → positions of its clips; empty buckets are passed over.
        batch_size: samples of one step over all processes, as in the loop.
        seed: of the orders.
        equal_tokens: see `BucketConfig`.

    Raises:
        UsageError: there is no clip.
    """

    members: tuple[tuple[Bucket, tuple[int, ...]], ...]
    batch_size: int
    seed: int = 0
    equal_tokens: bool = False

    def __post_init__(self) -> None:
        if not any(clips for _, clips in self.members):
            raise UsageError("no bucket holds a clip", code="DROPPED")

    def __call__(self, start: int, count: int) -> tuple[Bucket, list[int]]:
        """The bucket of samples `start` … `start + count - 1`, all of one step, and their clips.

        Raises:
            ValueError: the samples belong to more than one step.
        """
        step, offset = divmod(start, self.batch_size)
        if count < 1 or offset + count > self.batch_size:
            raise ValueError(f"samples {start} … {start + count - 1} are not of one step of {self.batch_size}")
        row, turn = _turn(self, step)
        bucket, clips = self.members[row]
        share = self.shares()[row]
        first = turn * self.batch_size * share + offset * share
        return bucket, [clips[_shuffle(self.seed, row, number // len(clips), len(clips))[number % len(clips)]]
                        for number in range(first, first + count * share)]  # fmt: skip

    def shares(self) -> list[int]:
        """Clips of one sample, per filled bucket."""
        per_sample = clips_per_sample([bucket for bucket, _ in self.members], self.equal_tokens)
        return [per_sample[bucket] for bucket, _ in self.members]

    def steps_before(self, passes: int) -> list[int]:
        """Steps each filled bucket has had after so many passes over the data."""
        return [
            passes * len(clips) // (self.batch_size * share)
            for (_, clips), share in zip(self.members, self.shares(), strict=True)
        ]


@lru_cache(maxsize=16)
def _shuffle(seed: int, row: int, turn: int, count: int) -> np.ndarray:
    """The order (count,) of a bucket's clips in its pass number `turn`."""
    return np.random.default_rng([seed, row, turn]).permutation(count)


@lru_cache(maxsize=4)
def _order(batches: BucketBatches, number: int) -> np.ndarray:
    """The bucket (its row) of each step of pass `number`, shuffled."""
    before, after = batches.steps_before(number), batches.steps_before(number + 1)
    rows = np.repeat(np.arange(len(before)), np.subtract(after, before))
    return np.random.default_rng([batches.seed, len(before), number, 1]).permutation(rows)


def _turn(batches: BucketBatches, step: int) -> tuple[int, int]:
    """The bucket (its row) of a step, and how many steps that bucket had before it."""
    high = 1
    while sum(batches.steps_before(high)) <= step:
        high *= 2
    number = bisect_right(range(high + 1), step, key=lambda passes: sum(batches.steps_before(passes))) - 1
    before = batches.steps_before(number)
    order = _order(batches, number)
    place = step - sum(before)
    row = int(order[place])
    return row, before[row] + int((order[:place] == row).sum())
