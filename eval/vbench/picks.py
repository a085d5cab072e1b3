"""Selection of frames of a clip, and of pairs to compare.

In: a number of frames, or the seconds at which they are shown. Out: indices. The reference compares neighbours at
whatever rate the file has, so the same clip at another rate gets another score (defect D12); pairs a fixed time apart
and samples at a fixed rate do not depend on it. Letters: T frames, n picked ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

_EPS = 1e-6


def middle_indices(num: int, total: int) -> list[int]:
    """VBench's "middle": the middle frame of each of `num` equal parts of `total` frames; short clips are padded with
    the last pick.

    Raises:
        ValueError: `num` or `total` below 1.
    """
    if num < 1 or total < 1:
        raise ValueError(f"expected at least one frame to pick from and to pick, got {num} of {total}")
    parts = min(num, total)
    edges = [int(edge) for edge in np.linspace(0, total, parts + 1)]  # truncated, as the reference's
    picked = [(low + high - 1) // 2 for low, high in zip(edges, edges[1:], strict=False)]
    return picked + picked[-1:] * (num - parts)


def pairs_apart(times_s: Sequence[float] | np.ndarray, fps: float) -> list[tuple[int, int]]:
    """Pairs of frames 1 / `fps` seconds apart, one for each frame that has a partner; neighbours for `fps` = 0, and
    where frames are further apart than that.

    Of a clip at a steady rate the pairs are the same when it is shown backwards, and each counts twice when every frame
    is doubled at twice the rate. A clip shorter than 1 / `fps` gives its two ends. A single frame gives no pair.
    """
    times = np.asarray(times_s, dtype=np.float64)  # (T,)
    num = len(times)
    if num < 2:
        return []
    if fps <= 0:
        return [(t, t + 1) for t in range(num - 1)]
    half = float(np.median(np.diff(times))) / 2
    wanted = times + 1 / fps - half * (1 + _EPS)
    after = np.maximum(np.searchsorted(times, wanted), np.arange(num) + 1)  # (T,)
    pairs = [(t, int(later)) for t, later in enumerate(after) if later < num]
    return pairs or [(0, num - 1)]


def triples_apart(times_s: Sequence[float] | np.ndarray, fps: float) -> list[tuple[int, int, int]]:
    """Frames (before, middle, after), 1 / `fps` seconds from one to the next, one for each frame that has both; clips
    too short for that give triples as far apart as they allow; fewer than three frames give none."""
    times = np.asarray(times_s, dtype=np.float64)  # (T,)
    num = len(times)
    if num < 3:
        return []
    steps = [later - t for t, later in pairs_apart(times, fps)]
    step = min(max(1, round(float(np.median(steps)))), (num - 1) // 2)
    return [(t, t + step, t + 2 * step) for t in range(num - 2 * step)]


def sampled_indices(times_s: Sequence[float] | np.ndarray, fps: float) -> list[int]:
    """The frames nearest to every 1 / `fps` second from the first frame on, none twice."""
    times = np.asarray(times_s, dtype=np.float64)  # (T,)
    num = math.floor((times[-1] - times[0]) * fps + _EPS) + 1
    wanted = times[0] + np.arange(num) / fps  # (n,)
    after = np.clip(np.searchsorted(times, wanted), 1, max(1, len(times) - 1))
    before = after - 1
    after = np.minimum(after, len(times) - 1)
    later = (times[after] - wanted) < (wanted - times[before]) - _EPS / fps
    return sorted({int(index) for index in np.where(later, after, before)})
