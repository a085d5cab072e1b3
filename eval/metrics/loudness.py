"""Loudness: how loud a clip is, by ITU-R BS.1770 as EBU R128 uses it (`cineloop.audio.loudness`).

In: the clip's sound. Out: its integrated loudness in LUFS, -70 (the standard's floor) where it is silent, and its true
peak. Neither end is good: broadcasters ask for -23, platforms for about -14.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from cineloop.audio.loudness import FLOOR, integrated_loudness, true_peak_db
from cineloop.errors import ItemError
from v2t_eval.core.measurement import Evidence, Observation
from v2t_eval.core.metric import BaseMetric, Summary
from v2t_eval.core.sample import Sample


class Metric(BaseMetric):
    name = "loudness"
    needs = ("sound",)
    higher_is_better = None
    value_range = (FLOOR, math.inf)
    detects = "muted clips, clips that are too quiet or too loud"
    misses = "what sounds and when: any noise of the same power has the same loudness"

    def measure(self, sample: Sample) -> Evidence:
        """LUFS and the true peak in dB of full scale, at least -70."""
        sound = sample.sound
        try:
            value = integrated_loudness(sound.samples, sound.rate)
        except ValueError as error:
            raise ItemError(f"{sample.id}: {error}", code="TOO_SHORT") from error
        return {"value": value, "true_peak_db": max(FLOOR, true_peak_db(sound.samples))}

    def summarise(self, rows: Sequence[Observation], references: Sequence[Observation]) -> Summary:
        figures = {self.name: self.mean(rows), "true_peak_db": self.mean(rows, "true_peak_db")}
        return Summary(headline=self.name, figures=figures, items=[{"id": row.id, **row.evidence} for row in rows])
