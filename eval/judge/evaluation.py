"""Ask all questions of one prompt about one clip and score them as TIFA and DSG do (see `v2t_eval.judge.question`).

In: a judge, a clip, questions. Out: `Evaluation`: the answers, and what each question counts as. A child of a wrong
parent counts as wrong; a question without an answer does not count, and does not affect its children.
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
    """Answers and scores of the questions.

    Attributes:
        answers: one for each question, in the order the questions were given.
        right: by id, of the answered ones: whether the wanted answer is judged true.
        counts: by id, of the answered ones: whether the question counts as right given its parents.
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
    """Ask all questions at once and score them.

    Args:
        questions: in any order; each parent among them.
        threshold: chance of the wanted answer from which it is right.
        mode: see `v2t_eval.judge.question.dsg`.

    Raises:
        ItemError: the clip cannot be read. CycleError: questions depend on each other in a cycle.
    """
    ordered = parents_first(questions)
    answers = dict(zip([q.id for q in ordered], judge.answer(sample, ordered), strict=True))
    verdicts = {id: answer.is_right(threshold) for id, answer in answers.items()}
    right = {id: verdict for id, verdict in verdicts.items() if verdict is not None}
    return Evaluation(answers=[answers[q.id] for q in questions], right=right, counts=dsg(ordered, right, mode))
