"""Films as evidence of the scoring engine: one survey a film, cached by its content.

In: samples of films. Out: evidence, and the `Survey` in it.
"""

from __future__ import annotations

from cineloop.video import survey
from v2t_eval.core.metric import Evidence, EvidenceMetric
from v2t_eval.core.sample import Sample


class FilmMetric(EvidenceMetric):
    """The survey of a film."""

    name = "film"
    needs = ("survey",)
    version = survey.VERSION

    def measure(self, sample: Sample) -> Evidence:
        clip = sample.require("survey")
        return {"plain": clip.survey.plain(), "arrays": clip.survey.arrays()}


def read_survey(evidence: Evidence) -> survey.Survey:
    """The survey of which `FilmMetric` made evidence."""
    return survey.Survey.read(evidence["plain"], evidence["arrays"])
