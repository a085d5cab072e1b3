"""The manifest: one JSON object a line, one line a clip; the contract between stages (design: contracts).

In: a `manifest.jsonl` path, or rows. Out: rows, or the file written atomically.
A row holds `id, path, start_s?, end_s?, captions?, conversations?, facts?, prompt?` (conversations in the LLaVA
form); further keys pass through untouched. Paths are relative to the manifest's folder, UTF-8, with bytes that are
no UTF-8 spelled as in `cineloop.files.escape_name`. NaN and infinity are refused in both directions.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from cineloop.documents import json_lines
from cineloop.errors import UsageError
from cineloop.files import unescape_name, write_atomic
from cineloop.log import printable

Row = dict[str, Any]
REJECTED = "rejected"  # of a caption record's `review`, beside "accepted" and "look" (`v2t edit`)


def read_manifest(path: str | Path) -> Iterator[Row]:
    """Rows of a manifest, checked one by one as they are read.

    Raises:
        UsageError: the file is absent, a line is no JSON object, a field is missing or of the wrong kind, a path
            leaves the manifest's folder, or an id comes twice; the message names file and line.
    """
    where = printable(str(path))
    seen: dict[str, int] = {}
    for number, row in json_lines(path, code="MANIFEST"):
        check_row(row, f"{where}, line {number}")
        if row["id"] in seen:
            raise UsageError(
                f"{where}, line {number}: id {row['id']!r} is already on line {seen[row['id']]}",
                code="MANIFEST",
                hint="every clip needs its own id",
            )
        seen[row["id"]] = number
        yield row


def is_rejected(row: Mapping[str, Any]) -> bool:
    """Whether a person rejected the clip of a caption record: every reader of captions leaves it out."""
    return row.get("review") == REJECTED


def write_manifest(rows: Iterable[Row], path: str | Path) -> int:
    """Write rows as a manifest, atomically; returns how many.

    Raises:
        UsageError: a row breaks the contract; nothing is written then.
    """
    path = Path(path)
    lines, seen = [], set()
    for number, row in enumerate(rows, 1):
        check_row(row, f"row {number} for {path.name}")
        if row["id"] in seen:
            raise UsageError(f"row {number} for {path.name}: id {row['id']!r} comes twice", code="MANIFEST")
        seen.add(row["id"])
        lines.append(dump_line(row))
    write_atomic(path, b"".join(lines))
    return len(lines)


def dump_line(row: Row) -> bytes:
    """One row as one UTF-8 line with its newline.

    Raises:
        ValueError: the row holds NaN or infinity.
        UnicodeEncodeError: the row holds a lone surrogate (see `escape_name`).
    """
    text = json.dumps(row, ensure_ascii=False, allow_nan=False, separators=(", ", ": "))
    # Lines of this file are split at "\n" only by us, but other readers use str.splitlines: hide its other breaks.
    for mark in ("\x85", "\u2028", "\u2029"):
        text = text.replace(mark, f"\\u{ord(mark):04x}")
    return text.encode("utf-8") + b"\n"


def check_row(row: Row, where: str) -> None:
    """Raise UsageError naming `where` when a row breaks the contract."""

    def fail(message: str, hint: str = "") -> None:
        raise UsageError(f"{where}: {message}", code="MANIFEST", hint=hint)

    for key in ("id", "path"):
        value = row.get(key)
        if not isinstance(value, str) or not value:
            fail(f"{key!r} must be a non-empty string, got {value!r}")
    pure = PurePosixPath(row["path"])
    if pure.is_absolute() or ".." in pure.parts or "\0" in row["path"]:
        fail(
            f"path {row['path']!r} must be relative and stay inside the manifest's folder",
            "put the manifest into a folder above its clips and name them from there, or link their folder beside it",
        )
    for key in ("start_s", "end_s"):
        value = row.get(key)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or value < 0):
            fail(f"{key!r} must be seconds >= 0, got {value!r}")
        if isinstance(value, float) and not math.isfinite(value):
            fail(f"{key!r} must be finite, got {value!r}")
    start_s, end_s = row.get("start_s"), row.get("end_s")
    if end_s is not None and end_s <= (start_s or 0.0):
        fail(f"end_s {end_s} must come after start_s {start_s or 0.0}")


def form_of(place: Path) -> str:
    """Which form of a training set that is no manifest a file or folder has: "WebDataset", "Lance", or ""."""
    if place.suffix == ".tar" or (place.is_dir() and next(place.glob("*.tar"), None) is not None):
        return "WebDataset"
    return "Lance" if (place / "_versions").is_dir() else ""


def clip_path(manifest: str | Path, row: Row) -> Path:
    """The file a row points to: its `path` resolved beside the manifest."""
    return Path(manifest).parent / unescape_name(row["path"])
