"""Verdict of a test on one clip: pass, fail or outside the judge's domain, with reasons.

In: answers and figures as data. Out: `Verdict`. Pure functions; imports only the standard library.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Outcome = Literal["pass", "fail", "outside"]
Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Bound:
    """A metric's value for the clip and its bounds; where `value` is None, `why` states the reason."""

    metric: str
    value: float | None
    at_least: float | None = None
    at_most: float | None = None
    why: str = ""

    @property
    def holds(self) -> bool:
        """Whether there is a value within the bounds."""
        if self.value is None:
            return False
        low = self.at_least is None or self.value >= self.at_least
        return low and (self.at_most is None or self.value <= self.at_most)

    @property
    def description(self) -> str:
        """The value and its bounds as text."""
        bounds = [f"at least {self.at_least:g}"] if self.at_least is not None else []
        bounds += [f"at most {self.at_most:g}"] if self.at_most is not None else []
        value = f"has no value ({self.why})" if self.value is None else f"is {self.value:.4g}"
        return f"{self.metric} {value}, must be {' and '.join(bounds)}"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The verdict on one clip; true where it passed.

    Attributes:
        path: of the clip, as it was given.
        prompt: what it should show.
        answers: one row a question: question, wanted, answer, chance (of that answer), right (None without).
        bounds: metrics with their bounds.
        reasons: why it does not pass.
        outside: why the judge's answers do not count here, "" where they do.
        judge: name@revision.
        strip: image of its frames, where it did not pass.
    """

    path: str
    prompt: str | None = None
    answers: tuple[Row, ...] = ()
    bounds: tuple[Bound, ...] = ()
    reasons: tuple[str, ...] = ()
    outside: str = ""
    judge: str = ""
    strip: Path | None = None

    @property
    def outcome(self) -> Outcome:
        """pass; fail, for a reason independent of the judge or by a judge of this domain; else outside."""
        return "fail" if self.reasons else "outside" if self.outside else "pass"

    def __bool__(self) -> bool:
        return self.outcome == "pass"

    def __str__(self) -> str:
        return self.message

    @property
    def message(self) -> str:
        """The verdict as text of several lines."""
        word = {
            "pass": "passes",
            "fail": "does not pass",
            "outside": "cannot be judged",
        }[self.outcome]
        lines = [f"{self.path} {word}" + (f', asked for "{self.prompt}"' if self.prompt else "")]
        lines += [f"  {reason}" for reason in self.reasons]
        if self.outside:
            lines.append(f"  {self.outside}")
        held = [bound.description for bound in self.bounds if bound.holds]
        if not self and held:
            lines.append(f"  holds: {'; '.join(held)}")
        if self.strip is not None:
            lines.append(f"  frames: {self.strip}")
        return "\n".join(lines)


def reasons_of(answers: Sequence[Row], judge: str) -> list[str]:
    """Reasons against the clip: questions answered otherwise than wanted, listed under the question they depend on, and
    those without an answer. Empty where all are as wanted, or unaudited."""
    wrong = {row["id"] for row in answers if not row["right"] and row["status"] != "unaudited"}
    if not wrong:
        return []
    lines = [f"{len(wrong)} of {len(answers)} questions are not answered as asked for (judge {judge}):"]
    for row in answers:
        if row["id"] in wrong and not wrong & set(row["parents"]):
            lines.append(f"  {row['question']} {_against(row)}")
    hanging = [row["question"] for row in answers if row["id"] in wrong and wrong & set(row["parents"])]
    if hanging:
        lines.append(f"  and their dependent questions: {' '.join(hanging)}")
    return lines


def _against(row: Row) -> str:
    if row["status"] != "answered":
        return f"asked for: {row['wanted']}; no answer ({row['status']}: {row['message']})"
    chance = "" if row["chance"] is None else f" (chance {_share(row['chance'])})"
    if row["answer"] == row["wanted"]:  # the likeliest of many answers, below the threshold
        return f"asked for: {row['wanted']}; the judge is not sure of it{chance}"
    return f"asked for: {row['wanted']}; seen: {row['answer']}{chance}"


def _share(chance: float) -> str:
    """.97; never a full 1 or 0 by rounding."""
    return ".99+" if 0.995 <= chance < 1 else "under .01" if 0 < chance < 0.005 else f"{chance:.2f}".lstrip("0")
