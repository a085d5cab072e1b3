"""Diversity: how far clips of one prompt are from each other, in features of any extractor.

In: two clips or more of each prompt. Out: the mean over prompts of 1 - cosine of every two clips, 0 (all alike) to 2.
A prompt with one clip has none and is left out. What a generator loses that learns to please a judge.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from v2t_eval.core.features import BaseExtractor, clip_features, open_extractor, unit
from v2t_eval.core.measurement import Evidence, Observation
from v2t_eval.core.metric import BaseMetric, Figure, Summary
from v2t_eval.core.sample import Sample
from v2t_eval.core.statistics import mean_interval, unless_flat


@dataclass(frozen=True, kw_only=True)
class Settings:
    """`feature`: an extractor, see `v2t_eval.core.features`."""

    feature: str = "starter-tower"


class Metric(BaseMetric):
    name = "diversity"
    level = "set"
    needs = ("frames", "prompt")
    higher_is_better = None
    value_range = (0.0, 2.0)
    reduction = "set"
    detects = "clips of one prompt that look alike: a generator that makes one clip for each prompt"
    misses = "whether clips fit their prompt; what the features do not see, such as the order of frames"
    Settings = Settings

    @property
    def extractor(self) -> BaseExtractor:
        """The model, loaded once in this process."""
        return open_extractor(self.settings.feature)

    def prepare(self) -> None:
        _ = self.extractor

    def describe(self) -> dict[str, str]:
        return self.extractor.fingerprint()

    def measure(self, sample: Sample) -> Evidence:
        """`features`: of the clip, of length 1."""
        sample.require("prompt")
        return {"features": [round(float(x), 7) for x in unit(clip_features(sample, self.extractor))]}

    def summarise(self, rows: Sequence[Observation], references: Sequence[Observation]) -> Summary:
        by_prompt: dict[str, list[list[float]]] = {}
        for row in rows:
            by_prompt.setdefault(row.cluster, []).append(row.evidence["features"])
        means = [_mean_distance(np.array(each)) for each in by_prompt.values() if len(each) > 1]
        single = sum(len(each) == 1 for each in by_prompt.values())
        counts = {"prompts with one clip": single} if single else {}
        if not means:
            return Summary(headline=self.name, figures={}, counts=counts, scored=0,
                           notes=("no prompt has two clips",))  # fmt: skip
        value = float(np.mean(means))
        low, high = unless_flat(mean_interval(means), value, len(means), self.value_range)
        figure = Figure(value=value, low=min(low, value), high=max(high, value), n=len(means))
        return Summary(headline=self.name, figures={self.name: figure}, counts=counts, scored=len(rows) - single)


def _mean_distance(features: np.ndarray) -> float:
    """1 - cosine (N, D) of every two rows, the mean."""
    cosines = features @ features.T
    return float(np.clip(1 - cosines[np.triu_indices(len(features), 1)], 0, 2).mean())
