"""CLIPSIM of a clip: the mean over frames of the cosine of frame and text, without prefix, factor or cut-off.

In: clips with a prompt (or a caption). Out: -1 to 1, usual values .2 to .35 with ViT-B/32. GODIVA (arXiv:2104.14806)
and the papers on text-to-video since. `scale=torchmetrics` gives torchmetrics' CLIPScore: 100 times the mean, cut off
at zero after the mean over the whole set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from v2t_eval.core.measurement import Evidence, Observation
from v2t_eval.core.metric import Figure
from v2t_eval.core.sample import Sample
from v2t_eval.metrics import alignment


@dataclass(frozen=True, kw_only=True)
class Settings(alignment.Settings):
    """See `v2t_eval.metrics.alignment.Settings`. `scale`: cosine or torchmetrics."""

    text: Literal["auto", "caption", "prompt"] = "prompt"
    scale: Literal["cosine", "torchmetrics"] = "cosine"


class Metric(alignment.AlignmentMetric):
    name = "clipsim"
    value_range = (-1.0, 1.0)
    detects = "how well single frames fit the prompt: what is there, and roughly where"
    misses = "order of frames: a reversed, shuffled or doubled clip scores the same; motion; what a long text says last"
    Settings = Settings

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        if self.settings.scale == "torchmetrics":
            self.value_range = (-100.0, 100.0)  # type: ignore[misc]

    def measure(self, sample: Sample) -> Evidence:
        text, kind = self.text_and_kind(sample)
        factor = 100.0 if self.settings.scale == "torchmetrics" else 1.0
        return {"value": factor * alignment.exact_mean(self.cosines(sample, text)), **self.about_text(text, kind)}

    def mean(self, rows: Sequence[Observation], key: str = "value") -> Figure:
        """As of every metric; torchmetrics cuts it off at zero."""
        figure = super().mean(rows, key)
        if self.settings.scale == "torchmetrics":
            figure = replace(figure, value=max(figure.value, 0.0), low=max(figure.low, 0.0), high=max(figure.high, 0.0))
        return figure
