"""VBench's dynamic degree: presence of enough motion.

In: the flow of sampled pairs of frames. Out: yes or no, with the parameters behind it. The reference's count is rounded
to even and is 0 for two sampled frames, which are then always "dynamic" (defect D8); it also reads pixels per pair,
whatever the time between the two. `fixed` rounds half up, needs at least one pair, and reads pixels per eighth second.
Letters: T frames, H W pixels, n sampled frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import floor
from typing import NamedTuple

FPS = 8.0


class Parameters(NamedTuple):
    """Take every `interval`-th of T frames, n in all; dynamic when `needed` pairs exceed `threshold` pixels."""

    interval: int
    num: int
    threshold: float
    needed: int


def parameters(size: tuple[int, int], fps: float, num: int, *, compat: bool) -> Parameters:
    """The parameters for T = `num` frames of (H, W) at `fps`."""
    interval = max(1, round(fps / FPS) if compat else floor(fps / FPS + 0.5))
    sampled = -(-num // interval)
    return Parameters(interval, sampled, threshold(size), pairs_needed(sampled, compat=compat))


def threshold(size: tuple[int, int]) -> float:
    """Pixels that the greatest 5 % of the flow must exceed on average."""
    return 6.0 * min(size) / 256


def pairs_needed(num: int, *, compat: bool) -> int:
    """Pairs that must exceed the threshold, of n = `num` sampled frames."""
    return round(4 * num / 16) if compat else max(1, floor(4 * num / 16 + 0.5))


def is_dynamic(scores: Sequence[float], limit: float, needed: int) -> bool:
    """Whether `needed` of the scores exceed `limit`; of no score never."""
    return bool(scores) and sum(score > limit for score in scores) >= needed
