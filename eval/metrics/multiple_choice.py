"""Multiple choice: which of the offered answers a free reply picks, and whether it is the right one.

In: the choices, a reply in free text, the right choice (its letter or text), and where it is there a reply to the same
question without the clip (`blind_answer`). Out: the accuracy over the replies that could be read, and with unreadable
replies and refusals as wrong, each beside the accuracy of guessing and of the blind replies. How a reply is read, first
rule first: it is the text of a choice; it states a letter or number ("the answer is C", "option 2"); it begins with one
("B", "(b) blue"); it holds the text of exactly one choice, at its beginning ("No, it is not") or without a negation.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from eval.metric import BaseMetric, Evidence, Figure, Measured, Summary
from eval.metrics.squad import normalise
from eval.sample import Sample
from eval.stats import weighted_shares
from v2t.base.errors import ItemError

READ = "accuracy of read replies"
ALL = "accuracy, unread as wrong"
VERDICTS = ("right", "wrong", "unreadable", "refused")

_REFUSAL = re.compile(
    r"\b(?:i['’]?m sorry|i am sorry|i apologi[sz]e|as an ai|i (?:can(?:no|['’])?t|am unable|am not able|do not know|"
    r"don['’]?t know)|(?:cannot|can['’]t|not possible to|unable to) (?:be )?(?:determine|answer|tell|say|identif)\w*)",
    re.IGNORECASE,
)
_LABEL = r"[(\[{*_\"']*(?P<label>[A-Z]|\d{1,2})(?![\w'’])[)\]}*_\"']*"
_STATED = re.compile(
    rf"\b(?:answer|option|choice|choose|pick|select)(?:\s+(?:is|would be|should be|must be|option|choice))*\s*[:=]?\s*"
    rf"\**\s*{_LABEL}|\\boxed\{{\s*(?:\\text\{{)?\s*(?P<boxed>[A-Z]|\d{{1,2}})\b|"
    rf"(?<![\w'’]){_LABEL.replace('label', 'before')}\s+is\s+(?:the\s+)?(?:right|correct|best|true|answer)\b",
    re.IGNORECASE,
)
# "The answer is a mystery" and "the answer is 2 dogs" state no label; "the answer is C" does, whatever follows.
_STATED_WHOLE = re.compile(r"\W*$|\s*[.,;:!?)\n]|\s+(?:because|since|as|which|for)\b|\s+[-–—(]")
_CAPITAL = "BCDEFGHJKLMNOPQRSTUVWXYZ"  # not the two that are words of English
# A letter that opens the reply must be marked as one: "A dog runs" names no choice A.
_OPENING = re.compile(r"^\W*(?P<label>[A-Za-z]|\d{1,2})(?:\s*[.):\]}*,]|\s*$|\s+[-–—]\s|\s*\n)")
_ALONE = re.compile(rf"^\W*(?P<label>[{_CAPITAL}])\s")
_NEGATION = re.compile(r"\b(?:not|no|never|neither|nor|cannot|without|except)\b|n['’]t\b", re.IGNORECASE)


def read_choice(reply: str, choices: Sequence[str]) -> int | None:
    """Index of the choice that a reply picks; None where none, or more than one, can be read from it."""
    named = [_plain(choice) for choice in choices]
    text = reply.strip().rpartition("</think>")[2]
    if _plain(text) and named.count(_plain(text)) == 1:
        return named.index(_plain(text))
    stated = [_stated(found, choices) for found in _STATED.finditer(text)]
    if found := [index for index in stated if index is not None]:
        return found[-1]  # a reply that thinks aloud says its answer last
    for pattern in (_OPENING, _ALONE):
        opening = pattern.match(text)
        if opening and (index := _index(opening["label"], choices)) is not None:
            return index
    index = _contained(_plain(text), named)
    if index is None or not _NEGATION.search(text) or _NEGATION.search(named[index]):
        return index
    return index if _plain(re.split(r"[,.;:!\n]", text)[0]) == named[index] else None


def is_refusal(reply: str) -> bool:
    """Whether a reply declines to answer."""
    return _REFUSAL.search(reply) is not None


def _plain(text: str) -> str:
    return normalise(text) or text.strip().lower()


def _index(label: str, choices: Sequence[str]) -> int | None:
    """The choice that a letter (A is the first) or number (1 is the first) names."""
    index = int(label) - 1 if label.isdigit() else ord(label.upper()) - ord("A")
    return index if 0 <= index < len(choices) else None


def _stated(found: re.Match[str], choices: Sequence[str]) -> int | None:
    label = next(filter(None, found.groups()))
    if found["label"] and label not in _CAPITAL and not _STATED_WHOLE.match(found.string, found.end()):
        return None
    return _index(label, choices)


def _contained(text: str, named: Sequence[str]) -> int | None:
    """The one choice whose words stand in the text; a choice within a longer one that stands there does not count."""
    found = []
    for index, name in enumerate(named):
        spans = [match.span() for match in re.finditer(rf"(?<!\w){re.escape(name)}(?!\w)", text)] if name else []
        found += [(index, span) for span in spans]
    free = {
        index
        for index, (start, end) in found
        if not any(a <= start and end <= b and (a, b) != (start, end) for _, (a, b) in found)
    }
    return free.pop() if len(free) == 1 else None


class Metric(BaseMetric):
    """Accuracy of picks among choices."""

    name = "multiple_choice"
    level = "text"
    needs = ("choices", "answer", "reference")
    uses = ("blind_answer",)
    higher_is_better = True
    value_range = (0.0, 1.0)
    sees = "which of the offered choices a reply picks"
    blind = "whether the clip was needed at all (see the blind replies), and reasons given beside the pick"
    wants = ""
    version = 1
    modules = ("eval.metrics.squad",)

    def measure(self, sample: Sample) -> Evidence:
        """Verdict on the reply and on the blind reply (None where there is none), and the number of choices.

        Raises:
            ItemError: BAD_ROW, fewer than two choices, equal ones, a reply that is no text; BAD_REFERENCE, the right
                choice is none of them.
        """
        choices, reply, reference = (sample.require(name) for name in self.needs)
        if not isinstance(choices, list | tuple) or not all(isinstance(one, str) for one in choices):
            raise ItemError(f"{sample.id}: choices must be a list of texts, got {choices!r}", code="BAD_ROW")
        if not 2 <= len(choices) <= 26 or len({_plain(one) for one in choices}) < len(choices):
            raise ItemError(f"{sample.id}: expected 2 to 26 choices that differ, got {choices!r}", code="BAD_ROW")
        blind = sample.get("blind_answer")
        if not isinstance(reply, str) or not isinstance(blind, str | None):
            raise ItemError(f"{sample.id}: an answer must be a text", code="BAD_ROW")
        true = read_choice(reference, choices) if isinstance(reference, str) else None
        if true is None:
            raise ItemError(
                f"{sample.id}: the reference {reference!r} is none of the {len(choices)} choices",
                code="BAD_REFERENCE",
                hint="give the letter or the text of the right choice",
            )
        return {
            "verdict": _verdict(reply, choices, true),
            "picked": read_choice(reply, choices),
            "true": true,
            "num_choices": len(choices),
            "blind": None if blind is None else _verdict(blind, choices, true),
        }

    def summarise(self, rows: Sequence[Measured], references: Sequence[Measured]) -> Summary:
        """Accuracies, chance and blind replies; the headline counts the replies that could be read."""
        verdicts = [row.evidence["verdict"] for row in rows]
        counts = {name: verdicts.count(name) for name in VERDICTS}
        read = [row for row in rows if row.evidence["verdict"] in ("right", "wrong")]
        worth = {"right": 1.0, "wrong": 0.0}
        items = [{"id": row.id, "value": worth.get(row.evidence["verdict"]), **row.evidence} for row in rows]
        if not read:
            return Summary(headline=READ, figures={}, items=items, counts=counts, scored=0)
        chance = sum(1 / row.evidence["num_choices"] for row in rows) / len(rows)
        figures = {
            READ: _accuracy(read, "verdict"),
            ALL: _accuracy(rows, "verdict"),
            "chance": Figure(value=chance, low=chance, high=chance, n=len(rows)),
        }
        blind = [row for row in rows if row.evidence["blind"] is not None]
        notes: tuple[str, ...] = ()
        if blind:
            figures["blind accuracy, unread as wrong"] = _accuracy(blind, "blind")
            counts["blind"] = len(blind)
        else:
            notes = ("without replies that did not see the clip (blind_answer), what words alone give is not known",)
        return Summary(headline=READ, figures=figures, items=items, counts=counts, notes=notes, scored=len(read))


def _verdict(reply: str, choices: Sequence[str], true: int) -> str:
    picked = read_choice(reply, choices)
    if picked is not None:
        return "right" if picked == true else "wrong"
    return "refused" if is_refusal(reply) else "unreadable"


def _accuracy(rows: Sequence[Measured], key: str) -> Figure:
    right = np.array([[row.evidence[key] == "right"] for row in rows])  # (n, 1)
    value, (low, high) = weighted_shares(right, np.ones_like(right), (1,), [row.cluster for row in rows])
    return Figure(value=value, low=low, high=high, n=len(rows), detail={"right": int(right.sum())})
