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
from v2t_eval.judge.subject import Subject


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What came of the questions.

    Attributes:
        answers: one for each question that was asked, in the order the questions were given.
        right: by id, of the answered ones: whether the wanted answer is held to be true.
        counts: by id, whether the question counts as right once its parents have spoken; of those that were answered
            or, with `ask_all` off, not asked because a parent was wrong.
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
    judge: Judge,
    subject: Subject,
    questions: Sequence[Question],
    *,
    ask_all: bool = True,
    threshold: float = 0.5,
    mode: Mode = "transitive",
) -> Evaluation:
    """Ask, parents first, and count.

    Args:
        questions: in any order; each parent among them.
        ask_all: ask also what hangs on a wrong answer: all questions go to the judge at once. Off, they go in as many
            rounds as they hang deep, and `accuracy` knows fewer of them; `dsg` is the same.
        threshold: chance of the wanted answer from which it is right.
        mode: see `v2t_eval.judge.question.dsg`; compat counts the answers of all questions.

    Raises:
        ItemError: the clip cannot be read. CycleError: questions hang on each other in a circle. ValueError: compat
            without `ask_all`.
    """
    if mode == "compat" and not ask_all:
        raise ValueError("mode='compat' counts every question's own answer, so all must be asked: ask_all=True")
    ordered = parents_first(questions)
    answers: dict[str, Answer] = {}
    right: dict[str, bool] = {}
    spared: set[str] = set()
    waiting = list(ordered)
    while waiting:
        done = answers.keys() | spared
        ready = waiting if ask_all else [q for q in waiting if done.issuperset(q.parents)]
        wrong = {id for id, is_right in right.items() if not is_right} | spared
        asked = [q for q in ready if ask_all or not wrong.intersection(q.parents)]
        spared |= {q.id for q in ready} - {q.id for q in asked}
        for question, answer in zip(asked, judge.answer(subject, asked) if asked else [], strict=True):
            answers[question.id] = answer
            if (verdict := answer.is_right(threshold)) is not None:
                right[question.id] = verdict
        waiting = [q for q in waiting if q.id not in answers and q.id not in spared]
    counts = dsg(ordered, right | dict.fromkeys(spared, False), mode)
    return Evaluation(answers=[answers[q.id] for q in questions if q.id in answers], right=right, counts=counts)
