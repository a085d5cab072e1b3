"""What a test says of one clip: passed, failed, or nothing that holds, in plain words.

In: answers and figures as data. Out: `Verdict`. Pure functions; nothing is imported but the standard library.
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
    """A metric's value for the clip and what it must keep to; `value` None where it has none, and `why`."""

    metric: str
    value: float | None
    at_least: float | None = None
    at_most: float | None = None
    why: str = ""

    @property
    def holds(self) -> bool:
        """Whether there is a value, and it lies within the bounds."""
        if self.value is None:
            return False
        low = self.at_least is None or self.value >= self.at_least
        return low and (self.at_most is None or self.value <= self.at_most)

    @property
    def told(self) -> str:
        """The value against its bounds, in words."""
        asked = [f"at least {self.at_least:g}"] if self.at_least is not None else []
        asked += [f"at most {self.at_most:g}"] if self.at_most is not None else []
        value = f"has no value ({self.why})" if self.value is None else f"is {self.value:.4g}"
        return f"{self.metric} {value}, must be {' and '.join(asked)}"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Everything about one clip; true where it passed.

    Attributes:
        path: of the clip, as it was given.
        prompt: what it was to show.
        answers: one row a question: question, wanted, said, chance (of what was said), right (None without an answer).
        bounds: metrics with what they must keep to.
        reasons: why it does not pass, in plain words.
        outside: why the judge's answers do not count here, "" where they do.
        judge: who answered.
        strip: picture of its frames, where it did not pass.
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
        """pass; fail, for a reason that holds whoever judges or by a judge that knows this world; else outside."""
        return "fail" if self.reasons else "outside" if self.outside else "pass"

    def __bool__(self) -> bool:
        return self.outcome == "pass"

    def __str__(self) -> str:
        return self.message

    @property
    def message(self) -> str:
        """The whole in words, several lines."""
        said = {
            "pass": "passes",
            "fail": "does not pass",
            "outside": "cannot be judged",
        }[self.outcome]
        lines = [f"{self.path} {said}" + (f', asked for "{self.prompt}"' if self.prompt else "")]
        lines += [f"  {reason}" for reason in self.reasons]
        if self.outside:
            lines.append(f"  {self.outside}")
        held = [bound.told for bound in self.bounds if bound.holds]
        if not self and held:
            lines.append(f"  holds: {'; '.join(held)}")
        if self.strip is not None:
            lines.append(f"  frames: {self.strip}")
        return "\n".join(lines)


def reasons_of(answers: Sequence[Row], judge: str) -> list[str]:
    """What the answers have against the clip: those that are not as wanted, by themselves and not for want of what they
    presuppose, and those without an answer. Empty where all are as wanted, or were not asked for want of an audit."""
    wrong = {row["id"] for row in answers if not row["right"] and row["status"] != "unaudited"}
    if not wrong:
        return []
    lines = [f"{len(wrong)} of {len(answers)} questions are not answered as asked for (judge {judge}):"]
    for row in answers:
        if row["id"] in wrong and not wrong & set(row["parents"]):
            lines.append(f"  {row['question']} {_against(row)}")
    hanging = [row["question"] for row in answers if row["id"] in wrong and wrong & set(row["parents"])]
    if hanging:
        lines.append(f"  and what hangs on these: {' '.join(hanging)}")
    return lines


def _against(row: Row) -> str:
    if row["status"] != "answered":
        return f"asked for: {row['wanted']}; no answer ({row['status']}: {row['message']})"
    chance = "" if row["chance"] is None else f" (chance {_share(row['chance'])})"
    if row["said"] == row["wanted"]:  # the likeliest of many answers, and still not likely
        return f"asked for: {row['wanted']}; the judge is not sure of it{chance}"
    return f"asked for: {row['wanted']}; seen: {row['said']}{chance}"


def _share(chance: float) -> str:
    """.97; never a full 1 or 0 by rounding."""
    return ".99+" if 0.995 <= chance < 1 else "under .01" if 0 < chance < 0.005 else f"{chance:.2f}".lstrip("0")
