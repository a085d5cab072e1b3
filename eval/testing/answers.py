"""Metrics for a single clip in a test: full answers to its prompt's questions, and whether it is frozen.

In: samples. Out: evidence under the rules of `v2t_eval.metric`, so that it is cached by content like that of any
metric.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cineloop.errors import ItemError
from v2t_eval.judge.judge import Judge
from v2t_eval.metric import BaseMetric, Evidence, Measured, Summary
from v2t_eval.metrics import question_score
from v2t_eval.sample import Sample
from v2t_eval.vbench.still import is_frozen


class Answers(question_score.Metric):
    """Every question of the prompt, or of the row, with the judge's answer; asked as `question_score` asks."""

    name = "answers_in_words"
    version = 2

    def measure(self, sample: Sample) -> Evidence:
        """`answers`, one row a question; `judge`; whether the clip is `outside` the judge's domain.

        Raises:
            ItemError: NOTHING_ASKED or BAD_QUESTIONS, as `question_score`; the clip cannot be read.
        """
        judge = self.ready()
        if not isinstance(judge, Judge):
            raise ItemError(f"{judge!r} gives no answers in words", code="BAD_QUESTIONS")
        rows: list[dict[str, Any]] = []
        for found in judge.answer(sample, self.question_set(sample).questions):
            asked = found.question
            rows.append({
                "id": asked.id, "question": asked.question, "wanted": asked.answer, "parents": list(asked.parents),
                "right": found.right, "answer": found.text, "chance": _chance_of(found.text, found.chances),
                "status": found.status, "message": found.message,
            })  # fmt: skip
        return {"answers": rows, "judge": judge.fingerprint()["judge"], "outside": judge.is_outside(sample)}


class Stillness(BaseMetric):
    """Whether every frame is the first one, up to what a codec does to it."""

    name = "stillness"
    needs = ("frames",)

    def measure(self, sample: Sample) -> Evidence:
        """`frozen`, `num_frames`."""
        return {"frozen": is_frozen(sample), "num_frames": len(sample.frames)}

    def summarise(self, rows: Sequence[Measured], references: Sequence[Measured]) -> Summary:
        """Only the number of frozen clips: a test reads one clip's evidence."""
        return Summary(headline=self.name, figures={}, counts={"frozen": sum(r.evidence["frozen"] for r in rows)})


def _chance_of(text: str | None, chances: dict[str, float]) -> float | None:
    """The judge's probability of its own answer."""
    return chances.get(text) if text is not None else None
