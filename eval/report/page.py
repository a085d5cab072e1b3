"""The HTML page of a document: one self-contained file.

In: a `Document`. Out: bytes of a page. Every text is inert, whatever it holds (`v2t_eval.report.inert`); clips are
linked relatively, so the page works from disk, and shown as frames inside of the page where a browser cannot play them.
The page is plain HTML; its script only sorts tables and plays clips together.
"""

from __future__ import annotations

from pathlib import Path

from v2t_eval.report.document import Document

MAX_CARDS = 24  # of one section
_MAX_LINES = 200


def render(document: Document, folder: Path, cache: Path | None = None) -> bytes:
    """The page, to be written into `folder`.

    Thumbnails are kept in `cache`, by default the folder's state folder (`.cineloop`) where there is one. Texts are cut
    to a length that people read; a file that is gone or cannot be decoded costs its picture, not the page.

    Raises:
        ValueError: a table's rows are not as long as its columns, or its notes not as many as its rows.
    """
    from v2t_eval.report.cards import card_contexts
    from v2t_eval.report.cells import inert, table_context
    from v2t_eval.report.inert import address, fill

    sections = [section for section in document.sections if not section.empty]
    cards = card_contexts([section.cards[:MAX_CARDS] for section in sections], folder, cache)
    contexts = [
        {
            "id": f"part-{number}",
            "title": inert(section.title),
            "text": [inert(line) for line in section.text[:_MAX_LINES]],
            "facts": [(inert(name), inert(value)) for name, value in section.facts],
            "tables": [table_context(table, section.title, folder) for table in section.tables],
            "commands": [inert(line) for line in section.commands],
            "links": [(inert(text), address(path, folder)) for text, path in section.links],
            "cards": section_cards,
            "more": inert(document.omission(rest, "clip")) if (rest := len(section.cards) - len(section_cards)) else "",
            "folded": section.folded,
        }
        for number, (section, section_cards) in enumerate(zip(sections, cards, strict=True), start=1)
    ]
    banner = document.banner and {
        "word": inert(document.banner.word),
        "sentence": inert(document.banner.sentence),
        "tone": document.banner.tone,
        "facts": [(inert(name), inert(value)) for name, value in document.banner.facts],
    }
    return fill(title=inert(document.title), banner=banner, sections=contexts)
