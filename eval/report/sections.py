"""What a page is made of: a banner, sections, tables with intervals, cards of clips.

In: nothing. Out: dataclasses that the gate, the audit, the round trip and the story fill and
`v2t_eval.report.page` renders.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Tone = Literal["good", "bad", "unsure", "plain"]


@dataclass(frozen=True, kw_only=True)
class Banner:
    """The verdict, told first: a word or two, and the sentence that says why; `facts` are names and values below."""

    word: str
    sentence: str
    tone: Tone = "plain"
    facts: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A cell that draws a value and its interval on an axis.

    Attributes:
        value, low, high: the interval holds the value.
        text: what stands below; the numbers when empty.
        zero: where a line stands to compare with, for example no change.
        bad_below, bad_above: what lies beyond is shaded as not accepted.
        least, most: ends of the axis; a little beyond all that is drawn when None.
        mirrored: greater values to the left, for axes on which worse shall lie left.
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
    level: Literal[0, 1, 2, 3, 4]
    hint: str = ""


Cell = str | float | int | None | tuple[str | float, Tone] | Interval | Heat


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of cells; a number is right-aligned and shown to 3 places, a tuple (text, tone) is coloured by its tone.

    `notes` are lines of text below each row, as many as rows, or none. A table of eight rows or more can be sorted.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str = ""
    notes: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Card:
    """A clip that plays, or two side by side (`beside`: the baseline's), with lines of text below. Paths are of files;
    a page in `folder` links to them relatively and shows a thumbnail where they cannot be played."""

    title: str
    lines: tuple[str, ...] = ()
    clip: Path | None = None
    beside: Path | None = None
    labels: tuple[str, str] = ("candidate", "baseline")


@dataclass(frozen=True, kw_only=True)
class Section:
    """A heading with paragraphs, facts (names and values), tables, commands to copy and clips.

    `links` are texts and the files they lead to, from the page's folder. `folded`: only the heading is shown until one
    opens it.
    """

    title: str
    text: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    cards: tuple[Card, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    commands: tuple[str, ...] = ()
    links: tuple[tuple[str, Path], ...] = ()
    folded: bool = False
