"""Order of clips in the editor: what needs a person first.

In: records, the doubts of `v2t-eval mine`. Out: ids: failed clips, then those with warnings, then the others; within
each the most doubted first, then by id.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cineloop.documents import json_lines
from cineloop.errors import UsageError
from cineloop.log import logger, printable
from v2t.writers import Record

FILE = "mined.jsonl"


@dataclass(frozen=True, kw_only=True)
class Doubt:
    """What a mining says of a clip: the disagreement, 0 to 1, and the claim that the judge doubts most, or ""."""

    value: float
    claim: str


def read_doubts(place: Path, known: Mapping[str, object]) -> dict[str, Doubt]:
    """Doubts by clip id of the folder or file that `v2t-eval mine` wrote; rows of clips not in `known` are counted and
    logged.

    Raises:
        UsageError: DOUBTS, the file cannot be read, or a row has no id or no disagreement from 0 to 1.
    """
    file = place / FILE if place.is_dir() else place
    doubts, num_unknown = {}, 0
    for number, row in json_lines(file, code="DOUBTS"):
        value: Any = row.get("disagreement")
        clip_id, claim = row.get("id"), row.get("doubted")
        is_value = isinstance(value, int | float) and not isinstance(value, bool)
        if not isinstance(clip_id, str) or not is_value or not 0 <= value <= 1:
            raise UsageError(
                f"{printable(str(file))}, line {number}: expected a row of v2t-eval mine with id and disagreement",
                code="DOUBTS",
                hint="v2t-eval mine CLIPS --captions captions.jsonl -o mined/ writes it",
            )
        if clip_id in known:
            doubts[clip_id] = Doubt(value=value, claim=claim if isinstance(claim, str) else "")
        else:
            num_unknown += 1
    if num_unknown:
        logger.warning("%d of %d doubted clips are not in this folder", num_unknown, num_unknown + len(doubts))
    return doubts


def order(records: Iterable[Record], doubts: Mapping[str, Doubt]) -> list[str]:
    """Ids in the order in which a person should look at them."""

    def rank(record: Record) -> tuple[int, float, str]:
        kind = 0 if record["status"] != "ok" else 1 if record.get("warnings") else 2
        doubt = doubts.get(record["id"])
        return kind, -doubt.value if doubt else 0.0, record["id"]

    return [clip_id for _, _, clip_id in sorted(map(rank, records))]
