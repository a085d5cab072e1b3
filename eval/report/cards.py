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

NUM_FRAMES = 8  # of one clip
STATE = ".cineloop"
_MAX_BYTES = 12_000  # of one clip's frames
_ALL_BYTES = 3_000_000  # of a page, before base64
_MAX_LINE = 600


def shown_cards(groups: Sequence[Sequence[Card]], folder: Path) -> list[list[dict[str, Any]]]:
    """What the template shows of the cards, group by group."""
    paths = [path for cards in groups for card in cards for path in (card.clip, card.beside)]
    there = [path for path in dict.fromkeys(paths) if path is not None and path.is_file()]
    strips = _strips(there, folder)
    return [[_card(card, folder, strips) for card in cards] for cards in groups]


def _strips(paths: Sequence[Path], folder: Path) -> dict[Path, thumbnails.Strip]:
    if not paths:
        return {}
    state = folder / STATE
    try:
        max_bytes = min(_MAX_BYTES, _ALL_BYTES // len(paths))
        return thumbnails.of_files(paths, max_bytes, NUM_FRAMES, state if state.is_dir() else None)
    except MissingDependencyError as error:  # the clips are still linked
        logger.warning("the page shows no frames: %s", error)
        return {}


def _card(card: Card, folder: Path, strips: dict[Path, thumbnails.Strip]) -> dict[str, Any]:
    both = zip((card.clip, card.beside), card.labels, strict=True)
    return {
        "title": inert(card.title, 200),
        "lines": [inert(line, _MAX_LINE) for line in card.lines],
        "clips": [_clip(path, label, folder, strips) for path, label in both if path is not None],
        "paired": card.clip is not None and card.beside is not None,
    }


def _clip(path: Path, label: str, folder: Path, strips: dict[Path, thumbnails.Strip]) -> dict[str, Any]:
    """One clip: `link` None where the file is not there, `strip` None where no frame can be shown."""
    strip = strips.get(path)
    wide = 0 if strip is None else (strip.width + thumbnails.GAP) // strip.num_frames - thumbnails.GAP
    return {
        "label": inert(label, 100),
        "name": inert(path.name, 200),
        "link": address(path, folder) if path.is_file() else None,
        "strip": None if strip is None else base64.b64encode(strip.data).decode("ascii"),
        "width": 0 if strip is None else strip.width,
        "height": 0 if strip is None else strip.height,
        "frame_width": wide,
        # frames are never enlarged: one within the box is as large as the clip itself
        "small": strip is not None and strip.height < thumbnails.BOX[0] and wide < thumbnails.BOX[1],
        "frames": 0 if strip is None else strip.num_frames,
        "gap": thumbnails.GAP,
    }
