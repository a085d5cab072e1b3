"""All records of a run in `captions.jsonl`, one JSON object a line, sorted by id; failed clips are rows too.

Holds any caption as it is: line breaks of every kind, NUL and the like are spelled as JSON escapes.
"""

from __future__ import annotations

from pathlib import Path

from cineloop.manifest import dump_line
from v2t.writers import Rows

NAME = "captions.jsonl"


def write(rows: Rows, target: Path, place: Path) -> None:
    """Every record as its line."""
    with open(target, "wb") as file:
        for record in rows.records():
            file.write(dump_line(record))
