"""What metrics recorded of a clip beside its value, as lines that people read.

In: the items of results. Out: lines, and a caption with its false words struck. Answers and facts are marked ✓ right,
✗ wrong, – not answered; everything else is written as names and values.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from v2t_eval.core.scores import ItemScores, Scores
from v2t_eval.report.cells import number
from v2t_eval.report.document import StruckText

_MARKS = {True: "✓", False: "✗", None: "–"}
_UNSHOWN = ("id", "value", "claims")  # the claims are those of `questions`, or say what the value says
_TALLY = ("right", "missed", "wrong")  # of the facts of a kind


def evidence(scores: Scores, shown: Mapping[str, ItemScores]) -> dict[str, list[str]]:
    """By id: what each metric records of the sample in addition to its value, and why it could not score it."""
    lines: dict[str, list[str]] = {}
    for result in scores.results:
        for item in result.items:
            if (clip := shown.get(item["id"])) is not None:
                lines.setdefault(item["id"], []).extend(_lines(result.name, item, clip))
        for failure in result.failures:
            if failure["id"] in shown:
                text = f"{result.name}: not scored, {failure['code']}: {failure['message']}"
                lines.setdefault(failure["id"], []).append(text)
    return lines


def _lines(name: str, item: Mapping[str, Any], clip: ItemScores) -> list[str]:
    if _has_facts(item):
        return fact_lines(item)
    known = (clip.prompt, clip.caption)
    more = {key: value for key, value in item.items() if key not in _UNSHOWN and value not in known}
    asked = more.get("questions")
    lines = answer_lines(more.pop("questions")) if _are_answers(asked) else []
    text = _as_text(more)
    return [*lines, *([f"{name}: {text}"] if text else [])]


def _has_facts(item: Mapping[str, Any]) -> bool:
    facts = item.get("facts")
    return isinstance(facts, Mapping) and all(
        isinstance(each, list) and len(each) == len(_TALLY) for each in facts.values()
    )


def _are_answers(asked: Any) -> bool:
    keys = {"question", "answer", "wanted", "right"}
    return isinstance(asked, list) and all(isinstance(each, Mapping) and keys <= set(each) for each in asked)


def answer_lines(questions: list[Mapping[str, Any]]) -> list[str]:
    """A line for each question that the judge was asked: its answer, and what was asked for where that differs."""
    return [
        f"{_MARKS[each['right']]} {each['question']} {each['answer']}"
        + ("" if each["right"] else f" (asked for: {each['wanted']})")
        for each in questions
    ]


def fact_lines(item: Mapping[str, Any]) -> list[str]:
    """The facts of a caption by kind in one line, wrong ones first, each with what is wrong with it."""
    wrong: list[str] = []
    right: list[str] = []
    for kind, counts in item["facts"].items():
        tally = dict(zip(_TALLY, counts, strict=True))
        faults = [f"{tally[name]} {name}" if sum(counts) > 1 else name for name in _TALLY[1:] if tally[name]]
        (wrong if faults else right).append(f"✗ {kind} ({', '.join(faults)})" if faults else f"✓ {kind}")
    wrong += [f"✗ {item['made_up']} made up"] if item["made_up"] else []
    return [line for line in ("  ".join(wrong), "  ".join(right)) if line]


def struck_text(caption: str, item: Mapping[str, Any]) -> StruckText:
    """The caption with the words struck that state something false."""
    return StruckText(caption, tuple((begin, end) for begin, end in item.get("wrong_words", ())))


def _as_text(value: Any) -> str:
    """Evidence in words: no brackets of JSON, nothing for what is empty or false."""
    if isinstance(value, Mapping):
        return ", ".join(filter(None, (_pair(key, one) for key, one in value.items())))
    if isinstance(value, list | tuple):
        return "; ".join(map(_as_text, value))
    return number(value) if isinstance(value, float) else str(value)


def _pair(key: str, value: Any) -> str:
    if value is None or value is False or (not isinstance(value, int | float) and not value):
        return ""
    if value is True:
        return key
    nested = isinstance(value, Mapping) or (isinstance(value, list) and any(isinstance(one, Mapping) for one in value))
    return f"{key} ({_as_text(value)})" if nested else f"{key} {_as_text(value)}"
