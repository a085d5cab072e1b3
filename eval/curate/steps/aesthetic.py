"""Aesthetic: how people on the web would rate the frames, by the metric `aesthetic_quality` with a head of the user's.

Without a head the column stays empty: none is shipped, and a limit on it would drop every clip as unmeasured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cineloop.log import logger
from cineloop.video.sample import SampleSpec
from v2t_eval.core.metric import load_metric
from v2t_eval.curate.clip import FilmClip
from v2t_eval.curate.step import BaseStep, Column, CompareResult, Work

FRAMES = SampleSpec(num_frames=5)


@dataclass(frozen=True, kw_only=True)
class AestheticSettings:
    """`head`, `model`: as of the metric `aesthetic_quality`."""

    head: str = ""
    model: str = "open_clip:ViT-L-14/openai"


class Step(BaseStep):
    name = "aesthetic"
    columns = {"aesthetic": Column("mean rating of five frames, in tenths of LAION's scale: 0.5 is fair", -10, 10)}
    detects = "blur, dull and broken pictures, as people on the web rated them"
    misses = "motion, order, whether the clip is of use; tastes differ"
    Settings = AestheticSettings

    def examine(self, clips: Sequence[FilmClip], work: Work) -> dict[str, Any]:
        if not self.settings.head:
            return {"aesthetic": {}}
        metric = load_metric("aesthetic_quality")(head=self.settings.head, model=self.settings.model)
        return {"aesthetic": {id: each["value"] for id, each in work.evidence(metric, clips, FRAMES).items()}}

    def compare(self, clips: Sequence[FilmClip]) -> CompareResult:
        if not self.settings.head:
            logger.warning("aesthetic: nothing is rated, since no head is named (settings.aesthetic.head=FILE)")
        return CompareResult(columns={"aesthetic": [self.known["aesthetic"].get(clip.id) for clip in clips]})
