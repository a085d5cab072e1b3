"""Questions with dependencies, and the scores of their answers.

In: questions of a row. Out: `Question`s in an order in which parents come first, and scores. TIFA (arXiv:2303.11897):
the share of questions answered as wanted. DSG (arXiv:2310.18235): a question whose parent is answered wrongly counts as
wrong, whatever its own answer, and stays in the denominator; `compat` looks at the parents' own answers, as the
published package does, `transitive` at what the parents count as, so that a wrong answer reaches all its descendants.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from graphlib import CycleError, TopologicalSorter
from typing import Any, Literal

from cineloop.errors import ItemError
from v2t_eval.judge.replies import normalise, read_number

Mode = Literal["transitive", "compat"]
ROOT = "0"  # the parent that questions without one have in DSG's data
Form = Literal["choice", "yes_no", "number", "open"]


@dataclass(frozen=True, kw_only=True)
class Question:
    """A question, the answer the prompt wants, the ids of the questions it depends on, and the choices; empty where it
    is open, of yes and no, or of a number. `begins`: the answers are beginnings of a reply, not whole ones.
    `wordings`: the same asked in other words. `about`: the kind of fact (place, kind, color, size, count, motion,
    direction, speed, to_color, action, relation ...), "" where unknown."""

    id: str
    question: str
    answer: str = "yes"
    parents: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    begins: bool = False
    wordings: tuple[str, ...] = ()
    about: str = ""

    @property
    def texts(self) -> tuple[str, ...]:
        """The question in all its wordings, the first first."""
        return (self.question, *self.wordings)

    @property
    def form(self) -> Form:
        """What kind of answer is wanted: one of the choices, yes or no, a number, or anything."""
        if self.choices:
            return "choice"
        if normalise(self.answer) in ("yes", "no"):
            return "yes_no"
        return "open" if read_number(self.answer, alone=True) is None else "number"


def from_row(given: Any, name: str) -> list[Question]:
    """The questions a row brings, parents first.

    Args:
        given: list of mappings with `question` and maybe `id`, `answer` (yes by default), `parents` (ids; 0 where no
            question has that id stands for none, as in DSG's data), `choices` (the answers there are, the wanted one
            among them), `wordings` (the same in other words), `about` (kind of fact).
        name: of the sample, for messages.

    Raises:
        ItemError: BAD_QUESTIONS, not of that form, an id that comes twice, a parent that is not there, a wanted answer
            that is not one of the choices, or a cycle.
    """

    def wrong(what: str) -> ItemError:
        return ItemError(f"{name}: {what}", code="BAD_QUESTIONS", hint="[{id, question, answer, parents}, ...]")

    if not isinstance(given, Sequence) or isinstance(given, str) or not given:
        raise wrong(f"`questions` must be a list of questions, got {str(given)[:60]!r}")
    questions = []
    for number, row in enumerate(given, 1):
        if not isinstance(row, Mapping) or not str(row.get("question") or "").strip():
            raise wrong(f"question {number} has no text: {str(row)[:60]!r}")
        questions.append(_from_row(row, number))
        if questions[-1].choices and questions[-1].answer not in questions[-1].choices:
            raise wrong(f"the answer {questions[-1].answer!r} to question {questions[-1].id} is not one of its choices")
    ids = {question.id for question in questions}
    if ROOT not in ids:
        questions = [replace(q, parents=tuple(id for id in q.parents if id != ROOT)) for q in questions]
    if len(ids) < len(questions):
        raise wrong("an id comes twice among its questions")
    for question in questions:
        if not set(question.parents) <= ids:
            raise wrong(f"question {question.id} depends on {sorted(set(question.parents) - ids)[0]}, which is missing")
    try:
        return parents_first(questions)
    except CycleError as error:
        raise wrong(f"its questions depend on each other in a cycle: {' -> '.join(map(str, error.args[1]))}") from error


def _from_row(row: Mapping[str, Any], number: int) -> Question:
    parents = row.get("parents") or ()
    return Question(
        id=str(row.get("id", number)),
        question=str(row["question"]),
        answer=str(row.get("answer", "yes")),
        parents=tuple(map(str, [parents] if isinstance(parents, str | int) else parents)),
        choices=tuple(map(str, row.get("choices") or ())),
        wordings=_texts(row, "wordings"),
        about=str(row.get("about") or ""),
    )


def _texts(row: Mapping[str, Any], name: str) -> tuple[str, ...]:
    given = row.get(name) or ()
    return (given,) if isinstance(given, str) else tuple(map(str, given))


def parents_first(questions: Sequence[Question]) -> list[Question]:
    """The questions in a topological order, the same for any order they were listed in.

    Raises:
        CycleError: they depend on each other in a cycle.
    """
    by_id = {question.id: question for question in questions}
    sorter = TopologicalSorter({id: sorted(by_id[id].parents) for id in sorted(by_id)})
    return [by_id[id] for id in sorter.static_order()]


def dsg(questions: Sequence[Question], right: Mapping[str, bool], mode: Mode = "transitive") -> dict[str, bool]:
    """What each answered question counts as: right, and every parent counts as right (`compat`: is right by itself).

    Args:
        questions: parents first.
        right: of the answered ones, whether the answer is the one wanted. A question without an answer does not count,
            and affects its children only through its own parents.
    """
    upheld: dict[str, bool] = {}
    for question in questions:
        held = upheld if mode == "transitive" else right
        above = all(held.get(parent, True) for parent in question.parents)
        upheld[question.id] = above and right.get(question.id, True)
    return {question.id: upheld[question.id] for question in questions if question.id in right}
