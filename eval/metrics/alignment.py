"""Base of the CLIP family of metrics: the model, the text compared with a clip, and their cosines.

In: samples with frames and a caption or a prompt. Out: cosines in float64, each computed for one frame and text, so
bit-identical wherever the frame is in the clip. Frames are averaged by exact summation.
Letters: T frames, D width of the features.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import fsum
from typing import ClassVar, Literal

import numpy as np

from cineloop.errors import ItemError, MissingDependencyError
from v2t_eval.core.features import BaseExtractor, frame_features, open_extractor, text_features, unit
from v2t_eval.core.measurement import Observation
from v2t_eval.core.metric import BaseMetric, Summary, items_of
from v2t_eval.core.sample import Sample


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The model, its preprocessing, and the text.

    `model` and `preprocess` are those of `v2t_eval.core.features.open_extractor`. `text`: caption, prompt, or auto (the
    caption where there is one, else the prompt).
    """

    model: str = "starter"
    preprocess: str = ""
    text: Literal["auto", "caption", "prompt"] = "auto"


class AlignmentMetric(BaseMetric):
    """A metric that compares frames with texts by a dual encoder."""

    needs: ClassVar[tuple[str, ...]] = ("frames",)
    uses: ClassVar[tuple[str, ...]] = ("caption", "prompt")
    requires = "a dual encoder: the starter's, or any of open_clip or transformers (model=open_clip:ViT-B-32/openai)"
    Settings = Settings
    kinds: ClassVar[tuple[str, ...]] = ("frame",)  # of models that it can look through
    prefix = ""

    @property
    def extractor(self) -> BaseExtractor:
        """The model, loaded once in this process.

        Raises:
            MissingDependencyError: it is not available, or does not take both frames and texts.
        """
        extractor = open_extractor(self.settings.model, preprocess=self.settings.preprocess)
        if not extractor.has_text or extractor.kind not in self.kinds:
            raise MissingDependencyError(
                f"{self.name} needs a model for {' or '.join(self.kinds)}s and texts, {extractor.name} is not one",
                hint="such as model=starter or model=open_clip:ViT-B-32/openai",
            )
        return extractor

    def prepare(self) -> None:
        _ = self.extractor

    def describe(self) -> dict[str, str]:
        return self.extractor.fingerprint() | {"prefix": repr(self.prefix)}

    def text_and_kind(self, sample: Sample) -> tuple[str, str]:
        """The text a sample is compared with, without the prefix, and its kind: caption or prompt.

        Raises:
            ItemError: NO_CAPTION or NO_PROMPT.
        """
        kind = self.settings.text
        if kind == "auto":
            kind = "prompt" if sample.caption is None and sample.prompt is not None else "caption"
        return str(sample.require(kind)), kind

    def cosines(self, sample: Sample, text: str) -> np.ndarray:
        """float64 (T,): cosine of each frame and the text, in [-1, 1].

        Raises:
            ItemError: MODEL_ERROR, the text or a frame has a feature of length zero.
        """
        extractor = self.extractor
        return cosine(frame_features(sample, extractor), text_features(extractor, self.prefix + text))

    def about_text(self, text: str, kind: str) -> dict[str, object]:
        """Evidence that every metric of the family keeps: the kind of text and whether it was truncated."""
        return {"kind": kind, "truncated": self.extractor.are_truncated([self.prefix + text])[0]}

    def summarise(self, rows: Sequence[Observation], references: Sequence[Observation]) -> Summary:
        return Summary(
            headline=self.name,
            figures={self.name: self.mean(rows)},
            items=items_of(rows),
            counts=self.counts(rows),
            notes=self.notes(rows),
        )

    def counts(self, rows: Sequence[Observation]) -> dict[str, int]:
        kinds = [row.evidence["kind"] for row in rows]
        return {
            "truncated": sum(bool(row.evidence["truncated"]) for row in rows),
            "captions": kinds.count("caption"),
            "prompts": kinds.count("prompt"),
        }

    def notes(self, rows: Sequence[Observation]) -> tuple[str, ...]:
        extractor, counts = self.extractor, self.counts(rows)
        known = extractor.fingerprint()
        quick = f", QuickGELU {known['quick_gelu']}" if "quick_gelu" in known else ""
        notes = [f"model {extractor.name}, weights {known['weights'][:12]}, {known['dtype']}{quick}"]
        if extractor.name.startswith("starter"):
            notes.append("the starter knows only the cartoon world: its numbers are not those of CLIP ViT-B/32")
        if counts["truncated"]:
            notes.append(f"{counts['truncated']} of {len(rows)} texts were too long for the model and were truncated")
        if counts["captions"] and counts["prompts"]:
            notes.append(f"{counts['captions']} clips were compared with captions, {counts['prompts']} against prompts")
        return (*notes, *extractor.warnings)


def cosine(features: np.ndarray, other: np.ndarray) -> np.ndarray:
    """float64 (...,): cosines of (..., D) and (D,), each row by itself.

    Raises:
        ItemError: MODEL_ERROR, a feature of length zero.
    """
    if not np.any(other) or not np.any(features, axis=-1).all():
        raise ItemError("the model gave a feature of length zero", code="MODEL_ERROR")
    return np.clip((unit(features) * unit(other)).sum(axis=-1), -1.0, 1.0)


def exact_mean(values: Iterable[float]) -> float:
    """The mean by exact summation: independent of the order of the values, and of doubling each one."""
    listed = [float(value) for value in values]
    return fsum(listed) / len(listed)
