"""A scoring as a document: figures, what could not be scored and why, the worst clips.

In: `Scores`. Out: `Document`, rendered as `report.html`, `report.md` and on a terminal.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cineloop.errors import EXIT_OK
from cineloop.files import unescape_name
from cineloop.log import plural, printable
from v2t_eval.core.measurement import UNAUDITED
from v2t_eval.core.metric import Figure, MetricResult
from v2t_eval.core.sample import HINTS
from v2t_eval.core.scores import AbsentMetric, ItemScores, Scores
from v2t_eval.report.cells import number, percent
from v2t_eval.report.document import (
    Banner,
    Card,
    Cell,
    Document,
    Heat,
    Histogram,
    IntervalCell,
    Link,
    Section,
    StruckText,
    Table,
    Tone,
)
from v2t_eval.report.evidence import evidence, struck_text
from v2t_eval.report.summary import (
    FAULTS,
    MetricRow,
    fifths,
    figure_texts,
    leads,
    problems,
    ranking_row,
    rows,
    scope,
    title,
    verdict,
    worst_first,
)

_NUM_WORST = 10
_NUM_BARS = 20  # of a histogram
_MAX_PROBLEMS = 20
_FIRST_PROBLEMS = 2  # of them on a first screen
_MAX_FIGURES = 40  # of one metric
_MAX_VALUES = 8  # metrics named below a clip
_MAX_CLIPS, _MAX_PROMPT = 2_000, 160  # rows of the table of every clip, and characters of a prompt there
# counts of replies and captions that a metric takes for wrong
_AS_WRONG = ("missing", "failed", "unreadable", "refused")


def document(scores: Scores, root: Path | None = None, files: Sequence[Path] = ()) -> Document:
    """The report of a scoring, for every renderer. With `root`, which paths of clips are relative to, a page shows the
    clips; it links to `files`. A first screen has the figures that one asks for first and the clip that is worst by the
    first of them; of the rest it says where it is.
    """
    figures = rows(scores)
    facts = {**scores.sources, **{name: str(count) for name, count in scores.counts.items()}}
    banner = Banner(
        word=title(figures), sentence=f"{scope(scores)}. {verdict(scores)}",
        tone="plain" if scores.exit_code == EXIT_OK else "unsure",
        facts=tuple((name, str(value)) for name, value in facts.items()),
    )  # fmt: skip
    first = _first(figures)
    more = not first.empty  # than a first screen shows
    sections = (
        first,
        _worst(scores, figures, root),
        Section(
            title="Metrics",
            tables=(_metrics(figures),) if figures else (),
            first=(f"{plural(len(figures), 'metric')} in all: --all prints them, report.html in -o shows them",)
            if more
            else None,
        ),
        _skipped_section("Metrics that could not run", [one for one in scores.skipped if not one.found_nothing]),
        _gap_section(scores, more),
        _idle([one for one in scores.skipped if one.found_nothing], more),
        _all_clips(scores, figures, root),
        Section(title="Notes on the metrics", text=tuple(_notes(figures)), folded=True),
        Section(title="Definitions", tables=(_definitions(figures),) if figures else (), folded=True),
        Section(
            title="Made with",
            facts=tuple(scores.environment.items()),
            folded=True,
            links=tuple((path.name, path) for path in files),
        ),
    )
    return Document(title="Scores", banner=banner, sections=sections, data="scores.json")


def _first(figures: Sequence[MetricRow]) -> Section:
    """The figures that a report begins with, where there are more than these."""
    chosen = leads(figures)
    lines = tuple(
        (words, _figure(row.figure, row.result), row.scored, row.name)
        for words, row in chosen.items()
        if words != row.name
    )
    shown = lines if len(figures) > len(chosen) else ()
    table = Table(columns=("", "Value [95 %]", "Clips", "Metric"), rows=shown)
    return Section(title="First of all", tables=(table,) if shown else ())


def _metrics(figures: Sequence[MetricRow]) -> Table:
    """A row for each figure, with a histogram of the clips' values where they differ."""
    bars = [_histogram(row) for row in figures]
    is_drawn = any(bars)
    lines: list[tuple[Cell, ...]] = []
    notes: list[tuple[str, ...]] = []
    for row, bar in zip(figures, bars, strict=True):
        coverage = f"{percent(row.result.coverage)} ({row.scored:,} of {row.result.n:,})"
        n = row.figure.n if row.figure else 0
        lines.append((row.name, _figure(row.figure, row.result), *[bar] * is_drawn, n, coverage, row.direction))
        notes.append(_as_wrong(row.result))
        others = [(key, one) for key, one in row.result.figures.items() if key != row.result.headline]
        for key, figure in others[:_MAX_FIGURES]:
            detail = ", ".join(f"{num} {what}" for what, num in figure.detail.items() if num)
            cells = (" ".join(_texts(figure)), *[None] * is_drawn, figure.n, detail or None, None)
            lines.append((f"{row.name}: {key}", *cells))
            notes.append(())
    columns = ("Metric", "Value [95 %]", *["Clips"] * is_drawn, "n", "Scored", "Direction")
    return Table(columns=columns, rows=tuple(lines), notes=tuple(notes))


def _histogram(row: MetricRow) -> Histogram | None:
    """The values of single clips over their range; None where fewer than two differ."""
    values = list(row.values.values())
    if len(set(values)) < 2:
        return None
    low, high = min(values), max(values)
    counts = [0] * _NUM_BARS
    for value in values:
        counts[min(int(_NUM_BARS * ((value - low) / (high - low))), _NUM_BARS - 1)] += 1
    return Histogram(counts=tuple(counts), low=low, high=high)


def _texts(figure: Figure) -> tuple[str, str]:
    value, low, high = figure_texts(figure)
    return value, f"[{low}, {high}]"


def _figure(figure: Figure | None, result: MetricResult) -> Cell:
    if figure is None:
        return "nothing could be scored"
    least, most = (end if math.isfinite(end) else None for end in result.value_range)
    return IntervalCell(
        value=figure.value, low=figure.low, high=figure.high, text=" ".join(_texts(figure)), least=least, most=most
    )


def _as_wrong(result: MetricResult) -> tuple[str, ...]:
    codes = {failure["code"] for failure in result.failures}
    wrong = [name for name in _AS_WRONG if result.counts.get(name) and name.upper() not in codes]
    return (f"counted as wrong: {', '.join(f'{result.counts[name]} {name}' for name in wrong)}",) if wrong else ()


def _skipped_section(heading: str, skipped: Sequence[AbsentMetric]) -> Section:
    lines = tuple((one.metric, one.reason, one.hint) for one in skipped)
    table = Table(columns=("Metric", "Why", "What to do"), rows=lines)
    return Section(title=heading, tables=(table,) if lines else ())


def _idle(skipped: Sequence[AbsentMetric], more: bool) -> Section:
    """Metrics without work; on a first screen that leaves out `more` not even named."""
    heading = f"{plural(len(skipped), 'metric')} with nothing to measure"
    names = f"{heading} (the report says what they need): {', '.join(one.metric for one in skipped)}"
    section = _skipped_section(heading, skipped)
    return replace(section, folded=True, brief=(names,) if skipped else (), first=() if more else None)


def _gap_section(scores: Scores, more: bool) -> Section:
    """A row for each reason; a failure counts as missing, never as zero. A terminal gets a line for each, a first
    screen that leaves out `more` for two of them."""
    listed = problems(scores)
    lines, brief = [], []
    for one in listed[:_MAX_PROBLEMS]:
        hint = one.hint or (HINTS.get(one.code.removeprefix("NO_").lower(), "") if one.code.startswith("NO_") else "")
        metrics = ", ".join(one.metrics) or "all: the clip failed"
        examples = ", ".join(one.ids[:3]) + (" …" if len(one.ids) > 3 else "")
        lines.append((one.code, len(one.ids), metrics, one.message, hint, examples))
        why = one.message if one.code == "METRIC_ERROR" else hint
        why = why or (printable(one.message, 160) if one.code == UNAUDITED else "")
        brief.append(f"not scored: {len(one.ids)} {one.code}{f' ({why})' if why else ''}; {metrics}")
    brief, first = (
        [*brief[:most], *([f"and {plural(len(listed) - most, 'reason')} more, in scores.json"] * (len(listed) > most))]
        for most in (_MAX_PROBLEMS, _FIRST_PROBLEMS)
    )
    table = Table(
        columns=("Reason", "Samples", "Metrics", "Message", "What to do", "For example"), rows=tuple(lines),
        caption=f"{len(listed):,} reasons. A failure counts as missing, never as zero.",
    )  # fmt: skip
    return Section(
        title="Samples that were not scored", tables=(table,) if lines else (), brief=tuple(brief),
        first=tuple(first) if more else None,
    )  # fmt: skip


def _notes(figures: Sequence[MetricRow]) -> list[str]:
    lines = []
    for row in figures:
        lines += [f"{row.name}: {note}" for note in row.result.notes]
        lines += [f"{row.name} misses: {row.misses}"] if row.misses else []
    return lines


def _definitions(figures: Sequence[MetricRow]) -> Table:
    def pairs_text(pairs: dict[str, object]) -> str:
        return ", ".join(f"{name} {value}" for name, value in pairs.items())

    lines = [
        (
            row.name,
            row.level,
            row.detects,
            pairs_text(dict(row.result.counts)),
            pairs_text(dict(row.result.fingerprint)),
        )
        for row in figures
    ]
    return Table(columns=("Metric", "Level", "Moved by", "Counts", "Fingerprint"), rows=tuple(lines))


def _worst(scores: Scores, figures: Sequence[MetricRow], root: Path | None) -> Section:
    by = ranking_row(figures)
    if by is None:
        return Section(title="Clips")
    clips = {clip.id: clip for clip in scores.clips}
    ordered = [id for id in worst_first(by) if id in clips]
    words = next((words for words, row in leads(figures).items() if row is by), "")
    faulty = [id for id in ordered if words not in FAULTS or by.values[id] < by.result.value_range[1]]
    shown = {id: clips[id] for id in (faulty or ordered)[:_NUM_WORST]}
    values = [by, *(row for row in figures if row.values and row is not by)][:_MAX_VALUES]
    lines, items = evidence(scores, shown), {item["id"]: item for item in by.result.items}
    cards = tuple(_card(clip, items[id], values, lines.get(id, []), root) for id, clip in shown.items())
    if not faulty:
        title = f"{len(ordered)} of {plural(len(ordered), 'clip')} {FAULTS[words][1]}"
        return Section(title=title, cards=cards, brief=(title,))
    kind = "highest" if by.result.higher_is_better is None else "worst"
    if words in FAULTS:
        rest = f" (the {len(cards)} {kind} of them)" if len(cards) < len(faulty) else ""
        title = f"{len(faulty)} of {plural(len(ordered), 'clip')} {FAULTS[words][0]}{rest}"
        names = tuple(row.name for row in figures)
        shortened = [line for line in map(str, cards[0].lines) if not line.startswith(names)]
        return Section(title=title, cards=cards, brief=(f"{title}, first of all:", str(cards[0].title), *shortened))
    ids = ", ".join(f"{id} ({number(by.values[id])})" for id in list(shown)[:3])
    title = f"The {len(cards)} {kind} clips by {by.name}"
    return Section(title=title, cards=cards, brief=(f"{kind} by {by.name}: {ids}",))


def _card(
    clip: ItemScores, item: Mapping[str, Any], values: Sequence[MetricRow], evident: Sequence[str], root: Path | None
) -> Card:
    """A clip with what is known of it: of a caption with its truth both, wrong words struck; else id and prompt."""
    if "facts" in item and clip.caption is not None:
        truth = (f"Truth: {clip.references[0]}",) if clip.references else ()
        title: str | StruckText = struck_text(clip.caption, item)
        texts = (*truth, clip.id)
    else:
        title = clip.id
        texts = tuple(f"{name}: {text}" for name, text in (("Prompt", clip.prompt), ("Caption", clip.caption)) if text)
    figures = ", ".join(f"{row.name} {number(row.values[clip.id])}" for row in values if clip.id in row.values)
    span = None if clip.start_s is None and clip.end_s is None else (clip.start_s or 0.0, clip.end_s)
    lines = (*texts, *evident, figures)
    return Card(title=title, lines=lines, clip=_file(root, clip), labels=("clip", ""), span=span)


def _all_clips(scores: Scores, figures: Sequence[MetricRow], root: Path | None) -> Section:
    """Each clip with its values: those that failed, those that lack a value, then worst first; those of one metric are
    coloured by fifths."""
    valued = [row for row in figures if row.values]
    by, ranks = ranking_row(figures), [fifths(row) for row in valued]
    order = {id: place for place, id in enumerate(worst_first(by) if by else ())}
    clips = sorted(scores.clips, key=lambda clip: (clip.error is None, order.get(clip.id, -1)))
    unscored: dict[str, set[str]] = {}
    for result in scores.results:
        for failure in result.failures:
            unscored.setdefault(failure["id"], set()).add(failure["code"])
    lines: list[tuple[Cell, ...]] = [
        (
            Link(text=clip.id, path=_file(root, clip)),
            clip.prompt and clip.prompt[:_MAX_PROMPT],
            *(
                Heat(text=number(row.values[clip.id]), level=rank[clip.id]) if clip.id in row.values else None
                for row, rank in zip(valued, ranks, strict=True)
            ),
            _status(clip, unscored.get(clip.id, set())),
        )
        for clip in clips[:_MAX_CLIPS]
    ]
    columns = ("Clip", "Prompt", *(row.name for row in valued), "Status")
    rest = f" The other {len(clips) - _MAX_CLIPS:,} are in scores.json." if len(clips) > _MAX_CLIPS else ""
    caption = f"{plural(len(clips), 'clip')}, failures first; from the worst fifth of each metric to the best.{rest}"
    table = Table(columns=columns, rows=tuple(lines), caption=caption)
    return Section(title="Every clip", tables=(table,) if lines else (), folded=True, page_only=True)


def _status(clip: ItemScores, codes: set[str]) -> tuple[str, Tone]:
    if clip.error is not None:
        return clip.error.get("code", clip.status), "bad"
    return (f"not scored: {', '.join(sorted(codes))}", "unsure") if codes else (clip.status, "plain")


def _file(root: Path | None, clip: ItemScores) -> Path | None:
    return None if root is None or clip.path is None else root / unescape_name(clip.path)
