"""VBench's dynamic degree: the share of clips in which something moves far enough, often enough.

In: frames sampled at about 8 a second. Out: yes or no for each clip, from the greatest 5 % of the optical flow between
samples. The reference has RAFT with 20 iterations
(`flow=raft:raft-things.safetensors`); the usual flow here is OpenCV's DIS. More is not better: it says that something
moves, and noise moves too. The reference's count of pairs is rounded to even and is 0 for two samples, which are then
always "dynamic" (defect D8); it also reads pixels per pair, whatever the time between the two. `fixed` rounds half up,
needs at least one pair, and reads pixels per eighth second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor
from typing import Any, NamedTuple

import numpy as np

from cineloop.errors import ItemError
from v2t_eval.core.measurement import Observation
from v2t_eval.core.metric import Figure, share_of
from v2t_eval.core.sample import Sample
from v2t_eval.vbench.dimension import Dimension, FrameSettings, Part
from v2t_eval.vbench.flow import open_flow, pair_motion
from v2t_eval.vbench.picks import sampled_indices

FPS = 8.0


@dataclass(frozen=True, kw_only=True)
class DynamicSettings(FrameSettings):
    """`flow`: see `v2t_eval.vbench.flow`; `fps`: rate of the samples, 0 for every frame; the rest as of every
    dimension."""

    flow: str = "dis"


class Metric(Dimension):
    name = "dynamic_degree"
    detects = "whether anything moves; a frozen clip"
    misses = "what moves and which way, order reversed; noise, blur, frames in disorder and flicker can pass for motion"
    requires = "nothing; for the reference's flow flow=raft:FILE"
    fooled_by_frozen = False
    reference = "RAFT (things)"
    families = ("raft:",)
    Settings = DynamicSettings

    def prepare(self) -> None:
        open_flow(self.settings.flow)

    def describe(self) -> dict[str, str]:
        return open_flow(self.settings.flow).fingerprint()

    def model_name(self) -> str:
        return str(self.settings.flow)

    def backbone(self) -> str:
        return open_flow(self.settings.flow).says

    def part(self, sample: Sample, start: int, stop: int) -> Part:
        frames, flow = sample.frames, open_flow(self.settings.flow)
        times = frames.times_s[start:stop]
        fps = self.settings.fps
        if self.compat:
            interval = parameters(frames.size, frames.fps, stop - start, compat=True).interval
            picked = list(range(0, stop - start, interval))
        else:
            picked = sampled_indices(times, fps) if fps else list(range(stop - start))
            if len(picked) == 1 and stop - start > 1:
                picked = [0, stop - start - 1]  # shorter than 1 / fps: its two ends
        if len(picked) < 2 and not self.compat:
            raise ItemError(f"{sample.id} has one frame: nothing can move", code="TOO_SHORT")
        scores = []
        for a, b in zip(picked, picked[1:], strict=False):
            moved = pair_motion(sample, flow, start + a, start + b).top5
            # The threshold is pixels in an eighth of a second.
            scores.append(moved if self.compat else moved / (FPS * float(times[b] - times[a])))
        limit = threshold(frames.size)
        needed = num_required_pairs(len(picked), compat=self.compat)
        more: dict[str, Any] = {
            "pairs": len(scores),
            "over": sum(score > limit for score in scores),
            "needed": needed,
            "threshold_px": limit,
            "strength": float(np.median(scores)) / limit if scores else 0.0,
        }
        return Part(sum=float(is_dynamic(scores, limit, needed)), count=1, more=more)

    def figures(self, rows: Sequence[Observation]) -> dict[str, Figure]:
        """A share, with an interval that is honest at 0 and at 1."""
        return {self.name: share_of(rows, [row.evidence["value"] for row in rows])}


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
    return Parameters(interval, sampled, threshold(size), num_required_pairs(sampled, compat=compat))


def threshold(size: tuple[int, int]) -> float:
    """Pixels that the greatest 5 % of the flow must exceed on average."""
    return 6.0 * min(size) / 256


def num_required_pairs(num: int, *, compat: bool) -> int:
    """Pairs that must exceed the threshold, of n = `num` sampled frames."""
    return round(4 * num / 16) if compat else max(1, floor(4 * num / 16 + 0.5))


def is_dynamic(scores: Sequence[float], limit: float, needed: int) -> bool:
    """Whether `needed` of the scores exceed `limit`; of no score never."""
    return bool(scores) and sum(score > limit for score in scores) >= needed
