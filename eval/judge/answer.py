"""A judge's answer with its probability, its spread over wordings, or the reason why there is none.

In: votes. Out: `Votes`, the votes whatever the wanted answer is, which can be cached, and the `Answer` made of them. A
refusal or a reply that cannot be parsed has a status of its own and never counts as "no".
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field, replace
from math import fsum
from statistics import pstdev
from typing import Any, Literal

from cineloop.errors import ItemError
from v2t_eval.judge.calibration import Calibration, chance_of
from v2t_eval.judge.question import Question
from v2t_eval.judge.replies import is_refusal, normalise, read_number

REFUSALS = ("REFUSED", "PROMPT_REFUSED")
Status = Literal["answered", "refused", "unparsable", "failed", "unaudited"]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One question, asked of one clip in one or several wordings and orders of its choices.

    Attributes:
        question: as it was asked.
        status: answered; refused or unparsable: no wording got a readable answer; failed: the captioner raised an
            error; unaudited: not asked, since the audit did not show that the judge recognises the wanted answer, or
            since the question has a word outside the judge's vocabulary.
        text: the answer in words: yes or no, one of the choices, a number, free text; None without one.
        chance: calibrated probability that the wanted answer (`question.answer`) is true, 0 to 1; None without an
            answer, and for open questions. Its calibration is the judge's, see `v2t_eval.judge.calibration`; of the
            answers of a list that exclude each other only the likeliest can reach one half.
        raw: the same before calibration.
        chances: for each choice (yes and no where there are none) its probability before calibration, summing to 1.
        spread: standard deviation of `raw` over wordings and orders; 0 where there was one.
        asked: how often it was asked; `lost`: how many of these gave no readable answer.
        code, message: why these, or all, gave none.
        rule: why no model was asked, where a rule gave the answer; "" where the judge did.
    """

    question: Question
    status: Status = "answered"
    text: str | None = None
    chance: float | None = None
    raw: float | None = None
    chances: dict[str, float] = field(default_factory=dict)
    spread: float = 0.0
    asked: int = 1
    lost: int = 0
    code: str = ""
    message: str = ""
    rule: str = ""

    @property
    def right(self) -> bool | None:
        """Whether the wanted answer is judged true; None without an answer."""
        return self.is_right()

    def is_right(self, threshold: float = 0.5) -> bool | None:
        """The same at a chance of `threshold` or more, 0 to 1. Open answers are compared in SQuAD's spelling."""
        if self.status != "answered":
            return None
        if self.chance is None:
            return normalise(self.text or "") == normalise(self.question.answer)
        return self.chance >= threshold

    def summary(self, threshold: float = 0.5) -> str:
        """The decision in words with its probability; both answers where the decision is not the likeliest answer."""
        if self.status != "answered" or self.text is None:
            return self.code.lower() or self.status
        if self.rule:
            return f"{self.text} ({self.rule})"
        if self.chance is None:
            return self.text
        wanted, is_right = self.question.answer, self.is_right(threshold)
        if is_right == (normalise(self.text) == normalise(wanted)):
            return f"{self.text} (chance of {wanted!r} {self.chance:.2f})"
        return (
            f"likeliest {self.text!r}, yet {wanted!r} is {'' if is_right else 'not '}held true: "
            f"its calibrated chance is {self.chance:.2f}, {threshold:g} decides"
        )


@dataclass(frozen=True, kw_only=True)
class Votes:
    """One question in all its wordings and orders: for each time that it got an answer, the share of every answer,
    which sum to 1; how often it got none, and why the last time."""

    votes: tuple[Mapping[str, float], ...] = ()
    lost: int = 0
    code: str = ""
    message: str = ""

    def with_vote(self, vote: Mapping[str, float]) -> Votes:
        """One more answer."""
        return replace(self, votes=(*self.votes, vote))

    def with_loss(self, problem: ItemError) -> Votes:
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


def answer_of(question: Question, heard: Votes, calibration: Calibration | None) -> Answer:
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
    wanted = wanted_answer(question)
    values = [vote.get(wanted, 0.0) for vote in heard.votes]
    raw = min(1.0, shares.get(wanted, 0.0))
    is_other = question.form in ("choice", "number") and text != wanted
    chance = chance_of(calibration, question, raw, shares[text] if is_other else None)
    if question.form == "number" and text == wanted:
        text = question.answer
    return Answer(**common, text=text, chance=chance, raw=raw, chances=shares, spread=pstdev(values))


def wanted_answer(question: Question) -> str:
    """The wanted answer as votes spell it."""
    if question.form == "yes_no":
        return normalise(question.answer)
    return str(read_number(question.answer, alone=True)) if question.form == "number" else question.answer


def _keys(heard: Votes) -> list[str]:
    return list(dict.fromkeys(key for vote in heard.votes for key in vote))


def _status(code: str) -> Status:
    return "refused" if code in REFUSALS else "unparsable" if code == "UNPARSABLE" else "failed"
