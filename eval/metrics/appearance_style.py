"""VBench's appearance style: is it painted or filmed in the way that was asked for?

In: frames and a prompt with a style ("..., Van Gogh style"; or `asked: {appearance_style}`). Out: the mean over all
frames of the cosine of frame and style phrase, the phrase alone. `compat` is the mean over all frames of the set, as
one GPU of the reference has it (D5: several take the last frame of each clip); `fixed` the mean over clips.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from v2t_eval.core.features import frame_features, text_features
from v2t_eval.core.measurement import Observation
from v2t_eval.core.metric import Figure
from v2t_eval.core.sample import Sample
from v2t_eval.metrics import overall_consistency
from v2t_eval.metrics.alignment import cosine
from v2t_eval.semantics import asked
from v2t_eval.vbench.dimension import mean_of_terms
from v2t_eval.vbench.long import PIECE_S


@dataclass(frozen=True, kw_only=True)
class Settings(overall_consistency.Settings):
    """See `v2t_eval.metrics.overall_consistency.Settings`."""

    model: str = "starter"


class Metric(overall_consistency.Metric):
    name = "appearance_style"
    value_range = (-1.0, 1.0)
    detects = "the look of single frames: drawing, painting, colours"
    misses = "what is shown, order of frames: a reversed or shuffled clip scores the same"
    requires = "a dual encoder; for the reference's backbone model=clip:openai/clip-vit-base-patch32"
    reference = "CLIP ViT-B/32"
    families = ("open_clip:", "clip:")
    piece_s = PIECE_S
    Settings = Settings

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.reduction = "set" if self.compat else "mean"  # type: ignore[misc]  # compat weighs clips by their frames

    def text_of(self, sample: Sample) -> str:
        return asked.style(sample)

    def terms(self, sample: Sample, text: str, start: int, stop: int) -> list[float]:
        extractor = self.extractor
        cosines: list[float] = cosine(
            frame_features(sample, extractor)[start:stop], text_features(extractor, text)
        ).tolist()
        return cosines

    def figures(self, rows: Sequence[Observation]) -> dict[str, Figure]:
        return {self.name: mean_of_terms(rows, self.value_range)} if self.compat else super().figures(rows)
