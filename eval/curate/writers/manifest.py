"""`manifest.jsonl`: a row a clip, as `cineloop.manifest`, which `v2t caption`, `v2t train` and `t2v train` read."""

from __future__ import annotations

from pathlib import Path

from cineloop.manifest import dump_line
from v2t.writers import Rows

NAME = "manifest.jsonl"


def write(rows: Rows, target: Path, place: Path) -> None:
    """All clips; `captions` of those that have one."""
    with open(target, "wb") as file:
        for record, _ in rows.with_videos():
            row = {name: value for name, value in record.items() if name not in ("status", "caption")}
            file.write(dump_line(row | ({"captions": [record["caption"]]} if record["caption"] else {})))
