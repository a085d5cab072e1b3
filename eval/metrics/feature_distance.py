"""Feature distance: how different a clip looks from its reference video to a frozen network, in decibels.

In: a clip and its reference video. Out: 1 - cosine of the features of frame t of both, the mean over frames, on the
scale of `v2t_eval.metrics.paired`. LPIPS (arXiv:1801.03924) on whole frames of any extractor, without weights learnt
from people; `lpips` is the published one. Letters: T frames, D width of the features.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from v2t_eval.core.features import BaseExtractor, open_extractor, unit
from v2t_eval.metrics.paired import DistanceSettings, PairedDistance


@dataclass(frozen=True, kw_only=True)
class Settings(DistanceSettings):
    """`feature`: an extractor of frames, see `v2t_eval.core.features`."""

    feature: str = "starter-tower"


class Metric(PairedDistance):
    name = "feature_distance"
    floor = 0.00001
    detects = "other figures, places and styles, as far as the network knows them"
    misses = "motion and order of frames; what the network was not trained on"
    requires = "nothing; feature=NAME for a network that knows your footage"
    Settings = Settings

    def prepare(self) -> None:
        self._extractor()

    def describe(self) -> dict[str, str]:
        return super().describe() | self._extractor().fingerprint()

    def compare(self, clip: np.ndarray, reference: np.ndarray) -> float:
        ours, theirs = (unit(self._extractor().embed_frames(pixels)) for pixels in (clip, reference))  # (T, D) each
        return max(0.0, 1 - float((ours * theirs).sum(1).mean()))

    def _extractor(self) -> BaseExtractor:
        return open_extractor(self.settings.feature)
