"""Flow distance: how differently a clip moves from its reference video, in decibels.

In: a clip and its reference video of two frames or more. Out: the mean length of the difference of both optical flows
between neighbouring frames, in widths of a pixel, on the scale of `v2t_eval.metrics.paired`.
Letters: T frames, H W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean

import numpy as np

from cineloop.errors import ItemError
from v2t_eval.metrics.paired import DistanceSettings, PairedDistance
from v2t_eval.vbench.flow import open_flow


@dataclass(frozen=True, kw_only=True)
class Settings(DistanceSettings):
    """`flow`: see `v2t_eval.vbench.flow`."""

    flow: str = "dis"


class Metric(PairedDistance):
    name = "flow_distance"
    least = 16
    floor = 0.02
    detects = "other speed, direction or place of what moves; frames out of order"
    misses = "what moves, and its colour"
    requires = "nothing; flow=raft:FILE for a flow with weights"
    Settings = Settings

    def prepare(self) -> None:
        open_flow(self.settings.flow)

    def describe(self) -> dict[str, str]:
        return super().describe() | open_flow(self.settings.flow).fingerprint()

    def compare(self, clip: np.ndarray, reference: np.ndarray) -> float:
        if len(clip) < 2:
            raise ItemError("one frame: nothing can move", code="TOO_SHORT")
        flow = open_flow(self.settings.flow)
        lengths = []
        for t in range(len(clip) - 1):
            ours, theirs = (flow.between(pixels[t], pixels[t + 1]) for pixels in (clip, reference))  # (H, W, 2) each
            lengths.append(float(np.linalg.norm(ours - theirs, axis=-1).mean()))
        return fmean(lengths)
