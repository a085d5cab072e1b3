r"""Markdown of a document: for a pull request, a job's page or a file next to the data; bounded in size.

In: a `Document`. Out: GitHub-flavoured Markdown. Captions and messages are untrusted text: whatever Markdown, HTML or
GitHub would interpret (tables, links, code, mentions, issue numbers, addresses) is escaped, line breaks
become spaces. What is too long loses clips and the rows of folded sections first, from their ends, and says how many;
GitHub drops a job summary beyond 1 MiB whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from cineloop.log import printable
from v2t_eval.report.cells import cell_text
from v2t_eval.report.document import Banner, Card, Cell, Document, Section, StruckText

MAX_BYTES = 500_000
COMMENT_BYTES = 60_000  # GitHub takes comments up to 65,536 characters
_MOST = 1_000  # clips of a section, rows of a folded table
_MOST_LINES = 50  # of one list
_TEXT = 300  # characters of a cell, a prompt or a caption
_SENTENCE = 2_000
_BREAK = "&#8203;"  # a space of no width keeps GitHub from linking


def render(document: Document, *, max_bytes: int = MAX_BYTES) -> str:
    """At most `max_bytes` of UTF-8, cut at a line where even the least form is longer."""
    parts = list(_parts(document))
    fits, too_many = 0, max((len(part.lines) for part in parts if isinstance(part, _Lines)), default=0) + 1
    while too_many - fits > 1:
        middle = (fits + too_many) // 2
        fits, too_many = (middle, too_many) if len(_document_bytes(parts, middle)) <= max_bytes else (fits, middle)
    return _cut(_document_bytes(parts, fits), max_bytes, document.data)


def plain(text: str, limit: int = _TEXT) -> str:
    """Untrusted text as Markdown that shows it literally, on one line, cut to `limit` characters."""
    text = printable(" ".join(text.split()), limit)
    text = re.sub(r"[&<>]", lambda mark: {"&": "&amp;", "<": "&lt;", ">": "&gt;"}[mark.group()], text)
    text = re.sub(r"([\\`*_\[\]|~$])", r"\\\1", text)
    return re.sub(r"(@|#|://|(?i:www)\.|\b(?i:gh)(?=-\d))", rf"\1{_BREAK}", text)


@dataclass(frozen=True)
class _Lines:
    """A table of which as many lines are shown as fit; `total` is their number, `noun` their name."""

    document: Document
    head: Sequence[str]
    lines: Sequence[Sequence[str]]
    total: int
    noun: str

    def text(self, most: int) -> str:
        shown = self.lines[:most]
        left = self.total - len(shown)
        more = self.document.omission(left, self.noun) if left else ""
        return "\n\n".join(part for part in (_table(self.head, shown) if shown else "", more) if part)


def _parts(document: Document) -> Iterator[str | _Lines]:
    yield _head(document.title, document.banner)
    yield _pairs(document.banner.facts if document.banner else ())
    for section in document.sections:
        if not section.empty and not section.page_only:
            yield f"## {plain(section.title)}"
            yield from _section(section, document)


def _head(title: str, banner: Banner | None) -> str:
    if banner is None:
        return f"# {plain(title)}"
    word, sentence = plain(banner.word, _SENTENCE), plain(banner.sentence, _SENTENCE)
    if banner.tone == "plain":
        return f"# {plain(title)}\n\n**{word}** {sentence}"
    return f"# {plain(title)}: {word}\n\n**{sentence}**"


def _section(section: Section, document: Document) -> Iterator[str | _Lines]:
    if len(section.text) == 1:
        yield plain(section.text[0], _SENTENCE)
    else:
        yield _list(section.text, document)
    yield _pairs(section.facts)
    for line in section.commands:
        yield f"```\n{printable(line).replace('`', '')}\n```"
    for table in (table.texts() for table in section.tables):
        yield plain(table.caption, _SENTENCE)
        head = [plain(name) for name in table.columns]
        if section.folded:
            lines = [[_cell(cell) for cell in row] for row in table.rows[:_MOST]]
            yield _Lines(document, head, lines, len(table.rows), "row")
        else:
            yield _table(head, [[_cell(cell) for cell in row] for row in table.rows])
        noted = zip(table.rows, table.notes, strict=True) if table.notes else ()
        yield "\n".join(
            f"- **{_cell(row[0])}**: {plain(line, _SENTENCE)}" for row, notes in noted for line in notes[:_MOST_LINES]
        )
    if section.cards:
        lines = [_card(card) for card in section.cards[:_MOST]]
        yield _Lines(document, ["Clip", "About it"], lines, len(section.cards), "clip")


def _card(card: Card) -> list[str]:
    return [_line(card.title), "; ".join(_line(line) for line in card.lines[:10] if str(line))]


def _line(line: str | StruckText) -> str:
    if isinstance(line, str):
        return plain(line)
    return "".join(f"~~{plain(text)}~~" if is_struck else _inner(text) for text, is_struck in line.pieces())


def _inner(text: str) -> str:
    """A piece of a line, with the spaces that part it from its neighbours."""
    return f"{' ' * text[:1].isspace()}{plain(text)}{' ' * (text[-1:].isspace() and bool(text.strip()))}"


def _cell(cell: Cell) -> str:
    text = plain(cell_text(cell))
    return f"**{text}**" if isinstance(cell, tuple) and cell[1] in ("bad", "unsure", "invalid") else text


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """The cells are Markdown already, on one line each."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *lines))


def _pairs(facts: Iterable[tuple[str, str]]) -> str:
    return "\n".join(f"- {plain(name)}: {plain(value, _SENTENCE)}" for name, value in facts)


def _list(lines: Sequence[str], document: Document) -> str:
    shown = [f"- {plain(line, _SENTENCE)}" for line in lines[:_MOST_LINES]]
    left = len(lines) - len(shown)
    return "\n".join([*shown, *([f"- {document.omission(left, 'line')}"] if left else [])])


def _document_bytes(parts: Iterable[str | _Lines], most: int) -> bytes:
    texts = (part.text(most) if isinstance(part, _Lines) else part for part in parts)
    return ("\n\n".join(text for text in texts if text) + "\n").encode("utf-8", "backslashreplace")


def _cut(data: bytes, max_bytes: int, rest: str) -> str:
    if len(data) <= max_bytes:
        return data.decode("utf-8")
    where = f"; the rest is in {rest}" if rest else ""
    end = f"\n\nCut here: too long for this place{where}.\n".encode()
    kept = data[: max(max_bytes - len(end), 0)]
    kept = kept[: kept.rfind(b"\n")] if b"\n" in kept else kept
    return (kept + end)[:max_bytes].decode("utf-8", "ignore")
