"""Clipping: the share of a clip's samples that are cut off at full scale.

In: the clip's sound. Out: the share of samples, over all channels, that stand in runs of three or more of one sign at
`level` of full scale or beyond. A single sample at full scale is a peak, no clipping. A lossy codec rounds what was cut
off, so its share is lower and never 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cineloop.errors import ItemError, UsageError
from v2t_eval.core.measurement import Evidence, Observation
from v2t_eval.core.metric import BaseMetric, Summary, items_of
from v2t_eval.core.sample import Sample

RUN = 3


@dataclass(frozen=True, kw_only=True)
class ClippingSettings:
    """`level`: share of full scale from which on a sample may be cut off, .5 to 1."""

    level: float = 0.99

    def __post_init__(self) -> None:
        if not 0.5 <= self.level <= 1:
            raise UsageError(f"clipping.level must be .5 to 1 of full scale, got {self.level}")


class Metric(BaseMetric):
    name = "clipping"
    needs = ("sound",)
    higher_is_better = False
    detects = "overdriven sound"
    misses = "sound that was cut off at a lower level, and what is heard"
    Settings = ClippingSettings

    def measure(self, sample: Sample) -> Evidence:
        """The share of samples in runs at full scale."""
        sound = sample.sound
        if len(sound.samples) < RUN:
            raise ItemError(f"{sample.id} has {len(sound.samples)} samples of sound, less than {RUN}", code="TOO_SHORT")
        channels = sound.samples.reshape(len(sound.samples), -1)  # (S, C)
        num = sum(_in_runs(sign * channel >= self.settings.level) for channel in channels.T for sign in (1, -1))
        return {"value": num / channels.size}

    def summarise(self, rows: Sequence[Observation], references: Sequence[Observation]) -> Summary:
        return Summary(headline=self.name, figures={self.name: self.mean(rows)}, items=items_of(rows))


def _in_runs(at_level: np.ndarray) -> int:
    """How many true values of (S,) stand in runs of `RUN` or more."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], at_level, [0]]).astype(int)))
    lengths = edges[1::2] - edges[::2]
    return int(lengths[lengths >= RUN].sum())
