r"""`report.md`: the summary for a pull request or a job page, bounded in size, the ten worst clips at its end.

In: `Scores`. Out: GitHub-flavoured Markdown. Captions and messages are other people's text: whatever Markdown, HTML or
GitHub would read into them (tables, links, code, mentions, issue numbers, addresses) is taken apart, line breaks become
spaces. GitHub drops a job summary beyond 1 MiB whole, so the page is cut at a line long before that.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from cineloop.log import printable
from v2t_eval.report.summary import (
    Row,
    chosen,
    figure_texts,
    number,
    percent,
    problems,
    rows,
    title,
    verdict,
    worst_first,
)
from v2t_eval.scores import Scored, Scores

MAX_BYTES = 500_000
_NUM_WORST = 10
_MAX_METRICS = 8  # columns in the table of worst clips
_MAX_PROBLEMS = 20
_TEXT = 300  # characters of a prompt or caption
_BREAK = "&#8203;"  # a space of no width keeps GitHub from linking


def render(scores: Scores) -> bytes:
    """The page."""
    found = rows(scores)
    parts = [
        f"# Scores: {title(scores)}",
        f"**{plain(verdict(scores), 1000)}**",
        _sources(scores),
        _metrics(found),
        _not_scored(scores),
        _skipped(scores),
        _said(found),
        _worst(scores, found),
    ]
    return _bounded("\n\n".join(part for part in parts if part) + "\n")


def plain(text: str, limit: int = _TEXT) -> str:
    """Other people's text as Markdown that shows it as it is, on one line, cut to `limit` characters."""
    text = printable(" ".join(text.split()), limit)
    text = re.sub(r"[&<>]", lambda mark: {"&": "&amp;", "<": "&lt;", ">": "&gt;"}[mark.group()], text)
    text = re.sub(r"([\\`*_\[\]|~$])", r"\\\1", text)
    return re.sub(r"(@|#|://|(?i:www)\.|\b(?i:gh)(?=-\d))", rf"\1{_BREAK}", text)


def _sources(scores: Scores) -> str:
    made = ", ".join(f"{name} {value}" for name, value in scores.environment.items())
    pairs = {**scores.sources, **({"made with": made} if made else {})}
    return "\n".join(f"- {plain(name)}: {plain(str(value))}" for name, value in pairs.items())


def table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table; the cells are Markdown already, on one line each."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *lines))


def _metrics(found: Sequence[Row]) -> str:
    lines = []
    for row in found:
        value, low, high = row.texts()
        n = f"{row.figure.n:,}" if row.figure else "0"
        coverage = f"{percent(row.result.coverage)} ({row.scored:,} of {row.result.n:,})"
        lines.append([plain(row.name), f"**{value}**", f"{low} to {high}", n, coverage, row.direction])
        others = {key: figure for key, figure in row.result.figures.items() if key != row.result.headline}
        for key, figure in list(others.items())[:40]:
            value, low, high = figure_texts(figure)
            lines.append([f"&nbsp;&nbsp;{plain(key)}", value, f"{low} to {high}", f"{figure.n:,}", "", ""])
    head = ["Metric", "Value", "95 % interval", "n", "Scored", "Direction"]
    return "## Metrics\n\n" + table(head, lines) if lines else ""


def _not_scored(scores: Scores) -> str:
    all_of_them = problems(scores)
    lines = [
        [
            f"{len(problem.ids):,}",
            plain(problem.code),
            plain(", ".join(problem.metrics)) or "all (the clip failed)",
            plain(" ".join(part for part in (problem.message, problem.hint) if part)),
            plain(", ".join(problem.ids[:3]) + (" …" if len(problem.ids) > 3 else "")),
        ]
        for problem in all_of_them[:_MAX_PROBLEMS]
    ]
    if not lines:
        return ""
    rest = len(all_of_them) - len(lines)
    more = f"\n\n{rest} more reasons stand in scores.json." if rest else ""
    return "## Not scored\n\n" + table(["Samples", "Reason", "Metrics", "Message", "For example"], lines) + more


def _skipped(scores: Scores) -> str:
    ordered = sorted(scores.skipped, key=lambda one: one.found_nothing)  # first those that ought to have run
    lines = [[plain(one.metric), plain(one.reason), plain(one.hint)] for one in ordered]
    return "## Metrics without a result\n\n" + table(["Metric", "Reason", "What to do"], lines) if lines else ""


def _said(found: Sequence[Row]) -> str:
    lines = []
    for row in found:
        said = [plain(note, 500) for note in row.result.notes]
        if row.blind:
            said.append(f"cannot see: {plain(row.blind, 500)}")
        lines += [f"- **{plain(row.name)}**: {line}" for line in said]
    return "## What to know\n\n" + "\n".join(lines) if lines else ""


def _worst(scores: Scores, found: Sequence[Row]) -> str:
    by = chosen(found)
    if by is None:
        return ""
    clips: dict[str, Scored] = {clip.id: clip for clip in scores.clips}
    shown = [by, *(row for row in found if row.values and row is not by)][:_MAX_METRICS]
    lines = []
    for id in [id for id in worst_first(by) if id in clips][:_NUM_WORST]:
        clip = clips[id]
        values = [number(row.values[id]) if id in row.values else "–" for row in shown]
        lines.append([plain(id, 100), *values, plain(clip.prompt or "–"), plain(clip.caption or "–")])
    head = ["Clip", *(plain(row.name) for row in shown), "Prompt", "Caption"]
    kind = "highest" if by.result.higher_is_better is None else "worst"
    return f"## The {len(lines)} {kind} clips by {plain(by.name)}\n\n" + table(head, lines) if lines else ""


def _bounded(text: str) -> bytes:
    data = text.encode("utf-8")
    if len(data) <= MAX_BYTES:
        return data
    kept = data[: data.rfind(b"\n", 0, MAX_BYTES)]
    return kept + b"\n\nCut here: the page grew too long; the rest stands in scores.json.\n"
