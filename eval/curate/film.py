"""Films as evidence of the scoring engine: one survey a film, cached by its content.

In: samples of films. Out: evidence, and the `Survey` in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from cineloop.video import survey
from v2t_eval.metric import BaseMetric, Evidence, Measured, Summary
from v2t_eval.sample import Sample


class EvidenceMetric(BaseMetric):
    """Evidence alone, of the sampled frames of a clip; it has no figure of a set."""

    needs: ClassVar[tuple[str, ...]] = ("frames",)

    def summarise(self, rows: Sequence[Measured], references: Sequence[Measured]) -> Summary:
        return Summary(headline=self.name, figures={})


class FilmMetric(EvidenceMetric):
    """The survey of a film."""

    name = "film"
    needs = ("survey",)
    version = survey.VERSION

    def measure(self, sample: Sample) -> Evidence:
        """See `read_survey`."""
        clip = sample.require("survey")
        return {"plain": clip.survey.plain(), "arrays": clip.survey.arrays()}


def read_survey(evidence: Evidence) -> survey.Survey:
    """The survey of which `FilmMetric` made evidence."""
    return survey.Survey.read(evidence["plain"], evidence["arrays"])
