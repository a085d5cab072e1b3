"""The verdict on a terminal: the word first, then what decided it, in at most 100 columns.

In: a `Verdict`. Out: text. Ids, prompts and reasons are other people's text: control and direction characters are
spelled out, and no line can begin a command of a CI system (`::error::`, `##[command]`), since logs of CI runs are read
for those.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

from cineloop.log import printable
from v2t_eval.gate import wording
from v2t_eval.gate.verdict import MetricVerdict, Verdict
from v2t_eval.report.summary import counted

COLUMNS = 100
_NUM_CLIPS = 5
_MAX_TEXT = 600
_MAX_LINES = 20  # of one list


def render(verdict: Verdict) -> str:
    """The text, without a line break at its end."""
    primary, exploratory = wording.parted(verdict)
    lines = [
        *_wrapped(f"{wording.WORDS[verdict.outcome]} (exit code {verdict.exit_code}): {verdict.reason}", ""),
        *_listed("Not comparable", verdict.differences),
        *_metrics(primary),
        *_guards(verdict),
        *_clips(verdict),
        *_explored(exploratory),
        *_listed("Notes", verdict.notes),
    ]
    text = "\n".join(_quiet(line) for line in "\n".join(lines).split("\n"))
    return text.encode("utf-8", "backslashreplace").decode("utf-8")  # a lone surrogate would break the terminal


def _quiet(line: str) -> str:
    """A line that no CI system takes for a command."""
    return re.sub(r"##(?=\w*\[)", "## ", re.sub(r"^(\s*)::", r"\1: :", line))


def _wrapped(text: str, indent: str, after: str | None = None) -> list[str]:
    """Lines of at most `COLUMNS` columns; a long word is broken."""
    clean = printable(" ".join(text.split()), _MAX_TEXT)
    after = indent if after is None else after
    lines, now, fresh = [], indent, True
    for word in clean.split(" "):
        if _width(now) + (not fresh) + _width(word) <= COLUMNS:
            now += ("" if fresh else " ") + word
            fresh = False
            continue
        if not fresh:
            lines.append(now)
            now = after
        while _width(now) + _width(word) > COLUMNS:
            part = _cut(word, COLUMNS - _width(now))
            lines.append(now + part)
            now, word = after, word[len(part) :]
        now, fresh = now + word, not word
    return [*lines, now]


def _width(text: str) -> int:
    """Columns of a terminal; wide East Asian characters take two."""
    return sum(_columns(char) for char in text)


def _columns(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def _cut(text: str, columns: int) -> str:
    """The beginning of `text` that takes at most so many columns, at least one character."""
    used = 0
    for i, char in enumerate(text):
        used += _columns(char)
        if used > columns:
            return text[: max(i, 1)]
    return text


def _short(text: str, columns: int) -> str:
    clean = printable(" ".join(text.split()), _MAX_TEXT)
    return clean if _width(clean) <= columns else _cut(clean, columns - 1) + "…"


def _listed(title: str, texts: Iterable[str]) -> list[str]:
    told = list(texts)
    if not told:
        return []
    lines = [line for text in told[:_MAX_LINES] for line in _wrapped(f"- {text}", "  ", "    ")]
    rest = len(told) - _MAX_LINES
    return ["", title, *lines, *([f"  and {rest} more"] if rest > 0 else [])]


def _metrics(metrics: Sequence[MetricVerdict]) -> list[str]:
    if not metrics:
        return []
    head = ("", "outcome", "candidate", "change", "p adj.")
    rows = [
        (
            one.metric,
            one.outcome.replace("_", " "),
            wording.figure(one.candidate),
            wording.change(one),
            wording.probability(one.p_adjusted),
        )
        for one in metrics
    ]
    told = [[], *(_told(one) for one in metrics)]
    lines = [[row, *below] for row, below in zip(_columned([head, *rows]), told, strict=True)]
    return ["", "Primary metrics", *(line for group in lines for line in group)]


def _columned(rows: Sequence[Sequence[str]]) -> list[str]:
    """The rows as lines; the first column takes the room that the others leave."""
    widths = [max(len(row[i]) for row in rows) for i in range(1, len(rows[0]))]
    room = max(12, COLUMNS - 2 - sum(widths) - 2 * len(widths))
    room = min(room, max(_width(printable(row[0])) for row in rows))
    lines = []
    for row in rows:
        name = printable(" ".join(row[0].split()), _MAX_TEXT)
        cells = "  ".join(f"{cell:<{width}}" for cell, width in zip(row[1:], widths, strict=True)).rstrip()
        above = _wrapped(name, "  ", "    ") if _width(name) > room else []  # a name that is cut tells no variant
        name = "" if above else name
        lines.append("\n".join([*above, f"  {name}{' ' * (room - _width(name))}  {cells}"]))
    return lines


def _told(one: MetricVerdict) -> list[str]:
    """Below a metric: what was asked for, what it rests on, why it is so, what it does not see."""
    parts = [f"asked for {wording.asked(one)}" if wording.asked(one) != wording.NOTHING else ""]
    parts.append(f"detectable {wording.amount(one.mde)}" if one.mde is not None else "")
    parts.append(wording.behind(one) if one.num_pairs else "")
    about = "; ".join(part for part in parts if part)
    told = [*([about] if about else []), *one.reasons, *([f"blind: {'; '.join(one.blind)}"] if one.blind else [])]
    return [line for text in told[:_MAX_LINES] for line in _wrapped(text, "      ", "        ")]


def _guards(verdict: Verdict) -> list[str]:
    told = [(one.outcome.replace("_", " "), f"{one.name}: {one.message}") for one in verdict.guards]
    room = max((len(outcome) for outcome, _ in told), default=0)
    lines = [line for word, text in told for line in _wrapped(text, f"  {word:<{room}}  ", " " * (room + 4))]
    return ["", "Guards", *lines] if told else []


def _clips(verdict: Verdict) -> list[str]:
    shown, total = wording.by_clip(verdict, _NUM_CLIPS), len(wording.by_clip(verdict))
    if not total:
        return []
    lines = ["", f"Clips that got worse: {total:,}, worst first"]
    for first, changes in shown:
        lines += _wrapped(f"{first.id}: {'; '.join(map(wording.clip, changes[:3]))}", "  ", "    ")
        if first.prompt:
            lines.append(f"      {_short(first.prompt, COLUMNS - 6)}")
    return lines


def _explored(metrics: Sequence[MetricVerdict]) -> list[str]:
    if not metrics:
        return []
    notable = [f"{one.metric} ({one.outcome.replace('_', ' ')})" for one in metrics if one.outcome != "pass"]
    told = f"{counted(len(metrics), 'exploratory metric')} beside these, without a say"
    return ["", *_wrapped(f"{told}: {', '.join(notable) or 'all would pass'}", "", "  ")]
