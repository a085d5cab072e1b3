"""Answers: which questions about a clip are answered rightly, per kind.

In: answers with their references. Out: accuracy per kind with Wilson intervals; yes/no questions by balanced accuracy
(the mean of the accuracy on yes and on no, so that always saying yes is worth one half). A right answer equals the
reference after normalisation: case, articles, punctuation, number words, wordings of one direction; seconds may be off
by half a second. An answer that cannot be read is wrong and counted apart as `unreadable`, one that is not there as
`missing`; none is left out.
"""

from __future__ import annotations

import re
from typing import Any

from eval.metric import Figure, MetricResult, fingerprint
from eval.stats import mean_of_shares, wilson
from v2t.world import lexicon as lex

SECONDS_OFF = 0.5
_TIMED = ("when", "duration", "span")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_FILL = {"a", "an", "the", "it", "is", "are", "they", "he", "she", "there", "toward", "towards", "to"}
_SAME = {word: str(number) for number, word in lex.NUMBERS.items()} | {"none": "0", "zero": "0", "no": "0"}
_SAME |= {"upward": "up", "upwards": "up", "downward": "down", "downwards": "down", "fast": "quickly", "slow": "slowly"}
_SAME |= {"little": "small", "big": "large", "leftward": "left", "rightward": "right"}


def normalise(answer: str) -> str:
    """The answer as compared: lower case, no articles or punctuation, one spelling for one meaning."""
    words = re.findall(r"[a-z]+|\d+(?:\.\d+)?", answer.lower())
    return " ".join(_SAME.get(word, word) for word in words if word not in _FILL)


def yes_or_no(answer: str) -> str | None:
    """The word yes or no, from the answer's first word; None when it is neither."""
    found = re.match(r"\W*(yes|no)\b", answer.lower())
    return found[1] if found else None


def judge(kind: str, answer: str | None, reference: str) -> str:
    """Right, wrong, unreadable or missing."""
    if answer is None:
        return "missing"
    if not answer.strip():
        return "unreadable"
    if kind.startswith("yesno"):
        said = yes_or_no(answer)
        if said is None:
            return "unreadable"
        return "right" if said == yes_or_no(reference) else "wrong"
    if kind in _TIMED and _NUMBER.search(reference):
        said_s, true_s = ([float(n) for n in _NUMBER.findall(text)] for text in (answer, reference))
        if len(said_s) != len(true_s):
            return "wrong" if said_s else "unreadable"
        near = all(abs(a - b) <= SECONDS_OFF + 1e-9 for a, b in zip(said_s, true_s, strict=True))
        return "right" if near else "wrong"
    return "right" if normalise(answer) == normalise(reference) else "wrong"


class Metric:
    """Accuracy per kind of question, balanced over yes and no."""

    name = "answers"
    level = "text"
    needs = ("kind", "answer", "reference")
    higher_is_better = True
    value_range = (0.0, 1.0)

    def __init__(self) -> None:
        self._items: list[dict[str, Any]] = []

    def update(self, id: str, kind: str, question: str, answer: str | None, reference: str) -> None:
        """Judge one answer; None where there is none."""
        verdict = judge(kind, answer, reference)
        self._items.append(
            {"id": id, "kind": kind, "question": question, "answer": answer, "reference": reference, "verdict": verdict}
        )

    def compute(self) -> MetricResult:
        """The figures over all answers so far. The headline `all` is the mean of open and yes/no accuracy.

        Raises:
            ValueError: when nothing was judged.
        """
        if not self._items:
            raise ValueError("no answer was judged")
        kinds = sorted({item["kind"] for item in self._items}, key=lambda kind: (kind.startswith("yesno"), kind))
        figures = {kind: self._figure([i for i in self._items if i["kind"] == kind]) for kind in kinds}
        open_ones = [i for i in self._items if not i["kind"].startswith("yesno")]
        closed = [i for i in self._items if i["kind"].startswith("yesno")]
        if open_ones:
            figures["open"] = self._figure(open_ones)
        if closed:
            figures["yesno"] = self._figure(closed)
        figures["all"] = _whole(open_ones, closed)
        verdicts = [item["verdict"] for item in self._items]
        counts = {name: verdicts.count(name) for name in ("right", "wrong", "unreadable", "missing")}
        num = len(self._items)
        return MetricResult(
            name=self.name,
            headline="all",
            figures=figures,
            n=num,
            coverage=(num - counts["missing"] - counts["unreadable"]) / num,
            fingerprint=fingerprint("answers/1", ("v2t.world.lexicon", "eval.metrics.answers")),
            counts=counts,
            items=self._items,
        )

    @staticmethod
    def _figure(items: list[dict[str, Any]]) -> Figure:
        detail = {
            name: sum(i["verdict"] == name for i in items) for name in ("right", "wrong", "unreadable", "missing")
        }
        parts = _by_reference(items) if items[0]["kind"].startswith("yesno") else []
        if len(parts) == 2:
            value, (low, high) = mean_of_shares(parts)
        else:
            value = detail["right"] / len(items)
            low, high = wilson(detail["right"], len(items))
        return Figure(value=value, low=low, high=high, n=len(items), detail=detail)


def _by_reference(items: list[dict[str, Any]]) -> list[tuple[int, int]]:
    """(right, all) for the answers yes and no."""
    parts = []
    for reference in ("yes", "no"):
        asked = [i["verdict"] == "right" for i in items if yes_or_no(i["reference"]) == reference]
        if asked:
            parts.append((sum(asked), len(asked)))
    return parts


def _whole(open_ones: list[dict[str, Any]], closed: list[dict[str, Any]]) -> Figure:
    """Open questions and the two yes/no answers weigh one half, one quarter, one quarter."""
    halves = [Metric._figure(items) for items in (open_ones, closed) if items]
    value = sum(half.value for half in halves) / len(halves)
    below = sum((half.value - half.low) ** 2 for half in halves) ** 0.5 / len(halves)
    above = sum((half.high - half.value) ** 2 for half in halves) ** 0.5 / len(halves)
    return Figure(value=value, low=max(0.0, value - below), high=min(1.0, value + above), n=sum(h.n for h in halves))
