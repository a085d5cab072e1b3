"""The votes on a question about a clip, independent of its wanted answer.

In: votes. Out: `Heard`, which can be cached, and the `Answer` made of it. Questions that differ in the wanted answer
alone share their votes.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from math import fsum
from statistics import pstdev
from typing import Any

from cineloop.errors import ItemError
from v2t_eval.judge.answer import Answer, Status
from v2t_eval.judge.calibration import Calibration
from v2t_eval.judge.question import Question
from v2t_eval.judge.replies import is_refusal, normalise, read_number

REFUSALS = ("REFUSED", "PROMPT_REFUSED")


@dataclass(frozen=True, kw_only=True)
class Heard:
    """One question in all its wordings and orders.

    Attributes:
        votes: for each time that it got an answer, the share of every answer; they sum to 1.
        lost: how often it got no readable answer.
        code, message: of the last of these; empty where none was lost.
    """

    votes: tuple[Mapping[str, float], ...] = ()
    lost: int = 0
    code: str = ""
    message: str = ""

    def with_vote(self, vote: Mapping[str, float]) -> Heard:
        """One more answer."""
        return replace(self, votes=(*self.votes, vote))

    def with_loss(self, problem: ItemError) -> Heard:
        """One more time without an answer. A refusal takes precedence over a reply that cannot be parsed."""
        if self.code in REFUSALS and problem.code == "UNPARSABLE":
            return replace(self, lost=self.lost + 1)
        return replace(self, lost=self.lost + 1, code=problem.code, message=problem.message)


def vote_key(question: Question) -> Hashable:
    """What determines the votes: all of a question but its wanted answer, id and parents."""
    return (question.texts, question.choices, question.begins, question.form)


def unreadable(reply: str, text: str, name: str) -> ItemError:
    """Why a reply gives no vote: REFUSED or UNPARSABLE."""
    code = "REFUSED" if is_refusal(reply) else "UNPARSABLE"
    return ItemError(f"{name} gives no readable answer to {text!r}: {reply[:80]!r}", code=code)


def answer_of(question: Question, heard: Heard, calibration: Calibration | None) -> Answer:
    """The answer to a question, calibrated where the judge is."""
    common: dict[str, Any] = {
        "question": question, "asked": len(heard.votes) + heard.lost, "lost": heard.lost,
        "code": heard.code, "message": heard.message,
    }  # fmt: skip
    if not heard.votes:
        return Answer(**common, status=_status(heard.code))
    shares = {key: fsum(vote.get(key, 0.0) for vote in heard.votes) / len(heard.votes) for key in _keys(heard)}
    text = max(shares, key=lambda each: shares[each])
    if question.form == "open":
        alike = [each for vote in heard.votes for each in vote]  # the majority reply
        same = [normalise(each) for each in alike]
        return Answer(**common, text=max(alike, key=lambda each: same.count(normalise(each))))
    wanted = wanted_of(question)
    values = [vote.get(wanted, 0.0) for vote in heard.votes]
    raw = min(1.0, shares.get(wanted, 0.0))
    chance = raw if calibration is None else calibration.chance(question, raw)
    if question.form == "number" and text == wanted:
        text = question.answer
    return Answer(**common, text=text, chance=chance, raw=raw, chances=shares, spread=pstdev(values))


def wanted_of(question: Question) -> str:
    """The wanted answer as votes spell it."""
    if question.form == "yes_no":
        return normalise(question.answer)
    return str(read_number(question.answer, alone=True)) if question.form == "number" else question.answer


def _keys(heard: Heard) -> list[str]:
    return list(dict.fromkeys(key for vote in heard.votes for key in vote))


def _status(code: str) -> Status:
    return "refused" if code in REFUSALS else "unparsable" if code == "UNPARSABLE" else "failed"
