"""Films as evidence: one survey a film, cached by its content.

In: samples of films. Out: evidence, and the `Survey` in it.
"""

from __future__ import annotations

from v2t_eval.core.measurement import Evidence, FilmPass, Measurement
from v2t_eval.core.sample import Sample
from v2t_eval.frames import survey


class FilmSurvey(Measurement):
    """The survey of a film."""

    name = "film"
    needs = ("survey",)
    version = survey.VERSION
    film_pass = FilmPass(survey.SURVEY_JOB, survey.Survey.read)

    def measure(self, sample: Sample) -> Evidence:
        clip = sample.require("survey")
        return {"plain": clip.survey.plain(), "arrays": clip.survey.arrays()}


def read_survey(evidence: Evidence) -> survey.Survey:
    """The survey of which `FilmSurvey` made evidence."""
    return survey.Survey.read(evidence["plain"], evidence["arrays"])
