"""Sentence similarity: similarity of a caption to its references or prompt, by the cosine of two sentence vectors.

In: a caption, and references or a prompt. Out: the cosine, of several references the greatest (Reimers and Gurevych
2019, arXiv:1908.10084). The encoder is any of `v2t_eval.extractors` that reads texts: a folder or hub id of
sentence-transformers, or a dual encoder such as `starter` or `open_clip:...`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from cineloop.errors import MissingDependencyError
from v2t_eval.core.features import BaseExtractor, open_extractor, text_features
from v2t_eval.core.measurement import Evidence, Observation
from v2t_eval.core.metric import BaseMetric, Summary
from v2t_eval.core.sample import Sample
from v2t_eval.metrics.alignment import cosine


@dataclass(frozen=True, kw_only=True)
class Settings:
    """`model`: a folder or hub id of sentence-transformers, or the name of an extractor that reads texts. `against`:
    what the caption is compared with."""

    model: str = ""
    against: Literal["references", "prompt"] = "references"


class Metric(BaseMetric):
    name = "sentence_similarity"
    level = "text"
    needs = ("caption",)
    uses = ("references", "prompt")
    value_range = (-1.0, 1.0)
    detects = "what a caption is about, in any wording"
    misses = (
        "much of who does what to whom, order, left and right, counts and negation: such sentences have similar vectors"
    )
    requires = "a sentence encoder: model=FOLDER or a hub id such as sentence-transformers/all-MiniLM-L6-v2"
    Settings = Settings

    @property
    def extractor(self) -> BaseExtractor:
        """The encoder, loaded once in this process.

        Raises:
            MissingDependencyError: none is named, it is not available, or it reads no texts.
        """
        model = self.settings.model
        if not model:
            raise MissingDependencyError(
                "sentence_similarity needs a sentence encoder", code="MODEL", hint=self.requires
            )
        extractor = open_extractor(model if ":" in model or model.startswith("starter") else f"sentence:{model}")
        if not extractor.has_text:
            raise MissingDependencyError(f"{extractor.name} reads no texts", code="MODEL", hint=self.requires)
        return extractor

    def prepare(self) -> None:
        _ = self.extractor

    def describe(self) -> dict[str, str]:
        return self.extractor.fingerprint()

    def measure(self, sample: Sample) -> Evidence:
        """The cosine, which reference it is with, and whether a text lost its end.

        Raises:
            ItemError: NO_REFERENCES or NO_PROMPT; MODEL_ERROR.
        """
        references = sample.require(self.settings.against)
        others = [references] if isinstance(references, str) else list(references)
        caption, extractor = sample.require("caption"), self.extractor
        vector = text_features(extractor, caption)  # (D,)
        values = [float(cosine(vector, text_features(extractor, other))) for other in others]
        return {
            "value": max(values),
            "nearest": values.index(max(values)),
            "truncated": any(extractor.are_truncated([caption, *others])),
        }

    def summarise(self, rows: Sequence[Observation], references: Sequence[Observation]) -> Summary:
        known, cut = self.extractor.fingerprint(), sum(row.evidence["truncated"] for row in rows)
        notes = [f"model {self.extractor.name}, weights {known['weights'][:12]}, {known['dtype']}"]
        if cut:
            notes.append(
                f"{cut} of {len(rows)} captions, or what they are compared with, were too long and lost their end"
            )
        return Summary(
            headline="cosine",
            figures={"cosine": self.mean(rows)},
            items=[{"id": row.id, **row.evidence} for row in rows],
            counts={"truncated": cut},
            notes=(*notes, *self.extractor.warnings),
        )
