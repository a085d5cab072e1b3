"""CLIPScore of a clip: 2.5 * max(cos, 0) of a frame and "A photo depicts " + text, averaged over the frames.

In: clips with a caption or a prompt. Out: 0 to 2.5, usual values .5 to .9 with OpenAI's ViT-B/32. Hessel et al. 2021
(arXiv:2104.08718); each frame is cut off at zero before the mean. `frames=middle` takes one frame, as for a picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from v2t_eval.core.measurement import Evidence
from v2t_eval.core.sample import Sample
from v2t_eval.metrics import alignment

WEIGHT = 2.5


@dataclass(frozen=True, kw_only=True)
class Settings(alignment.Settings):
    """See `v2t_eval.metrics.alignment.Settings`. `prefix` stands before every text; `frames`: mean_frames or middle."""

    prefix: str = "A photo depicts "
    frames: Literal["mean_frames", "middle"] = "mean_frames"


class Metric(alignment.AlignmentMetric):
    name = "clipscore"
    value_range = (0.0, WEIGHT)
    detects = "how well single frames fit the text: what is there, and roughly where"
    misses = "order of frames: a reversed, shuffled or doubled clip scores the same; motion; what a long text says last"
    Settings = Settings

    @property
    def prefix(self) -> str:  # type: ignore[override]
        prefix: str = self.settings.prefix
        return prefix

    def measure(self, sample: Sample) -> Evidence:
        text, kind = self.text_and_kind(sample)
        cosines = self.cosines(sample, text)
        if self.settings.frames == "middle":
            cosines = cosines[len(cosines) // 2 :][:1]
        value = alignment.exact_mean(WEIGHT * max(cosine, 0.0) for cosine in cosines.tolist())
        return {"value": value, **self.about_text(text, kind)}
