"""A page of sections: what the gate, the audit and the round trip found, as one HTML file that needs nothing else.

In: a title, a verdict, sections of text, tables and clips. Out: bytes of a page. Every text is
inert, whatever it holds.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Tone = Literal["good", "bad", "unsure", "plain"]


@dataclass(frozen=True, kw_only=True)
class Banner:
    """The verdict, told first: a word or two, and the sentence that says why."""

    word: str
    sentence: str
    tone: Tone = "plain"


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of cells; a number is right-aligned and shown to 3 places, a tuple (text, tone) is coloured by its tone."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str | float | int | None | tuple[str, Tone], ...], ...]
    caption: str = ""


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
    """A heading with paragraphs, tables and clips."""

    title: str
    text: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    cards: tuple[Card, ...] = ()


def render(title: str, banner: Banner | None, sections: Sequence[Section], folder: Path) -> bytes:
    """The page, to be written into `folder`."""
    parts = [f"<!doctype html><meta charset=utf-8><title>{html.escape(title)}</title><h1>{html.escape(title)}</h1>"]
    if banner is not None:
        parts.append(f"<p><b>{html.escape(banner.word)}</b> {html.escape(banner.sentence)}</p>")
    for section in sections:
        parts.append(f"<h2>{html.escape(section.title)}</h2>")
        parts += [f"<p>{html.escape(line)}</p>" for line in section.text]
        for table in section.tables:
            rows = [table.columns, *table.rows]
            cells = ["".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) for row in rows]
            parts.append(f"<table>{''.join(f'<tr>{row}</tr>' for row in cells)}</table>")
    return "".join(parts).encode("utf-8", "replace")
