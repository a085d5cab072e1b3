"""Facts: which true facts of a cartoon clip a caption states, which it misses, which it gets wrong.

In: captions and the clips' facts. Out: per kind the share of facts stated rightly, and `joint`, the share of captions
in which every fact that had to be stated is right and nothing is made up; with Wilson intervals that count the facts of
one clip as belonging together. A clip without a caption misses all its facts: it is never left out, and is counted as
`failed` where its row says why (`error`), else as `missing`. Reader: `cineloop.world.language.read_text`; rules:
`cineloop.world.language.comparison`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from cineloop.errors import ItemError
from cineloop.world.language.comparison import KINDS, compare
from cineloop.world.language.read_text import parse
from cineloop.world.language.stated import STYLES
from cineloop.world.language.wrong_words import wrong_words
from v2t_eval.core.measurement import Evidence, Observation
from v2t_eval.core.metric import BaseMetric, Summary, share_of
from v2t_eval.core.sample import Sample

STATES = ("captioned", "failed", "missing")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """`style`: what the captions were asked to be, which decides what had to be stated; auto takes it from each row's
    `style`, and short where that has none."""

    style: Literal["auto", "short", "detailed", "timed"] = "auto"


class Metric(BaseMetric):
    name = "facts"
    level = "text"
    needs = ("facts",)
    uses = ("caption", "style", "error", "caption_error")
    detects = "who, what colour, how many, where, what happens, which way, in what order: of clips of the cartoon world"
    misses = "everything the cartoon world has no fact for, and how well a caption reads"
    version = 2
    Settings = Settings

    def measure(self, sample: Sample) -> Evidence:
        """Per kind [right, missed, wrong], what was made up, and whether all of it is right.

        Raises:
            ItemError: BAD_FACTS, not facts of the cartoon world.
        """
        caption = sample.caption
        style = sample.get("style") if self.settings.style == "auto" else self.settings.style
        known = str(style) if style in STYLES else "short"
        stated = parse(caption or "")
        try:
            comparison = compare(stated, sample.require("facts"), known)
        except (KeyError, TypeError, AttributeError) as error:
            raise ItemError(
                f"{sample.id}: its facts are not of the cartoon world: {error!r}", code="BAD_FACTS"
            ) from error
        why = "failed" if sample.get("error") or sample.get("caption_error") else "missing"
        return {
            "state": "captioned" if caption is not None else why,
            "joint": comparison.joint,
            "made_up": comparison.made_up,
            "unread_words": len(stated.unread),
            "wrong_words": wrong_words(caption or "", sample.require("facts"), known),
            "facts": {kind: [tally.right, tally.missed, tally.wrong] for kind, tally in comparison.tallies.items()},
        }

    def summarise(self, rows: Sequence[Observation], references: Sequence[Observation]) -> Summary:
        """Shares of all facts of a kind; the headline is joint."""
        figures = {}
        for kind in KINDS:
            tallies = np.array([row.evidence["facts"].get(kind, (0, 0, 0)) for row in rows])  # (n, 3)
            if tallies.sum():
                detail = dict(zip(("right", "missed", "wrong"), tallies.sum(0).tolist(), strict=True))
                figures[kind] = share_of(rows, tallies[:, 0], tallies.sum(1), detail)
        joint = np.array([row.evidence["joint"] for row in rows], dtype=int)  # (n,)
        detail = {"right": int(joint.sum()), "wrong": len(rows) - int(joint.sum())}
        figures["joint"] = share_of(rows, joint, detail=detail)
        states = [row.evidence["state"] for row in rows]
        counts = {state: states.count(state) for state in STATES}
        counts |= {name: sum(row.evidence[name] for row in rows) for name in ("made_up", "unread_words")}
        shown = ("state", "joint", "made_up", "facts")
        # Evidence that was cached before there were such words has none.
        items = [
            {
                "id": row.id,
                "value": float(row.evidence["joint"]),
                **{key: row.evidence[key] for key in shown},
                "wrong_words": row.evidence.get("wrong_words", []),
            }
            for row in rows
        ]
        return Summary(headline="joint", figures=figures, items=items, counts=counts)
