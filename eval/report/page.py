"""The HTML page of a document: one self-contained file.

In: a `Document`. Out: bytes of a page. Captions, prompts and messages are untrusted text: the template escapes them,
the script sets text and never HTML, and the page's own policy (CSP with the hashes of its one style and one script,
trusted types) allows nothing else to run or to load. Clips are linked relatively, so the page works from disk, and
shown as frames inside of the page where a browser cannot play them. The script only sorts tables, plays clips together
and moves limits.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from cineloop.errors import MissingDependencyError
from cineloop.log import logger, printable
from v2t_eval.report import thumbnails
from v2t_eval.report.cells import address, inert, table_context
from v2t_eval.report.document import Card, Document, Explorer, StruckText
from v2t_eval.report.thumbnails import Part

MAX_CARDS = 24  # of one section
_MAX_LINES = 200
NUM_FRAMES = 8  # of one clip
STATE = ".cineloop"
_MAX_BYTES = 12_000  # of one clip's frames
_ALL_BYTES = 3_000_000  # of a page, before base64
_SAMPLE_FRAMES, _SAMPLE_BYTES = 4, 5_000  # of a clip beside a limit
_MAX_LINE = 600
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def render(document: Document, folder: Path, cache: Path | None = None) -> bytes:
    """The page, to be written into `folder`.

    Thumbnails are kept in `cache`, by default the folder's state folder (`.cineloop`) where there is one. Texts are cut
    to a length that people read; a file that is gone or cannot be decoded costs its picture, not the page.

    Raises:
        ValueError: a table's rows are not as long as its columns, or its notes not as many as its rows.
    """
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
            "explorer": None if section.explorer is None else _explorer(section.explorer, folder, cache),
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


def card_contexts(
    groups: Sequence[Sequence[Card]], folder: Path, cache: Path | None = None
) -> list[list[dict[str, Any]]]:
    """The template's values of the cards, group by group."""
    parts = [part for cards in groups for card in cards for part, _ in _parts(card)]
    strips = _strips(parts, min(_MAX_BYTES, _ALL_BYTES // max(len(parts), 1)), NUM_FRAMES, folder, cache)
    return [[_card(card, folder, strips) for card in cards] for cards in groups]


def _parts(card: Card) -> list[tuple[Part, str]]:
    """The clips of a card, each with its label."""
    spans = (card.span, card.other_span or card.span)
    parts: list[tuple[Part, str]] = [
        ((path, span), label)
        for path, span, label in zip((card.clip, card.other), spans, card.labels, strict=True)
        if path is not None
    ]
    return parts + [((path, card.span), label) for label, path in card.more]


def _strips(
    parts: Sequence[Part], max_bytes: int, num_frames: int, folder: Path, cache: Path | None
) -> dict[Part, thumbnails.Strip]:
    parts = [part for part in dict.fromkeys(parts) if part[0].is_file()]
    if not parts:
        return {}
    state = cache or folder / STATE
    try:
        return thumbnails.of_parts(parts, max_bytes, num_frames, state if state.is_dir() else None)
    except MissingDependencyError as error:  # the clips are still linked
        logger.warning("the page shows no frames: %s", error)
        return {}


def _card(card: Card, folder: Path, strips: dict[Part, thumbnails.Strip]) -> dict[str, Any]:
    parts = _parts(card)
    return {
        "title": _pieces(card.title, 200),
        "lines": [_pieces(line, _MAX_LINE) for line in card.lines],
        "clips": [_clip(part, label, folder, strips) for part, label in parts],
        "play": ("Play", "Play", "Play both")[len(parts)] if len(parts) < 3 else "Play all",
        "wide": len(parts) > 3,
    }


def _pieces(line: str | StruckText, limit: int) -> list[tuple[str, bool]]:
    """The line piece by piece, and whether it is struck; a long one is not, since it is cut."""
    if isinstance(line, str) or len(line.text) > limit:
        return [(inert(line if isinstance(line, str) else line.text, limit), False)]
    return [(printable(text.replace("\n", " ")), is_struck) for text, is_struck in line.pieces()]


def _clip(part: Part, label: str, folder: Path, strips: dict[Part, thumbnails.Strip]) -> dict[str, Any]:
    """One clip: `link` None where the file is not there, `strip` None where no frame can be shown."""
    path, _ = part
    strip = strips.get(part)
    wide = 0 if strip is None else (strip.width + thumbnails.GAP) // strip.num_frames - thumbnails.GAP
    return {
        "label": inert(label, 100),
        "name": inert(path.name, 200),
        "link": _link(part, folder),
        "strip": None if strip is None else base64.b64encode(strip.data).decode("ascii"),
        "width": 0 if strip is None else strip.width,
        "height": 0 if strip is None else strip.height,
        "frame_width": wide,
        # frames are never enlarged: one within the box is as large as the clip itself
        "small": strip is not None and strip.height < thumbnails.BOX[0] and wide < thumbnails.BOX[1],
        "frames": 0 if strip is None else strip.num_frames,
        "gap": thumbnails.GAP,
    }


def _link(part: Part, folder: Path) -> str | None:
    """The address of a part of a file, None where the file is not there."""
    path, span = part
    seconds = "" if span is None else "#t=" + ",".join(f"{end:g}" for end in span if end is not None)
    return address(path, folder) + seconds if path.is_file() else None


def _explorer(explorer: Explorer, folder: Path, cache: Path | None) -> str:
    """The JSON that the script reads, safe within its element."""
    parts = {one.id: (one.path, one.span) for one in explorer.samples if one.path is not None}
    strips = _strips(list(parts.values()), _SAMPLE_BYTES, _SAMPLE_FRAMES, folder, cache)
    samples = []
    for one in explorer.samples:
        part = parts.get(one.id)
        strip = None if part is None else strips.get(part)
        link = None if part is None else _link(part, folder)
        sample: dict[str, Any] = {"id": inert(one.id, 200), "link": link, "values": one.values}
        if strip is not None:
            sample["strip"] = base64.b64encode(strip.data).decode("ascii")
            sample |= {"width": strip.width, "height": strip.height}
        samples.append(sample)
    text = json.dumps({**explorer.data, "samples": samples}, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")


def fill(**values: Any) -> bytes:
    """The page of the template `page.html` with its style `page.css` and its scripts."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    style = _text("page.css")
    explores = any(section["explorer"] for section in values["sections"])
    script = _text("page.js") + (_text("explorer.js") if explores else "")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_clean
    )
    page = environment.from_string(_text("page.html")).render(
        policy=_policy(style, script), style=Markup(style), script=Markup(script), **values
    )
    return page.encode("utf-8", "backslashreplace")


def _policy(style: str, script: str) -> str:
    def source(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode('utf-8')).digest()).decode('ascii')}'"

    return (
        f"default-src 'none'; script-src {source(script)}; style-src {source(style)}; img-src data:; "
        "media-src 'self' file:; base-uri 'none'; form-action 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    )


def _text(name: str) -> str:
    return files("v2t_eval.report").joinpath(name).read_text(encoding="utf-8")


def _clean(value: Any) -> Any:
    return _CONTROL.sub("\ufffd", value) if type(value) is str else value
