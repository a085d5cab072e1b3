"""All records of a run in `captions.jsonl`, one JSON object a line, sorted by id; failed clips are rows too.

Holds any caption as it is: line breaks of every kind, NUL and the like are spelled as JSON escapes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cineloop.documents import json_lines
from cineloop.errors import UsageError
from cineloop.log import printable
from cineloop.manifest import dump_line
from v2t.writers import Rows

NAME = "captions.jsonl"


def write(rows: Rows, target: Path, place: Path) -> None:
    """Every record as its line."""
    with open(target, "wb") as file:
        for record in rows.records():
            file.write(render(record))


def render(record: dict[str, Any]) -> bytes:
    """One record as its line."""
    return dump_line(record)


def read(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a `captions.jsonl`, perhaps changed by hand.

    Raises:
        UsageError: a line is no caption record; a hand-made mistake is named rather than thrown away.
    """
    for number, row in json_lines(path, code="EDITED_FILE"):
        if not isinstance(row.get("id"), str) or "status" not in row:
            raise _not_ours(path, number, "no caption record (id, status, caption)")
        if row["status"] == "ok" and not isinstance(row.get("caption"), str):
            raise _not_ours(path, number, "its status is ok and its caption no text")
        yield row


def _not_ours(path: Path, number: int, why: str) -> UsageError:
    return UsageError(
        f"{printable(str(path))}, line {number}, was changed since we wrote it and cannot be read: {why}",
        code="EDITED_FILE",
        hint="mend that line, or move the file away; it is written again from the journal",
    )
