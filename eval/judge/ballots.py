"""Wordings of a question for models that reply in words, and parsing of their replies.

In: a question, and how many votes it gets. Out: `Ballot`s, each with its own wording and order of the choices; a reply
becomes a vote. Position bias (the first, the last, "A") is averaged out: orders come in pairs, each with its reverse.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from v2t_eval.judge.question import Question
from v2t_eval.judge.replies import is_refusal, normalise, read_choice, read_number, yes_or_no

_YES_NO = ("{}", "{} Answer yes or no.", "Answer yes or no: {}")
_NUMBER = ("{}", "{} Answer with a number.", "Answer with one number: {}")
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
FORMS = " | ".join((*_YES_NO, *_NUMBER, "{} Choose one: (A) ... (B) ..."))


@dataclass(frozen=True, kw_only=True)
class Ballot:
    """One way to ask a question; `choices` in the order they are offered."""

    text: str
    choices: tuple[str, ...] = ()


def ballots(question: Question, votes: int) -> list[Ballot]:
    """At most `votes` different ways to ask the question, the plainest first; an open one varies in its wording
    only."""
    texts = question.texts
    if question.form == "open":
        return [Ballot(text=text) for text in texts[:votes]]
    if question.form == "choice":
        orders = _orders(question.choices, votes)
        found = [_offered(texts[text], orders[order]) for text, order in _pairs(len(texts), len(orders), votes)]
    else:
        forms = _YES_NO if question.form == "yes_no" else _NUMBER
        pairs = _pairs(len(texts), len(forms), votes)
        found = [Ballot(text=forms[form].format(texts[text])) for text, form in pairs]
    return list(dict.fromkeys(found))


def read(ballot: Ballot, question: Question, reply: str) -> str | None:
    """The vote of a reply: yes or no, a choice, a number, or its own words; None where it cannot be parsed."""
    if question.form == "choice":
        picked = read_choice(reply, ballot.choices)
        return None if picked is None else ballot.choices[picked]
    if question.form == "yes_no":
        verdict = yes_or_no(reply)
        return None if verdict is None else "yes" if verdict else "no"
    if question.form == "number":
        number = read_number(reply)
        return None if number is None else str(number)
    return None if is_refusal(reply) or not normalise(reply) else reply


def _offered(text: str, order: tuple[str, ...]) -> Ballot:
    if len(order) > len(_LETTERS):
        return Ballot(text=f"{text} Choose one: {', '.join(order)}.", choices=order)
    listed = " ".join(f"({letter}) {choice}" for letter, choice in zip(_LETTERS, order, strict=False))
    return Ballot(text=f"{text} Choose one: {listed}.", choices=order)


def _pairs(texts: int, others: int, number: int) -> list[tuple[int, int]]:
    """Which wording goes with which form or order: at most `number` pairs, both changing from one to the next."""
    return [((each + shift) % texts, each) for shift in range(texts) for each in range(others)][:number]


def _orders(choices: tuple[str, ...], number: int) -> list[tuple[str, ...]]:
    """The choices in order, reversed, then random orders and their reverses, deterministic."""
    draw, found = random.Random("|".join(choices)), [choices, choices[::-1]]
    for _ in range(8 * number):  # few choices have few orders
        if len(found) >= number:
            break
        order = tuple(draw.sample(choices, len(choices)))
        found += [order, order[::-1]] if order not in found else []
    return found[:number]
