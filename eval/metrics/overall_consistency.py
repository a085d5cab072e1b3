"""VBench's overall consistency: does the clip show what the prompt says, style and all?

In: frames and a prompt. Out: the cosine of the clip and the whole prompt, and its mean over clips. The reference has
ViCLIP, which sees motion, as the starter's dual encoder of clips does; here it is any dual encoder of
`v2t_eval.core.features`, always named. A model for single frames, which sees no motion, sees a clip as the mean of 8
unit frame features (mean pooling of CLIP4Clip, arXiv:2104.08860), one for clips takes the frames that it was made for.
Letters: T frames, D width of the features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cineloop.errors import MissingDependencyError
from v2t_eval.core.features import BaseExtractor, frame_features, mean_features, text_features, unit
from v2t_eval.core.measurement import Evidence, Observation
from v2t_eval.core.sample import Sample
from v2t_eval.metrics.alignment import cosine
from v2t_eval.semantics import VERSION
from v2t_eval.vbench.dimension import DimensionSettings, VBenchMetric, open_extractor_as
from v2t_eval.vbench.long import LONG_PIECE_S, is_long
from v2t_eval.vbench.picks import middle_indices

NUM_FRAMES = 8  # as ViCLIP takes


@dataclass(frozen=True, kw_only=True)
class Settings(DimensionSettings):
    """`mode`: "compat" prepares frames as the reference does and averages as it does; "fixed" as the model's own
    processor does, every clip counting the same. `model`: a dual encoder of `v2t_eval.core.features`.
    """

    model: str = "starter-video"
    long: bool = False


class Metric(VBenchMetric):
    name = "overall_consistency"
    value_range = (-1.0, 1.0)
    detects = "how well a clip as a whole fits the prompt"
    misses = "order of frames and motion, with a model for single frames; what a long prompt says last"
    requires = "a dual encoder: the starter's, clip:ID_OR_FOLDER or open_clip:MODEL/PRETRAINED"
    Settings = Settings
    reference = "ViCLIP InternVid-10M-FLT"
    piece_s = LONG_PIECE_S
    needs = ("frames", "prompt")
    uses = ("asked",)
    shared_version = VERSION

    @property
    def extractor(self) -> BaseExtractor:
        """The model, loaded once in this process.

        Raises:
            MissingDependencyError: it is not available, or has no text half.
        """
        extractor = open_extractor_as(self.settings.model, compat=self.compat)
        if not extractor.has_text:
            raise MissingDependencyError(
                f"{self.name} needs a model with a text half, {extractor.name} has none",
                hint="such as model=starter or model=clip:openai/clip-vit-base-patch32",
            )
        return extractor

    def prepare(self) -> None:
        _ = self.extractor

    def describe(self) -> dict[str, str]:
        return self.extractor.fingerprint()

    def text_of(self, sample: Sample) -> str:
        """The text the clip is compared with: the whole prompt."""
        return str(sample.require("prompt"))

    def terms(self, sample: Sample, text: str, start: int, stop: int) -> list[float]:
        """Cosines of a piece, frames `start` .. `stop` - 1; one where the piece is seen as a whole."""
        extractor = self.extractor
        if extractor.kind == "clip":  # it takes of the piece the frames that it was made for
            frames = sample.frames
            view = replace(frames, pixels=frames.pixels[start:stop], times_s=frames.times_s[start:stop])
            key = ("piece", extractor.name, extractor.preprocess, start, stop)
            feature = sample.once(key, lambda: extractor.embed_clip(view))
        else:
            picked = [start + i for i in middle_indices(NUM_FRAMES, stop - start)]
            feature = mean_features(unit(frame_features(sample, extractor)[picked]))  # (D,)
        return [float(cosine(feature, text_features(extractor, text)))]

    def measure(self, sample: Sample) -> Evidence:
        """`value`, its `sum` and `count`, and whether the text lost its end."""
        text = self.text_of(sample)
        by_piece = [self.terms(sample, text, start, stop) for start, stop in self.spans(sample)]
        values = [float(np.mean(terms)) for terms in by_piece]
        return {
            "value": float(np.mean(values)),
            "sum": float(sum(map(sum, by_piece))),
            "count": sum(map(len, by_piece)),
            "text": text,
            "truncated": self.extractor.are_truncated([text])[0],
            "long_clip": is_long(sample),
        }

    def item(self, row: Observation) -> dict[str, Any]:
        return {"id": row.id, "value": row.evidence["value"], "text": row.evidence["text"]}

    def counts(self, rows: Sequence[Observation]) -> dict[str, int]:
        return {"truncated": sum(bool(row.evidence["truncated"]) for row in rows)}

    def notes(self, rows: Sequence[Observation]) -> tuple[str, ...]:
        extractor = self.extractor
        known = extractor.fingerprint()
        notes = [
            f"model {extractor.name}, weights {known['weights'][:12]} (the reference has {self.reference})",
            "not a VBench leaderboard number: other backbone or preprocessing",
        ]
        if extractor.name.startswith("starter"):
            notes.append("the starter knows only the cartoon world")
        if cut := sum(bool(row.evidence["truncated"]) for row in rows):
            notes.append(f"{cut} of {len(rows)} texts were too long for the model and lost their end")
        return (*notes, *self.long_notes(rows), *extractor.warnings)
