"""All questions of one prompt, asked of one clip and counted: TIFA's and DSG's way (see `v2t_eval.judge.question`).

In: a judge, a clip, questions. Out: `Evaluation`: the answers, and what each question counts as. A child of a wrong
parent counts as wrong; a question without an answer does not count, and takes nothing from those that hang on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from v2t_eval.judge.answer import Answer
from v2t_eval.judge.judge import Judge
from v2t_eval.judge.question import Mode, Question, dsg, parents_first
from v2t_eval.sample import Sample


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What came of the questions.

    Attributes:
        answers: one for each question, in the order the questions were given.
        right: by id, of the answered ones: whether the wanted answer is held to be true.
        counts: by id, of the answered ones: whether the question counts as right once its parents have spoken.
    """

    answers: list[Answer]
    right: dict[str, bool]
    counts: dict[str, bool]

    @property
    def accuracy(self) -> float | None:
        """Share of answered questions with the wanted answer (TIFA), 0 to 1; None where none was answered."""
        return sum(self.right.values()) / len(self.right) if self.right else None

    @property
    def dsg(self) -> float | None:
        """The same after wrong parents have been counted, 0 to 1; None where nothing counts."""
        return sum(self.counts.values()) / len(self.counts) if self.counts else None


def evaluate(
    judge: Judge, sample: Sample, questions: Sequence[Question], *, threshold: float = 0.5, mode: Mode = "transitive"
) -> Evaluation:
    """Ask all at once, and count, parents first.

    Args:
        questions: in any order; each parent among them.
        threshold: chance of the wanted answer from which it is right.
        mode: see `v2t_eval.judge.question.dsg`.

    Raises:
        ItemError: the clip cannot be read. CycleError: questions hang on each other in a circle.
    """
    ordered = parents_first(questions)
    answers = dict(zip([q.id for q in ordered], judge.answer(sample, ordered), strict=True))
    told = {id: answer.is_right(threshold) for id, answer in answers.items()}
    right = {id: verdict for id, verdict in told.items() if verdict is not None}
    return Evaluation(answers=[answers[q.id] for q in questions], right=right, counts=dsg(ordered, right, mode))
