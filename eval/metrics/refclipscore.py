"""RefCLIPScore: harmonic mean of CLIPScore and the best cosine of the text with a reference.

In: clips with a caption (or a prompt) and references. Out: usual values .7 to .9. Hessel et al. 2021
(arXiv:2104.08718): both sides carry the prefix, CLIPScore already its 2.5. The paper cuts the reference's cosine off at
zero, its code does not; so does this unless `clamp_references`. Nothing over nothing is 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from cineloop.errors import ItemError
from v2t_eval.core.features import text_features
from v2t_eval.core.measurement import Evidence, Observation
from v2t_eval.core.metric import Summary
from v2t_eval.core.sample import Sample
from v2t_eval.metrics import clipscore
from v2t_eval.metrics.alignment import cosine


@dataclass(frozen=True, kw_only=True)
class Settings(clipscore.Settings):
    """As of clipscore. `clamp_references`: a reference that points away counts as 0, as the paper has it."""

    clamp_references: bool = False


class Metric(clipscore.Metric):
    name = "refclipscore"
    needs = ("frames", "references")
    value_range = (-math.inf, math.inf)
    detects = "how well single frames and the nearest reference fit the text"
    Settings = Settings

    def measure(self, sample: Sample) -> Evidence:
        """See `BaseMetric.measure`.

        Raises:
            ItemError: UNDEFINED, the two terms cancel out.
        """
        evidence = super().measure(sample)
        own = text_features(self.extractor, self.prefix + self.text_and_kind(sample)[0])
        near = max(
            float(cosine(text_features(self.extractor, self.prefix + reference), own))
            for reference in sample.references
        )
        score = evidence["value"]
        return {**evidence, "value": harmonic(score, near, self.settings), "clipscore": score, "reference": near}

    def summarise(self, rows: Sequence[Observation], references: Sequence[Observation]) -> Summary:
        keys = ("value", "clipscore", "reference")
        return Summary(
            headline=self.name,
            figures={self.name: self.mean(rows), "clipscore": self.mean(rows, "clipscore")},
            items=[{"id": row.id, **{key: float(row.evidence[key]) for key in keys}} for row in rows],
            counts=self.counts(rows),
            notes=self.notes(rows),
        )


def harmonic(score: float, near: float, settings: Settings) -> float:
    """2ab / (a + b) of CLIPScore and the reference's cosine; 0 where both are 0.

    Raises:
        ItemError: UNDEFINED, a = -b.
    """
    near = max(near, 0.0) if settings.clamp_references else near
    if score == 0 or near == 0:
        return 0.0
    if score + near == 0:
        raise ItemError(f"CLIPScore {score} and the reference's cosine {near} cancel out", code="UNDEFINED")
    return 2 * score * near / (score + near)
