"""Clips as the page's template shows them: links that work from disk, and frames for browsers that cannot play them.

In: `Card`s, the folder of the page. Out: plain values for `page.html`. All frames together stay within a budget.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cineloop.errors import MissingDependencyError
from cineloop.log import logger
from v2t_eval.report import thumbnails
from v2t_eval.report.cells import inert
from v2t_eval.report.document import Card
from v2t_eval.report.inert import address
from v2t_eval.report.thumbnails import Part

NUM_FRAMES = 8  # of one clip
STATE = ".cineloop"
_MAX_BYTES = 12_000  # of one clip's frames
_ALL_BYTES = 3_000_000  # of a page, before base64
_MAX_LINE = 600


def card_contexts(
    groups: Sequence[Sequence[Card]], folder: Path, cache: Path | None = None
) -> list[list[dict[str, Any]]]:
    """The template's values of the cards, group by group."""
    parts = [(path, card.span) for cards in groups for card in cards for path in (card.clip, card.other) if path]
    strips = _strips([part for part in dict.fromkeys(parts) if part[0].is_file()], folder, cache)
    return [[_card(card, folder, strips) for card in cards] for cards in groups]


def _strips(parts: Sequence[Part], folder: Path, cache: Path | None) -> dict[Part, thumbnails.Strip]:
    if not parts:
        return {}
    state = cache or folder / STATE
    try:
        max_bytes = min(_MAX_BYTES, _ALL_BYTES // len(parts))
        return thumbnails.of_parts(parts, max_bytes, NUM_FRAMES, state if state.is_dir() else None)
    except MissingDependencyError as error:  # the clips are still linked
        logger.warning("the page shows no frames: %s", error)
        return {}


def _card(card: Card, folder: Path, strips: dict[Part, thumbnails.Strip]) -> dict[str, Any]:
    both = zip((card.clip, card.other), card.labels, strict=True)
    return {
        "title": inert(card.title, 200),
        "lines": [inert(line, _MAX_LINE) for line in card.lines],
        "clips": [_clip((path, card.span), label, folder, strips) for path, label in both if path is not None],
        "paired": card.clip is not None and card.other is not None,
    }


def _clip(part: Part, label: str, folder: Path, strips: dict[Part, thumbnails.Strip]) -> dict[str, Any]:
    """One clip: `link` None where the file is not there, `strip` None where no frame can be shown."""
    path, span = part
    strip = strips.get(part)
    begin_end = "" if span is None else "#t=" + ",".join(f"{end:g}" for end in span if end is not None)
    wide = 0 if strip is None else (strip.width + thumbnails.GAP) // strip.num_frames - thumbnails.GAP
    return {
        "label": inert(label, 100),
        "name": inert(path.name, 200),
        "link": address(path, folder) + begin_end if path.is_file() else None,
        "strip": None if strip is None else base64.b64encode(strip.data).decode("ascii"),
        "width": 0 if strip is None else strip.width,
        "height": 0 if strip is None else strip.height,
        "frame_width": wide,
        # frames are never enlarged: one within the box is as large as the clip itself
        "small": strip is not None and strip.height < thumbnails.BOX[0] and wide < thumbnails.BOX[1],
        "frames": 0 if strip is None else strip.num_frames,
        "gap": thumbnails.GAP,
    }
