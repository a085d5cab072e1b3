"""Warping error: how much the picture changes that motion does not explain (Lai et al. 2018, arXiv:1808.00449; a metric
of EvalCrafter, arXiv:2310.11440).

In: frames. Out: the mean over neighbours t, t + 1 of (V_t(p) - V_{t+1}(p + w(p)))², pixels in 0..1, over the three
colours and the pixels p that are in both; w is the flow from t to t + 1. Left out are pixels that the flow back does
not return to where they came from, |w + w'|² > 0.01 (|w|² + |w'|²) + 0.5, and edges of motion, |∇w|² > 0.01 |w|² +
0.002 (Ruder et al. 2016, arXiv:1604.08610); their share is the figure `occluded`, which rises where the flow finds
nothing again: read both. The paper's norm sums the colours: three times this. A frozen clip would be perfect; it is
named and left out. The value depends on the frame rate: compare clips of one rate.
Letters: H W pixels, T frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum

import numpy as np

from cineloop.errors import ItemError
from v2t_eval.core.measurement import Evidence, Observation
from v2t_eval.core.metric import BaseMetric, Summary
from v2t_eval.core.sample import Sample
from v2t_eval.vbench.flow import flow_between, open_flow
from v2t_eval.vbench.still import is_frozen

_LEAST_SHOWN = 0.01  # share of the picture that a pair must have in both frames


@dataclass(frozen=True, kw_only=True)
class WarpingErrorSettings:
    """`flow`: see `v2t_eval.vbench.flow`; the reference has FlowNet2 or RAFT."""

    flow: str = "dis"


class Metric(BaseMetric):
    name = "warping_error"
    needs = ("frames",)
    higher_is_better = False
    detects = "flicker, noise, textures that swim, things that change from frame to frame"
    misses = "what is wrong from the first frame on, order reversed, blur; what it leaves out as occluded (see there)"
    requires = "nothing; flow=raft:FILE for a flow with weights"
    Settings = WarpingErrorSettings

    def prepare(self) -> None:
        open_flow(self.settings.flow)

    def describe(self) -> dict[str, str]:
        return open_flow(self.settings.flow).fingerprint()

    def measure(self, sample: Sample) -> Evidence:
        """`value`, `occluded`, and whether the clip is frozen.

        Raises:
            ItemError: TOO_SHORT; TOO_SMALL, for the flow; UNDEFINED, no pair has a pixel in both frames.
        """
        pixels, flow = sample.frames.pixels, open_flow(self.settings.flow)
        if len(pixels) < 2:
            raise ItemError(f"{sample.id} has one frame: nothing can be warped", code="TOO_SHORT")
        if is_frozen(sample):
            return {"value": 0.0, "occluded": 0.0, "frozen": True}
        errors, hidden = [], []
        for t in range(len(pixels) - 1):
            forward, back = (flow_between(sample, flow, a, b) for a, b in ((t, t + 1), (t + 1, t)))
            kept = in_both(forward, back)  # (H, W)
            hidden.append(1.0 - float(kept.mean()))
            if kept.mean() >= _LEAST_SHOWN:
                errors.append(masked_error(pixels[t], warp(pixels[t + 1], forward), kept))
        if not errors:
            raise ItemError(f"{sample.id}: no two frames have anything in common", code="UNDEFINED")
        return {"value": fsum(errors) / len(errors), "occluded": fsum(hidden) / len(hidden), "frozen": False}

    def summarise(self, rows: Sequence[Observation], references: Sequence[Observation]) -> Summary:
        """Means over the clips in which something moves."""
        moving = [row for row in rows if not row.evidence["frozen"]]
        frozen = len(rows) - len(moving)
        notes = [f"optical flow: {open_flow(self.settings.flow).says}"]
        if frozen:
            notes.append(f"{frozen} of {len(rows)} clips are frozen; they are left out, never a pass")
        return Summary(
            headline=self.name,
            figures={self.name: self.mean(moving), "occluded": self.mean(moving, "occluded")} if moving else {},
            items=[_item(row) for row in rows],
            counts={"frozen": frozen},
            notes=tuple(notes),
            scored=len(moving),
        )


def _item(row: Observation) -> dict[str, object]:
    """A frozen clip has its value under `raw`."""
    value, frozen = row.evidence["value"], bool(row.evidence["frozen"])
    shown = {"value": None, "raw": value} if frozen else {"value": value}
    return {"id": row.id, **shown, "occluded": row.evidence["occluded"], "frozen": frozen}


def warp(picture: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """`picture` (H, W) or (H, W, C) read at p + flow(p) by bilinear interpolation; beyond its edge the edge."""
    import cv2

    height, width = flow.shape[:2]
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))  # (H, W)
    warped: np.ndarray = cv2.remap(
        picture, x + flow[..., 0], y + flow[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return warped


def in_both(forward: np.ndarray, back: np.ndarray) -> np.ndarray:
    """Bool (H, W): pixels of the first frame that the second one shows too, of flows float32 (H, W, 2)."""
    height, width = forward.shape[:2]
    returned = warp(back, forward)  # (H, W, 2)
    size = _square_length(forward)  # (H, W)
    lost = _square_length(forward + returned) > 0.01 * (size + _square_length(returned)) + 0.5
    slopes = [np.gradient(forward[..., axis].astype(np.float64)) for axis in (0, 1)]
    steep = sum(slope * slope for of in slopes for slope in of) > 0.01 * size + 0.002
    y, x = np.mgrid[:height, :width]
    ends_x, ends_y = x + forward[..., 0], y + forward[..., 1]
    inside = (ends_x >= 0) & (ends_x <= width - 1) & (ends_y >= 0) & (ends_y <= height - 1)
    kept: np.ndarray = inside & ~lost & ~steep
    return kept


def masked_error(first: np.ndarray, second: np.ndarray, kept: np.ndarray) -> float:
    """Mean squared difference in 0..1 of two uint8 (H, W, 3) over the pixels `kept` (H, W)."""
    difference = (first[kept].astype(np.float64) - second[kept]) / 255.0  # (n, 3)
    return float((difference * difference).mean())


def _square_length(flow: np.ndarray) -> np.ndarray:
    length: np.ndarray = (flow.astype(np.float64) ** 2).sum(-1)
    return length
