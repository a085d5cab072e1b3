"""Balanced true and false claims about a clip, worded as questions to a judge.

In: what is true of a clip, or the questions with answers in its row. Out: `Probe`s: a question whose wanted
answer is what is claimed, and whether that is true. A false value is drawn from the others of its factor, the same each
time. A model that returns likelihoods is asked the open question with its closed list of answers; any other is asked
whether the claim is true.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cineloop.errors import ItemError
from v2t_eval.judge.grammar.wording import LISTS, plain_claim, plain_question
from v2t_eval.judge.question import Question, from_row

FROM_ROW = "question"  # kind of a row's question without one


@dataclass(frozen=True, kw_only=True)
class Probe:
    """A claim: the question whose wanted answer it is, its kind of fact, whether it is true, and which answer of that
    kind's list it claims ("" where there is no such list)."""

    question: Question
    kind: str
    true: bool
    answer: str = ""


def question(factor: str, value: str, *, closed: bool, wording: int | None = None) -> Question | None:
    """The question whose wanted answer is that the factor has this value; None where the claim has no wording.
    `closed`: with the factor's list of answers to choose from, else to be answered with yes; `wording`: only that one.
    """
    id = f"{factor}={value}"
    if not closed:
        return plain_claim(factor, value, id) if value in LISTS[factor].claims else None
    asked = plain_question(factor, value, id)
    return asked if wording is None else replace(asked, question=asked.texts[wording], wordings=())


class Balance:
    """Draws false answers so that each answer of a list is claimed as often falsely as truly, as far as possible: of
    the others the one with the fewest claims relative to its true ones, at random among ties."""

    def __init__(self) -> None:
        self._lead: Counter[tuple[str, str]] = Counter()  # claims that were true less those that were false

    def false(self, kind: str, true: str, others: Sequence[str], name: str) -> str:
        """A false answer for a clip. `others`: those to draw from, one or more; the name of the clip seeds the draw."""
        self._lead[kind, true] += 1
        lots = random.Random(f"claims|{name}|{kind}").sample(list(others), len(others))
        drawn = max(lots, key=lambda each: self._lead[kind, each])
        self._lead[kind, drawn] -= 1
        return drawn


def of_values(values: Mapping[str, str], name: str, balance: Balance, *, closed: bool) -> list[Probe]:
    """For each factor one true and one false claim; factors of which either cannot be worded are left out. Name and
    balance of the clip and the set determine the false values.
    """
    probes: list[Probe] = []
    for factor, value in values.items():
        answers = LISTS[factor].answers
        others = [each for each in (answers if closed else LISTS[factor].claims) if each != value]
        drawn = balance.false(factor, value, others, name)
        pair = [question(factor, each, closed=closed) for each in (value, drawn)]
        if pair[0] is not None and pair[1] is not None:
            probes.append(Probe(question=pair[0], kind=factor, true=True, answer=answers[value]))
            probes.append(Probe(question=pair[1], kind=factor, true=False, answer=answers[drawn]))
    return probes


def of_row(row: Mapping[str, Any], name: str) -> tuple[list[Probe], int]:
    """Claims from the `questions` of a row, and how many of these are left out because their answer is open.

    A question of yes or no is a claim, true where its answer is yes; of one with choices the answer and another choice
    are claims.

    Raises:
        ItemError: BAD_QUESTIONS.
    """
    given = row.get("questions")
    if not given:
        return [], 0
    kinds = {str(each.get("id", i)): str(each.get("about") or each.get("kind") or FROM_ROW) if isinstance(each, Mapping)
             else FROM_ROW for i, each in enumerate(given, 1)}  # fmt: skip
    probes, num_open = [], 0
    for asked in from_row(_answerable(given), name):
        kind = kinds.get(asked.id, FROM_ROW)
        if asked.choices:
            others = [choice for choice in asked.choices if choice != asked.answer]
            if others:
                wrong = random.Random(f"claims|{name}|{asked.id}").choice(others)
                probes.append(Probe(question=asked, kind=kind, true=True))
                probes.append(Probe(question=replace(asked, answer=wrong), kind=kind, true=False))
        elif asked.answer.strip().lower() in ("yes", "no"):
            true = asked.answer.strip().lower() == "yes"
            probes.append(Probe(question=replace(asked, answer="yes"), kind=kind, true=true))
        else:
            num_open += 1
    return probes, num_open


def _answerable(given: Any) -> Any:
    """The rows without those that lack an answer; a malformed row is left to `from_row`."""
    if not isinstance(given, Sequence) or isinstance(given, str):
        return given
    kept = [each for each in given if not isinstance(each, Mapping) or each.get("answer") not in (None, "")]
    if not kept:
        raise ItemError("none of the questions has an answer", code="BAD_QUESTIONS", hint="{question, answer}")
    return [{**each, "parents": ()} if isinstance(each, Mapping) else each for each in kept]
