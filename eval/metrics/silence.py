"""Silence: the share of a clip's sound in which nothing is heard.

In: the clip's sound. Out: the share of its time, in steps of 50 ms, in which the loudest channel stays below
`below_db` of full scale (root mean square), and the longest stretch of it. A muted clip has 1. A clip without a track
of sound has no value: NO_AUDIO_STREAM.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cineloop.errors import ItemError, UsageError
from v2t_eval.core.measurement import Evidence, Observation
from v2t_eval.core.metric import BaseMetric, Summary
from v2t_eval.core.sample import Sample

STEP_S = 0.05


@dataclass(frozen=True, kw_only=True)
class SilenceSettings:
    """`below_db`: of full scale, below 0."""

    below_db: float = -60.0

    def __post_init__(self) -> None:
        if not -200 <= self.below_db < 0:
            raise UsageError(f"silence.below_db must be -200 to 0 (dB of full scale), got {self.below_db}")


class Metric(BaseMetric):
    name = "silence"
    needs = ("sound",)
    higher_is_better = False
    detects = "muted clips, sound that stops, gaps"
    misses = "everything about what is heard; a faint hum is no silence"
    Settings = SilenceSettings

    def measure(self, sample: Sample) -> Evidence:
        """The share, and the longest silence in seconds."""
        sound = sample.sound
        step = max(1, round(STEP_S * sound.rate))
        if len(sound.samples) < step:
            raise ItemError(f"{sample.id} has {sound.duration_s:.3f} s of sound, less than {STEP_S}", code="TOO_SHORT")
        channels = sound.samples.reshape(len(sound.samples), -1)  # (S, C)
        num = len(channels) // step
        blocks = channels[: num * step].astype(np.float64).reshape(num, step, -1)
        power = (blocks**2).mean(1).max(1)  # (num,)
        silent = power < 10 ** (self.settings.below_db / 10)
        edges = np.flatnonzero(np.diff(np.concatenate([[0], silent, [0]]).astype(int)))
        longest = int(np.max(edges[1::2] - edges[::2], initial=0))
        return {"value": float(silent.mean()), "longest_s": longest * step / sound.rate}

    def summarise(self, rows: Sequence[Observation], references: Sequence[Observation]) -> Summary:
        silent = sum(row.evidence["value"] == 1 for row in rows)
        notes = (f"{silent} of {len(rows)} clips are silent throughout",) if silent else ()
        items = [{"id": row.id, **row.evidence} for row in rows]
        figures = {self.name: self.mean(rows)}
        return Summary(headline=self.name, figures=figures, items=items, counts={"silent": silent}, notes=notes)
