"""A report as data: a banner, sections, tables with intervals, cards of clips.

In: nothing. Out: `Document`, which scoring, gate, comparison, audit and round trip fill, and which `page` (HTML),
`markdown`, `terminal`, `junit` and `github` render. No text in it is escaped: each renderer escapes it in its own way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

Level = Literal[0, 1, 2, 3, 4]
Tone = Literal["good", "bad", "unsure", "invalid", "plain"]


@dataclass(frozen=True, kw_only=True)
class Banner:
    """The result in a word or two and a sentence; `facts` are names and values below. A tone other than "plain" makes
    the word a verdict, shown in the heading. "invalid": nothing could be tested."""

    word: str
    sentence: str
    tone: Tone = "plain"
    facts: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class IntervalCell:
    """A cell that draws a value and its interval on an axis.

    Attributes:
        value, low, high: the interval holds the value.
        text: the text below; the numbers when empty.
        zero: position of a reference line, for example no change.
        bad_below, bad_above: limits beyond which the axis is shaded as not accepted.
        least, most: ends of the axis; a little beyond all that is drawn when None.
        mirrored: greater values to the left, for axes with worse at the left.
    """

    value: float
    low: float
    high: float
    text: str = ""
    zero: float | None = None
    bad_below: float | None = None
    bad_above: float | None = None
    least: float | None = None
    most: float | None = None
    mirrored: bool = False


@dataclass(frozen=True, kw_only=True)
class Heat:
    """A cell of a heat map: a short text on a ground from 0 (bad) over 2 (neither) to 4 (good); `hint`, one line, is
    shown on hover and read aloud."""

    text: str
    level: Level
    hint: str = ""


@dataclass(frozen=True, kw_only=True)
class Link:
    """A cell whose text leads to a file, where that is there."""

    text: str
    path: Path | None = None


class Check(NamedTuple):
    """A cell with the outcome of a check: a word in its tone, and why. JUnit counts the row as a test, called as its
    first cell; GitHub annotates what is not good."""

    text: str
    tone: Tone
    why: str


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """A cell that draws how many values fall into each of equal parts of an axis from `low` to `high`."""

    counts: tuple[int, ...]
    low: float
    high: float


Cell = str | float | int | None | tuple[str | float, Tone] | Check | IntervalCell | Heat | Histogram | Link


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of cells; a number is right-aligned and shown to 3 places, a tuple (text, tone) is coloured by its tone.

    `notes` are lines of text below each row, as many as rows, or none. A table of eight rows or more can be sorted,
    one of thirty or more searched.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str = ""
    notes: tuple[tuple[str, ...], ...] = ()

    def texts(self) -> Table:
        """The table without its columns of histograms, for a renderer that cannot draw."""
        kept = [n for n in range(len(self.columns)) if not any(isinstance(row[n], Histogram) for row in self.rows)]
        rows = tuple(tuple(row[n] for n in kept) for row in self.rows)
        return replace(self, columns=tuple(self.columns[n] for n in kept), rows=rows)


@dataclass(frozen=True)
class StruckText:
    """A line of which some parts, by begin and end, are wrong and shown struck through."""

    text: str
    parts: tuple[tuple[int, int], ...] = ()

    def pieces(self) -> Iterator[tuple[str, bool]]:
        """The text piece by piece, and whether it is struck."""
        at = 0
        for begin, end in self.parts:
            yield self.text[at:begin], False
            yield self.text[begin:end], True
            at = end
        yield self.text[at:], False

    def __str__(self) -> str:
        return "".join(f"~~{text}~~" if is_struck else text for text, is_struck in self.pieces())


@dataclass(frozen=True, kw_only=True)
class Card:
    """A clip that plays, or two side by side (`other`: the baseline's), or `more`, each with its label, side by side,
    with lines of text below. Paths are of files; a page in `folder` links to them relatively and shows a thumbnail
    where they cannot be played. `span`: the seconds that are shown of each, for a part of a file; `other_span` where
    those of the other are not the same."""

    title: str | StruckText
    lines: tuple[str | StruckText, ...] = ()
    clip: Path | None = None
    other: Path | None = None
    labels: tuple[str, str] = ("candidate", "baseline")
    more: tuple[tuple[str, Path], ...] = ()
    span: tuple[float, float | None] | None = None
    other_span: tuple[float, float | None] | None = None


@dataclass(frozen=True, kw_only=True)
class LimitSample:
    """A clip shown beside limits: its file or None, the part of it, and its value in each column."""

    id: str
    path: Path | None
    span: tuple[float, float]
    values: tuple[float | None, ...]


@dataclass(frozen=True, kw_only=True)
class Explorer:
    """Columns as histograms with limits that can be moved; a page alone shows it. Its script (`explorer.js`, which says
    what `data` holds) applies all limits to all rows again, and writes the outcome into the section's first table."""

    data: Mapping[str, Any] = field(repr=False)
    samples: tuple[LimitSample, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Section:
    """A heading with paragraphs, facts (names and values), tables, commands to copy and clips.

    Attributes:
        text: paragraphs; with tables they explain those, and a terminal leaves them out.
        cards: clips, the most important first; renderers show as many as they have room for and count the rest.
        links: texts and the files they lead to, from the page's folder.
        folded: secondary: the page shows the heading until one opens it, Markdown cuts its tables first, a terminal
            leaves it out.
        page_only: too long for anything but a page.
        brief: lines that a terminal shows instead of all this.
        first: the same on a first screen, where that differs from `brief`.
        explorer: of a page.
    """

    title: str
    text: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    cards: tuple[Card, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    commands: tuple[str, ...] = ()
    links: tuple[tuple[str, Path], ...] = ()
    folded: bool = False
    page_only: bool = False
    brief: tuple[str, ...] = ()
    first: tuple[str, ...] | None = None
    explorer: Explorer | None = None

    @property
    def empty(self) -> bool:
        """Whether there is nothing below the heading."""
        return not (self.text or self.tables or self.cards or self.facts or self.commands or self.links)


@dataclass(frozen=True, kw_only=True)
class Document:
    """One report. `data` names the JSON file that holds what a renderer leaves out."""

    title: str
    banner: Banner | None = None
    sections: tuple[Section, ...] = ()
    data: str = ""

    @property
    def first_lines(self) -> tuple[str, ...]:
        """Text right below the banner, such as what makes two sets not comparable."""
        first = next((section for section in self.sections if not section.empty), None)
        return first.text if first is not None and not (first.folded or first.tables or first.cards) else ()

    def checks(self) -> Iterator[tuple[Section, dict[str, Cell], Check, tuple[str, ...]]]:
        """Each row with a `Check`: its section, its cells by column, the check, the row's notes."""
        for section in self.sections:
            for table in section.tables:
                for row, notes in zip(table.rows, table.notes or ((),) * len(table.rows), strict=True):
                    for check in (cell for cell in row if isinstance(cell, Check)):
                        yield section, dict(zip(table.columns, row, strict=True)), check, notes

    def omission(self, count: int, noun: str) -> str:
        """The line for what did not fit."""
        where = f"left out here, all are in {self.data}" if self.data else "left out here"
        return f"{count:,} {noun}{'s' * (count != 1)} more: {where}."
