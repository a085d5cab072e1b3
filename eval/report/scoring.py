"""A scoring as a document: figures, what could not be scored and why, the worst clips.

In: `Scores`. Out: `Document`, rendered as `report.md` and on a terminal.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from cineloop.errors import EXIT_OK
from cineloop.files import unescape_name
from v2t_eval.metric import Figure, MetricResult
from v2t_eval.report.document import Banner, Card, Cell, Document, Interval, Section, Table
from v2t_eval.report.summary import (
    Row,
    chosen,
    counted,
    figure_texts,
    number,
    percent,
    problems,
    rows,
    title,
    verdict,
    worst_first,
)
from v2t_eval.sample import HINTS
from v2t_eval.scores import Scores, Skipped

_NUM_WORST = 10
_MAX_PROBLEMS = 20
_MAX_FIGURES = 40  # of one metric
_MAX_VALUES = 8  # metrics named below a clip
# counts of replies and captions that a metric takes for wrong
_AS_WRONG = ("missing", "failed", "unreadable", "refused")


def document(scores: Scores, root: Path | None = None) -> Document:
    """The report of a scoring; clips are shown where `root`, which their paths are relative to, is given."""
    found = rows(scores)
    facts = {**scores.sources, **{name: str(count) for name, count in scores.counts.items()}}
    banner = Banner(
        word=title(scores), sentence=verdict(scores), tone="good" if scores.exit_code == EXIT_OK else "unsure",
        facts=tuple((name, str(value)) for name, value in facts.items()),
    )  # fmt: skip
    sections = (
        _worst(scores, found, root),
        Section(title="Metrics", tables=(_metrics(found),) if found else ()),
        _skipped("Metrics that could not run", [one for one in scores.skipped if not one.found_nothing]),
        _not_scored(scores),
        _idle([one for one in scores.skipped if one.found_nothing]),
        Section(title="What to know of the metrics", text=tuple(_notes(found)), folded=True),
        Section(title="Definitions", tables=(_definitions(found),) if found else (), folded=True),
        Section(title="Made with", facts=tuple(scores.environment.items()), folded=True),
    )
    return Document(title="Scores", banner=banner, sections=sections, data="scores.json")


def _metrics(found: Sequence[Row]) -> Table:
    lines: list[tuple[Cell, ...]] = []
    notes: list[tuple[str, ...]] = []
    for row in found:
        coverage = f"{percent(row.result.coverage)} ({row.scored:,} of {row.result.n:,})"
        n = row.figure.n if row.figure else 0
        lines.append((row.name, _figure(row.figure, row.result), n, coverage, row.direction))
        notes.append(_as_wrong(row.result))
        others = [(key, one) for key, one in row.result.figures.items() if key != row.result.headline]
        for key, figure in others[:_MAX_FIGURES]:
            detail = ", ".join(f"{num} {what}" for what, num in figure.detail.items() if num)
            lines.append((f"{row.name}: {key}", " ".join(_texts(figure)), figure.n, detail or None, None))
            notes.append(())
    columns = ("Metric", "Value [95 %]", "n", "Scored", "Direction")
    return Table(columns=columns, rows=tuple(lines), notes=tuple(notes))


def _texts(figure: Figure) -> tuple[str, str]:
    value, low, high = figure_texts(figure)
    return value, f"[{low}, {high}]"


def _figure(figure: Figure | None, result: MetricResult) -> Cell:
    if figure is None:
        return "nothing could be scored"
    least, most = (end if math.isfinite(end) else None for end in result.value_range)
    return Interval(
        value=figure.value, low=figure.low, high=figure.high, text=" ".join(_texts(figure)), least=least, most=most
    )


def _as_wrong(result: MetricResult) -> tuple[str, ...]:
    codes = {failure["code"] for failure in result.failures}
    wrong = [name for name in _AS_WRONG if result.counts.get(name) and name.upper() not in codes]
    return (f"counted as wrong: {', '.join(f'{result.counts[name]} {name}' for name in wrong)}",) if wrong else ()


def _skipped(heading: str, skipped: Sequence[Skipped], *, folded: bool = False, brief: str = "") -> Section:
    lines = tuple((one.metric, one.reason, one.hint) for one in skipped)
    table = Table(columns=("Metric", "Why", "What to do"), rows=lines)
    return Section(
        title=heading, tables=(table,) if lines else (), folded=folded, brief=(brief,) if lines and brief else ()
    )


def _idle(skipped: Sequence[Skipped]) -> Section:
    heading = f"{counted(len(skipped), 'metric')} with nothing to look at"
    named = ", ".join(one.metric for one in skipped)
    return _skipped(heading, skipped, folded=True, brief=f"{heading} (the report says what they need): {named}")


def _not_scored(scores: Scores) -> Section:
    """A row for each reason; a failure counts as missing, never as zero."""
    found = problems(scores)
    lines, brief = [], []
    for one in found[:_MAX_PROBLEMS]:
        hint = one.hint or (HINTS.get(one.code.removeprefix("NO_").lower(), "") if one.code.startswith("NO_") else "")
        metrics = ", ".join(one.metrics) or "all: the clip failed"
        examples = ", ".join(one.ids[:3]) + (" …" if len(one.ids) > 3 else "")
        lines.append((one.code, len(one.ids), metrics, one.message, hint, examples))
        brief.append(f"not scored: {len(one.ids)} {one.code}{f' ({hint})' if hint else ''}; {metrics}")
    if len(found) > len(lines):
        brief.append(f"and {counted(len(found) - len(lines), 'reason')} more, in scores.json")
    table = Table(
        columns=("Reason", "Samples", "Metrics", "Message", "What to do", "For example"), rows=tuple(lines),
        caption=f"{len(found):,} reasons. A failure counts as missing, never as zero.",
    )  # fmt: skip
    return Section(title="Samples that were not scored", tables=(table,) if lines else (), brief=tuple(brief))


def _notes(found: Sequence[Row]) -> list[str]:
    said = []
    for row in found:
        said += [f"{row.name}: {note}" for note in row.result.notes]
        said += [f"{row.name} cannot see: {row.blind}"] if row.blind else []
    return said


def _definitions(found: Sequence[Row]) -> Table:
    def joined(pairs: dict[str, object]) -> str:
        return ", ".join(f"{name} {value}" for name, value in pairs.items())

    lines = [
        (row.name, row.level, row.sees, joined(dict(row.result.counts)), joined(dict(row.result.fingerprint)))
        for row in found
    ]
    return Table(columns=("Metric", "Level", "Moved by", "Counts", "Fingerprint"), rows=tuple(lines))


def _worst(scores: Scores, found: Sequence[Row], root: Path | None) -> Section:
    by = chosen(found)
    if by is None:
        return Section(title="Clips")
    clips = {clip.id: clip for clip in scores.clips}
    shown = [by, *(row for row in found if row.values and row is not by)][:_MAX_VALUES]
    ids = [id for id in worst_first(by) if id in clips][:_NUM_WORST]
    cards = []
    for id in ids:
        clip = clips[id]
        values = ", ".join(f"{row.name} {number(row.values[id])}" for row in shown if id in row.values)
        said = [f"{name}: {text}" for name, text in (("Prompt", clip.prompt), ("Caption", clip.caption)) if text]
        path = None if root is None or clip.path is None else root / unescape_name(clip.path)
        cards.append(Card(title=id, lines=(values, *said), clip=path, labels=("clip", "")))
    kind = "highest" if by.result.higher_is_better is None else "worst"
    brief = (f"{kind} by {by.name}: {', '.join(f'{id} ({number(by.values[id])})' for id in ids[:3])}",) if ids else ()
    return Section(title=f"The {len(ids)} {kind} clips by {by.name}", cards=tuple(cards), brief=brief)
