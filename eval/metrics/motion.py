"""Motion: how far the picture moves in a second, and for how long it stands still.

In: all frames. Out: the mean length of the optical flow per second in heights of the frame (1: every pixel crosses the
height once a second), so that size and frame rate do not matter. `still_share`: the share of the time in which not even
the greatest 5 % of the flow reach 0.02 heights a second. A frozen clip, in which every frame is the first one, is
named. Neither end is good.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from cineloop.errors import ItemError
from v2t_eval.core.measurement import Evidence, Observation
from v2t_eval.core.metric import BaseMetric, Summary
from v2t_eval.core.sample import Sample
from v2t_eval.vbench.flow import open_flow, pair_motion
from v2t_eval.vbench.still import is_frozen

STILL = 0.02  # heights a second; what a codec moves is below


@dataclass(frozen=True, kw_only=True)
class MotionSettings:
    """`flow`: see `v2t_eval.vbench.flow`."""

    flow: str = "dis"


class Metric(BaseMetric):
    name = "motion"
    needs = ("frames",)
    higher_is_better = None
    value_range = (0.0, math.inf)
    detects = "how much moves, frozen clips and clips that stop"
    misses = "what moves and which way, order reversed; noise, blur, flicker and frames in disorder pass for motion"
    requires = "nothing; flow=raft:FILE for a flow with weights"
    Settings = MotionSettings

    def prepare(self) -> None:
        open_flow(self.settings.flow)

    def describe(self) -> dict[str, str]:
        return open_flow(self.settings.flow).fingerprint()

    def measure(self, sample: Sample) -> Evidence:
        """Motion, still share, and whether the clip is frozen."""
        frames, flow = sample.frames, open_flow(self.settings.flow)
        if len(frames) < 2:
            raise ItemError(f"{sample.id} has one frame: nothing can move", code="TOO_SHORT")
        times, height = frames.times_s, frames.size[0]
        seconds = float(times[-1] - times[0])
        if is_frozen(sample):
            return {"value": 0.0, "still_share": 1.0, "frozen": True}
        path, still = [], []
        for t in range(len(frames) - 1):
            moved, step_s = pair_motion(sample, flow, t, t + 1), float(times[t + 1] - times[t])
            path.append(moved.mean)
            still.append(step_s if moved.top5 < STILL * height * step_s else 0.0)
        value = math.fsum(path) / height / seconds
        return {"value": value, "still_share": min(1.0, math.fsum(still) / seconds), "frozen": False}

    def summarise(self, rows: Sequence[Observation], references: Sequence[Observation]) -> Summary:
        """Means over clips, and the number of frozen ones."""
        still = self.mean(rows, "still_share")
        frozen = sum(bool(row.evidence["frozen"]) for row in rows)
        notes = [f"optical flow: {open_flow(self.settings.flow).says}"]
        if frozen:
            notes.append(f"{frozen} of {len(rows)} clips are frozen")
        return Summary(
            headline=self.name,
            figures={self.name: self.mean(rows), "still_share": still},
            items=[{"id": row.id, **row.evidence} for row in rows],
            counts={"frozen": frozen},
            notes=tuple(notes),
        )
