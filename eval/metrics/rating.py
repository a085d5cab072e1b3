"""Rating: the marks that a model gives a clip which was trained on people's ratings.

In: frames, the prompt, and a model by name: `model=videoreward:FOLDER` (VideoAlign, arXiv:2501.13918),
`model=videoscore2:TIGER-Lab/VideoScore2` (arXiv:2509.22799); the families are files of `v2t_eval.raters`, each with its
source and form. Out: the model's overall mark, and a figure for each of its dimensions. Marks of different models, or
modes, are on different scales: compare within one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from cineloop.errors import MissingDependencyError
from v2t_eval.core.measurement import Evidence, Observation
from v2t_eval.core.metric import BaseMetric, Summary
from v2t_eval.core.sample import Sample
from v2t_eval.raters import RaterLike, open_rater

_HINT = "rating[model=videoscore2:TIGER-Lab/VideoScore2] where there is a GPU, or videoreward:FOLDER"


@dataclass(frozen=True, kw_only=True)
class RatingSettings:
    """Attributes:
    model: FAMILY:ID_OR_FOLDER, see `v2t_eval.raters`.
    mode: of videoscore2: "compat" is the published reading of its marks, "fixed" their expectation.
    """

    model: str = ""
    mode: Literal["fixed", "compat"] = "fixed"


class Metric(BaseMetric):
    name = "rating"
    needs = ("frames", "prompt")
    value_range = (-math.inf, math.inf)
    detects = "what people mark down: broken pictures, jerky or no motion, a prompt that is not followed"
    misses = "what the model's raters did not see; it was tested here on random weights alone, see v2t_eval.raters"
    requires = "model=videoreward:FOLDER or model=videoscore2:ID"
    named = ("model",)
    Settings = RatingSettings

    def ready(self) -> RaterLike:
        """The model, loaded.

        Raises:
            MissingDependencyError: none is named, or it is not available.
        """
        if not self.settings.model:
            raise MissingDependencyError("rating needs a model, and none is shipped", code="MODEL", hint=_HINT)
        return open_rater(self.settings.model, self.settings.mode)

    def prepare(self) -> None:
        self.ready()

    def describe(self) -> dict[str, str]:
        return self.ready().fingerprint()

    def measure(self, sample: Sample) -> Evidence:
        """`value`, the overall mark, `marks` by dimension, and the model's `reasons`."""
        rating = self.ready().rate(sample.frames, str(sample.require("prompt")))
        return {"value": rating.overall, "marks": rating.marks, "reasons": rating.reasons}

    def summarise(self, rows: Sequence[Observation], references: Sequence[Observation]) -> Summary:
        """Means over clips, of the overall mark and of each dimension."""
        marks = [
            Observation(id=row.id, cluster=row.cluster, evidence=row.evidence["marks"]) for row in rows
        ]  # as evidence of its own
        figures = {self.name: self.mean(rows), **{name: self.mean(marks, name) for name in self.ready().dimensions}}
        return Summary(
            headline=self.name,
            figures=figures,
            items=[
                {"id": row.id, "value": row.evidence["value"], **row.evidence["marks"],
                 **({"reasons": row.evidence["reasons"]} if row.evidence["reasons"] else {})}
                for row in rows
            ],
            notes=(f"marks by {self.settings.model.partition(':')[0]}: comparable with marks of the same model alone",),
        )  # fmt: skip
