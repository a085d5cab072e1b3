"""Frames: which frames of a clip a trainer takes.

In: rules, a count of frames and a rate. Out: `TakenFrames`: runs of positions among the clip's frames. Nothing here
reads a file. Letters: N frames of the clip, F frames of a run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from v2t_eval.trainers.rules import TrainerRules
from v2t_eval.trainers.sizes import listed_bucket


@dataclass(frozen=True, eq=False)
class TakenFrames:
    """Runs of positions int64 (F,) of the clip's frames, each an item of the training; none where the clip is dropped.

    Attributes:
        runs: the positions.
        num_seen: frames that there are once the rate is brought to the model's.
        wanted: frames that the trainer expects of a run; 0 where no bucket fits.
    """

    runs: tuple[np.ndarray, ...]
    num_seen: int
    wanted: int

    @property
    def repeated(self) -> int:
        """Frames that the first run shows again."""
        return 0 if not self.runs else len(self.runs[0]) - len(np.unique(self.runs[0]))

    @property
    def unevenness(self) -> float:
        """Share of the steps of the first run that are of another length than most, where lengths differ by half."""
        steps = np.diff(self.runs[0]) if self.runs else np.zeros(0)
        steps = steps[steps > 0]
        if not len(steps) or steps.max() < 1.5 * steps.min():
            return 0.0
        return float(1 - np.bincount(steps).max() / len(steps))


def take_frames(rules: TrainerRules, num_frames: int, fps: float, size: tuple[int, int]) -> TakenFrames:
    """What the trainer takes of a clip of `num_frames` at `fps`, of `size` (width, height)."""
    seen = resample(rules, num_frames, fps)
    if rules.settings.take in ("shrink", "interval", "auto"):
        return _of_whole(rules, num_frames, fps)
    if rules.settings.take in ("bucket", "spread"):
        return _of_bucket(rules, num_frames, size)
    windows = _windows(rules, len(seen))
    wanted = windows[0][1] if windows else 0
    return TakenFrames(tuple(seen[start : start + count] for start, count in windows), len(seen), wanted)


def resample(rules: TrainerRules, num_frames: int, fps: float) -> np.ndarray:
    """Positions int64 of the frames that are left once the rate is brought to the model's."""
    every: np.ndarray = np.arange(num_frames)
    if rules.frames.rate == "even" and rules.fps is not None:
        # The count is rounded down: 49 frames of a file that says 16.004 a second are 48 at 16.
        even: np.ndarray = np.linspace(0, num_frames - 1, int(num_frames * rules.fps / fps)).astype(np.int64)
        return even
    source = rules.settings.source_fps
    if rules.frames.rate == "thinned" and source is not None and rules.fps is not None:
        target = np.concatenate([[0.0], np.cumsum(np.full(num_frames - 1, rules.fps / source))]).astype(np.int64)
        is_new = np.concatenate([[True], np.diff(target) > 0])
        if rules.settings.take == "head":
            is_new &= target < max(rules.counts)
        every = every[is_new]
    return every


def _windows(rules: TrainerRules, num_seen: int) -> list[tuple[int, int]]:
    """(start, count) of the runs among the frames seen."""
    settings, counts = rules.settings, [count for count in rules.counts if count <= num_seen]
    if settings.take in ("beginning", "middle"):
        if not counts:
            return []
        return [((num_seen - counts[-1]) // 2 if settings.take == "middle" else 0, counts[-1])]
    if settings.take == "head":
        return [(0, count) for count in reversed(counts)]
    if settings.take == "chunk":
        return [(at, n) for n in counts for at in range(0, num_seen - n + 1, n)]
    if settings.take == "slide":
        return [(at, n) for n in counts for at in range(0, num_seen - n + 1, settings.stride)]
    if settings.take == "uniform":
        places = [(n, np.linspace(0, num_seen - n, settings.samples, dtype=int)) for n in counts]
        return [(int(at), n) for n, each in places for at in each]
    most = min(num_seen, settings.most_frames or num_seen)  # full
    return [(0, rules.own.on_grid(most))]


def _of_bucket(rules: TrainerRules, num_frames: int, size: tuple[int, int]) -> TakenFrames:
    """Of listed buckets: the first frames (bucket), or frames spread over the clip (spread)."""
    if rules.settings.take == "bucket":
        num_frames = min(num_frames, max(rules.counts))  # no more are read
    bucket = listed_bucket(rules, *size, num_frames)
    if bucket is None:
        return TakenFrames((), num_frames, 0)
    count = bucket[2]
    if count >= num_frames or rules.settings.take == "bucket":
        return TakenFrames((np.arange(min(count, num_frames)),), num_frames, count)
    return TakenFrames((np.linspace(0, num_frames - 1, count).astype(np.int64),), num_frames, count)


def _of_whole(rules: TrainerRules, num_frames: int, fps: float) -> TakenFrames:
    """Frames spread over the clip (shrink), every n-th (interval; from the start here, anywhere in the trainer), or by
    the rate (auto)."""
    last, count, own = num_frames - 1, max(rules.counts), rules.own
    ratio = fps / (rules.fps or fps)
    if rules.settings.take == "auto":
        asked = int(num_frames / ratio)
        count = own.on_grid(asked) if own.rest != 1 else max(0, asked - 1) // own.step * own.step + 1
        return TakenFrames((_round(np.arange(count) * ratio, last),), asked, count)
    step = max(1, round(ratio))
    if rules.settings.take == "interval" and num_frames // step >= count:
        return TakenFrames((np.arange(count) * step,), num_frames // step, count)
    spread = np.arange(count) * (last / (count - 1) if count > 1 else 0)
    return TakenFrames((_round(spread, last),), num_frames, count)


def _round(places: np.ndarray, last: int) -> np.ndarray:
    rounded: np.ndarray = np.minimum(np.rint(places), last).astype(np.int64)
    return rounded


def union_s(runs: Sequence[np.ndarray], times_s: np.ndarray, duration_s: float) -> float:
    """Seconds of the clip from the first to the end of the last frame of any run."""
    ends = np.append(times_s[1:], duration_s)
    spans = sorted((float(times_s[run[0]]), float(ends[run[-1]])) for run in runs if len(run))
    total, reached = 0.0, -1.0
    for start, end in spans:
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total
