"""Answers: which questions about a clip are answered rightly, per kind.

In: answers with their references. Out: accuracy per kind with Wilson intervals that count the questions of one clip as
belonging together; yes/no questions by balanced accuracy (the mean of the accuracy on yes and on no, so that always
saying yes is worth one half). A right answer equals the reference after normalisation: case, articles, punctuation,
number words, wordings of one direction; seconds may be off by half a second. An answer that cannot be read is wrong and
counted apart as `unreadable`, one that is not there as `missing`; none is left out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from cineloop.errors import ItemError
from cineloop.world.language import lexicon as lex
from v2t_eval.core.measurement import Evidence, Observation
from v2t_eval.core.metric import BaseMetric, Figure, Summary
from v2t_eval.core.sample import Sample
from v2t_eval.core.statistics import weighted_shares

VERDICTS = ("right", "wrong", "unreadable", "missing")
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
    match = re.match(r"\W*(yes|no)\b", answer.lower())
    return match[1] if match else None


def judge(kind: str, answer: str | None, reference: str) -> str:
    """Right, wrong, unreadable or missing."""
    if answer is None:
        return "missing"
    if not answer.strip():
        return "unreadable"
    if kind.startswith("yesno"):
        given = yes_or_no(answer)
        if given is None:
            return "unreadable"
        return "right" if given == yes_or_no(reference) else "wrong"
    if kind in _TIMED and _NUMBER.search(reference):
        given_s, true_s = ([float(n) for n in _NUMBER.findall(text)] for text in (answer, reference))
        if len(given_s) != len(true_s):
            return "wrong" if given_s else "unreadable"
        near = all(abs(a - b) <= SECONDS_OFF + 1e-9 for a, b in zip(given_s, true_s, strict=True))
        return "right" if near else "wrong"
    return "right" if normalise(answer) == normalise(reference) else "wrong"


class Metric(BaseMetric):
    name = "answers"
    level = "text"
    needs = ("kind", "reference")
    uses = ("question", "answer")
    reduction = "set"
    detects = "whether a short answer is the true one, in any usual wording"
    misses = "answers at length, and everything but the cartoon world's kinds of answer: others must agree in words"
    version = 2

    def measure(self, sample: Sample) -> Evidence:
        """The verdict on one answer, with question and answer; the answer is None where there is none.

        Raises:
            ItemError: BAD_ROW, kind or reference is not a text; BAD_REFERENCE, neither yes nor no where one is
                expected.
        """
        kind, reference, answer = sample.require("kind"), sample.require("reference"), sample.get("answer")
        if not all(isinstance(one, str) for one in (kind, reference)) or not isinstance(answer, str | None):
            raise ItemError(f"{sample.id}: kind, reference and answer must be texts", code="BAD_ROW")
        if kind.startswith("yesno") and yes_or_no(reference) is None:
            raise ItemError(f"{sample.id}: {kind!r} expects yes or no, not {reference!r}", code="BAD_REFERENCE")
        verdict = judge(kind, answer, reference)
        about = {"kind": kind, "question": sample.get("question"), "answer": answer, "reference": reference}
        return {**about, "verdict": verdict}

    def summarise(self, rows: Sequence[Observation], references: Sequence[Observation]) -> Summary:
        """Accuracies; the headline `all` is the mean of open and yes/no accuracy."""
        kinds = sorted({row.evidence["kind"] for row in rows}, key=lambda kind: (kind.startswith("yesno"), kind))
        figures = {kind: _accuracy([row for row in rows if row.evidence["kind"] == kind]) for kind in kinds}
        closed = [row for row in rows if _part(row) != "open"]
        open_ones = [row for row in rows if _part(row) == "open"]
        figures |= {"open": _accuracy(open_ones)} if open_ones else {}
        figures |= {"yesno": _accuracy(closed)} if closed else {}
        figures["all"] = _accuracy(rows)
        verdicts = [row.evidence["verdict"] for row in rows]
        counts = {name: verdicts.count(name) for name in VERDICTS}
        return Summary(
            headline="all",
            figures=figures,
            items=[{"id": row.id, "value": float(row.evidence["verdict"] == "right"), **row.evidence} for row in rows],
            counts=counts,
        )


def _part(row: Observation) -> str:
    """open, or for a yes/no question its true answer."""
    if not row.evidence["kind"].startswith("yesno"):
        return "open"
    return str(yes_or_no(row.evidence["reference"]))


def _accuracy(rows: Sequence[Observation]) -> Figure:
    """Open questions weigh as much as yes/no questions, yes as much as no, of the parts that are there."""
    parts = sorted({_part(row) for row in rows})
    closed = [part for part in parts if part != "open"]
    halves = ("open" in parts) + bool(closed)
    weights = [1 / halves / (1 if part == "open" else len(closed)) for part in parts]
    num = np.array([[_part(row) == part for part in parts] for row in rows], dtype=int)  # (n, k)
    right = num * np.array([[row.evidence["verdict"] == "right"] for row in rows])  # (n, k)
    value, (low, high) = weighted_shares(right, num, weights, [row.cluster for row in rows])
    verdicts = [row.evidence["verdict"] for row in rows]
    return Figure(
        value=value, low=low, high=high, n=len(rows), detail={name: verdicts.count(name) for name in VERDICTS}
    )
