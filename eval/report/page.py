"""A page of sections: what the gate, the audit and the round trip found, as one HTML file that needs nothing else.

In: a title, a verdict, sections of text, tables and clips. Out: bytes of a page. Every text is inert, whatever it holds
(`v2t_eval.report.inert`); clips are linked relatively, so the page works from disk, and shown as frames inside of the
page where a browser cannot play them. The page is plain HTML; its script only sorts tables and plays clips together.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from v2t_eval.report.sections import Banner, Card, Cell, Heat, Interval, Section, Table, Tone

__all__ = ["Banner", "Card", "Cell", "Heat", "Interval", "Section", "Table", "Tone", "render"]


def render(title: str, banner: Banner | None, sections: Sequence[Section], folder: Path) -> bytes:
    """The page, to be written into `folder`.

    Thumbnails are kept in the folder's state folder (`.cineloop`) where there is one. Texts are cut to a length that
    people read; a file that is gone or cannot be decoded costs its picture, not the page.

    Raises:
        ValueError: a table's rows are not as long as its columns, or its notes not as many as its rows.
    """
    from v2t_eval.report.cards import shown_cards
    from v2t_eval.report.cells import inert, shown_table
    from v2t_eval.report.inert import address, fill

    cards = shown_cards([section.cards for section in sections], folder)
    shown = [
        {
            "id": f"part-{number}",
            "title": inert(section.title),
            "text": [inert(line) for line in section.text],
            "facts": [(inert(name), inert(value)) for name, value in section.facts],
            "tables": [shown_table(table, section.title) for table in section.tables],
            "commands": [inert(line) for line in section.commands],
            "links": [(inert(text), address(path, folder)) for text, path in section.links],
            "cards": made,
            "folded": section.folded,
        }
        for number, (section, made) in enumerate(zip(sections, cards, strict=True), start=1)
    ]
    told = None
    if banner is not None:
        told = {
            "word": inert(banner.word),
            "sentence": inert(banner.sentence),
            "tone": banner.tone,
            "facts": [(inert(name), inert(value)) for name, value in banner.facts],
        }
    return fill("page", title=inert(title), banner=told, sections=shown)
