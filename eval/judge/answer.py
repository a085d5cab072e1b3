"""A judge's answer with its probability, its spread over wordings, or the reason why there is none.

In: nothing. Out: `Answer`. A refusal or a reply that cannot be parsed has a status of its own and never counts as "no".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from v2t_eval.judge.question import Question
from v2t_eval.judge.replies import normalise

Status = Literal["answered", "refused", "unparsable", "failed", "unaudited"]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One question, asked of one clip in one or several wordings and orders of its choices.

    Attributes:
        question: as it was asked.
        status: answered; refused or unparsable: no wording got a readable answer; failed: the captioner raised an
            error; unaudited: not asked, since the audit did not show that the judge recognises the wanted answer.
        text: the answer in words: yes or no, one of the choices, a number, free text; None without one.
        chance: calibrated probability that the wanted answer (`question.answer`) is true, 0 to 1; None without an
            answer, and for open questions. Its calibration is the judge's, see `v2t_eval.judge.calibration`.
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
