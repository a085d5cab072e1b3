"""A document on a terminal: the result first, then sections that are not folded; tables by rich.

In: a `Document`. Out: text without a line break at its end. Ids, prompts and reasons are untrusted text: control
and direction characters are spelled out, and no line can begin a command of a CI system (`::error::`, `##[command]`),
since logs of CI runs are read for those.
"""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from v2t_eval.report.cells import cell_text, inert
from v2t_eval.report.document import Cell, Document, Section, Table, Tone

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

COLUMNS = 100
_MAX_TEXT = 600
_MAX_LINE = 240  # characters of a line about a clip or a row
_MAX_LINES = 20  # of one list
_MAX_CARDS = 5
_LEAST_FIRST = 24  # columns of the screen for the first column of a table
_STACKED_FROM = 5  # columns: a table that is too wide is written row by row; a narrower one wraps its cells
_STYLES: dict[Tone, str] = {
    "good": "green", "bad": "bold red", "unsure": "yellow", "invalid": "yellow", "plain": "bold",
}  # fmt: skip


def show(document: Document, tree: dict[str, Any] | None = None, *, whole: bool = False) -> None:
    """Print on stdout, with colours where that is a terminal; where a `tree` is given, that as JSON instead. `whole`:
    more than a first screen."""
    if tree is None:
        print(render(document, color=sys.stdout.isatty(), whole=whole))
    else:
        print(json.dumps(tree, ensure_ascii=False, allow_nan=False))


def render(document: Document, *, color: bool = False, whole: bool = False) -> str:
    """The text, in at most `COLUMNS` columns; `color` adds a terminal's codes, `whole` what a first screen lacks."""
    from rich.console import Console

    console = Console(
        file=io.StringIO(), width=COLUMNS, force_terminal=color, color_system="standard" if color else None,
        markup=False, highlight=False, emoji=False, legacy_windows=False,
    )  # fmt: skip
    with console.capture() as capture:
        for part in _parts(document, whole):
            console.print(part, soft_wrap=False)
    return "\n".join(line.rstrip() for line in capture.get().strip("\n").split("\n"))


def _parts(document: Document, whole: bool) -> Iterator[RenderableType]:
    from rich.text import Text

    if banner := document.banner:
        head = Text(overflow="fold")
        head.append(_clean(banner.word), _STYLES[banner.tone])
        yield head.append(f": {_clean(banner.sentence)}" if banner.sentence else "")
        for name, value in banner.facts:
            yield _indent(f"{name}: {value}", 2)
    for section in document.sections:
        if brief := section.brief if whole or section.first is None else section.first:
            yield Text()
            yield from (_indent(line, 0) for line in brief)
        elif not (section.folded or section.page_only) and (section.text or section.tables or section.cards):
            yield Text()
            yield Text(_clean(section.title), "bold", overflow="fold")
            yield from _section(section, document)


def _section(section: Section, document: Document) -> Iterator[RenderableType]:
    lines = section.text if not section.tables else ()
    for line in lines[:_MAX_LINES]:
        yield _indent(f"- {line}" if len(lines) > 1 else line, 2)
    if len(lines) > _MAX_LINES:
        yield _indent(document.omission(len(lines) - _MAX_LINES, "line"), 2)
    for table in (table.texts() for table in section.tables):
        if table.caption:
            yield _indent(table.caption, 2)
        yield from _table(table)
    for card in section.cards[:_MAX_CARDS]:
        yield _indent(str(card.title), 2, _MAX_LINE)
        yield from (_indent(str(line), 6, _MAX_LINE) for line in card.lines if str(line))
    if len(section.cards) > _MAX_CARDS:
        yield _indent(document.omission(len(section.cards) - _MAX_CARDS, "clip"), 2)


def _table(table: Table) -> Iterator[RenderableType]:
    """As columns where all but the first fit without a break, else row by row; the rows' notes below."""
    from rich.cells import cell_len
    from rich.padding import Padding
    from rich.table import Table as Columns

    notes = table.notes or ((),) * len(table.rows)
    rows = [[_cell(cell) for cell in row] for row in table.rows]
    heads = [_clean(name) for name in table.columns]
    widths = [max(map(cell_len, (head, *(row[i].plain for row in rows)))) for i, head in enumerate(heads)]
    room = COLUMNS - 2 - sum(width + 2 for width in widths[1:])
    fits = room >= min(widths[0], _LEAST_FIRST)
    if fits or len(heads) < _STACKED_FROM:
        columns = Columns(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
        for i, head in enumerate(heads):
            columns.add_column(head, overflow="fold", no_wrap=fits and i > 0)
        for row in rows:
            columns.add_row(*row)
        yield Padding(columns, (0, 0, 0, 2))
        for row, lines in zip(rows, notes, strict=True):
            yield from (_indent(f"{row[0].plain}: {line}", 6, _MAX_LINE) for line in lines[:_MAX_LINES])
        return
    for row, lines in zip(rows, notes, strict=True):
        yield Padding(row[0], (0, 0, 0, 2))
        cells = [f"{name} {cell.plain}" for name, cell in zip(heads[1:], row[1:], strict=True) if cell.plain != "–"]
        yield from (_indent(line, 6) for line in _line_groups(cells, COLUMNS - 6))
        yield from (_indent(line, 6, _MAX_LINE) for line in lines[:_MAX_LINES])


def _line_groups(parts: list[str], width: int) -> list[str]:
    """Parts joined to lines of at most `width` columns where no part is longer; parts are not broken."""
    from rich.cells import cell_len

    lines: list[str] = []
    for part in parts:
        if lines and cell_len(f"{lines[-1]} · {part}") <= width:
            lines[-1] += f" · {part}"
        else:
            lines.append(part)
    return lines


def _cell(cell: Cell) -> Text:
    from rich.text import Text

    tone: Tone = cell[1] if isinstance(cell, tuple) else "plain"
    return Text(_clean(cell_text(cell)), "" if tone == "plain" else _STYLES[tone], overflow="fold")


def _indent(text: str, indent: int, limit: int = _MAX_TEXT) -> RenderableType:
    from rich.padding import Padding
    from rich.text import Text

    return Padding(Text(_clean(text, limit), overflow="fold"), (0, 0, 0, indent))


def _clean(text: str, limit: int = _MAX_TEXT) -> str:
    """Text on one line that no terminal and no CI system interprets as a command."""
    quiet = re.sub(r"##(?=\w*\[)", "## ", inert(text, limit).replace("::", ": :"))
    return quiet.encode("utf-8", "backslashreplace").decode("utf-8")  # a lone surrogate would break the terminal
