"""Metrics that compare a clip with its reference video, frame by frame: reconstruction, compression, image-to-video.

In: samples with frames and a `reference_video`. Out: one value for each clip. Frame t is compared with frame t: both
videos must have the same size and number of frames; nothing is resized, cropped or dropped, since that would change
what these metrics measure.

A distance d is given in decibels above a floor f, 10 log10(1 + d/f): 0 for equal clips, 3 where d is the floor, 10 more
for each tenfold. Distances of clips that a sampler let drift apart lie over several powers of ten: on this scale a few
that are far do not hide what happened to the others, and below the floor, which is what rounding does to a clip (one
value of a hundred is off by one level), nothing counts.
Letters: T frames, H W pixels.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from cineloop.errors import ItemError
from v2t_eval.core.measurement import Evidence, Observation
from v2t_eval.core.metric import BaseMetric, Summary, items_of, mean_of
from v2t_eval.core.sample import Sample


class PairedMetric(BaseMetric):
    """The mean over clips of a value of each pair; a subclass gives `compare`."""

    needs: ClassVar[tuple[str, ...]] = ("frames", "reference_video")
    least: ClassVar[int] = 1  # pixels of the shorter side

    @abstractmethod
    def compare(self, clip: np.ndarray, reference: np.ndarray) -> float:
        """The value of two videos, uint8 (T, H, W, 3) RGB of one shape."""

    def measure(self, sample: Sample) -> Evidence:
        """`value`.

        Raises:
            ItemError: UNLIKE_REFERENCE, the two differ in size or number of frames; TOO_SMALL.
        """
        clip, reference = sample.frames.pixels, sample.reference_frames.pixels  # (T, H, W, 3)
        if clip.shape != reference.shape:

            def shape_text(frames: np.ndarray) -> str:
                return f"{len(frames)} frames of {frames.shape[2]}x{frames.shape[1]}"

            raise ItemError(
                f"{sample.id}: the clip has {shape_text(clip)}, its reference video {shape_text(reference)}",
                code="UNLIKE_REFERENCE",
                hint="make both of one size, frame rate and length first",
            )
        if min(clip.shape[1:3]) < self.least:
            raise ItemError(f"{sample.id}: {self.name} needs {self.least} pixels a side", code="TOO_SMALL")
        return {"value": self.compare(clip, reference)}

    def summarise(self, rows: Sequence[Observation], references: Sequence[Observation]) -> Summary:
        return Summary(headline=self.name, figures={self.name: self.mean(rows)}, items=items_of(rows))


@dataclass(frozen=True, kw_only=True)
class DistanceSettings:
    """`floor`: the distance that counts as 3 dB, above zero; 0 for the metric's own."""

    floor: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.floor < math.inf:
            raise ValueError(f"floor must be a number of at least 0, got {self.floor}")


class PairedDistance(PairedMetric):
    """A distance of the pair in decibels above a floor, see the module's head; a subclass gives `compare` and `floor`.

    Class attributes:
        floor: about the median distance of a clip of the bundled generator from itself with one value of a hundred off
            by one level of 255, without a lossy codec between.
    """

    higher_is_better = False
    value_range: ClassVar[tuple[float, float]] = (0.0, math.inf)
    of_set: ClassVar[tuple[str, ...]] = ("floor",)
    floor: ClassVar[float] = 1.0
    Settings: ClassVar[type[Any]] = DistanceSettings

    def describe(self) -> dict[str, str]:
        return super().describe() | {"floor": f"{self.settings.floor or self.floor:g}"}

    def summarise(self, rows: Sequence[Observation], references: Sequence[Observation]) -> Summary:
        floor = self.settings.floor or self.floor
        values = [10 * math.log10(1 + row.evidence["value"] / floor) for row in rows]
        items = [{"id": row.id, "value": value, "distance": float(row.evidence["value"])}
                 for row, value in zip(rows, values, strict=True)]  # fmt: skip
        return Summary(headline=self.name, figures={self.name: mean_of(rows, values, self.value_range)}, items=items)


def luma(frames: np.ndarray) -> np.ndarray:
    """uint8 (T, H, W), Rec. 601, of uint8 (T, H, W, 3)."""
    import cv2

    return np.stack([cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY) for frame in frames])
