"""All records of a run in `captions.csv`, for spreadsheets and data frames; failed clips are rows too.

RFC 4180: UTF-8 without BOM, CRLF at the end of a row, every cell in quotes, quotes doubled, line breaks inside a
caption kept inside its quotes. Two things change, both so that a spreadsheet does no harm:
- A cell that a spreadsheet would run as a formula (it starts with = + - @, a tab or a carriage return, apostrophes
  before that or not) gets an apostrophe in front. Take one off to have the text back.
- NUL, which RFC 4180 does not know, becomes U+FFFD.
`segments`, `warnings`, `captions` (all of a clip, its own first) and `tags` are JSON. For the exact bytes use `jsonl`
or `parquet`. (Python's csv module refuses cells above 128 KiB until `csv.field_size_limit` is raised.)
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from cineloop.errors import Notice
from cineloop.spreadsheet import quote
from v2t.writers import Record, Rows

NAME = "captions.csv"
COLUMNS = (
    "id path status caption segments start_s end_s duration_s style model revision prompt_sha decoder tokens seconds "
    "warnings error_code error_message edited captions review tags"
).split()


def write(rows: Rows, target: Path, place: Path) -> None:
    """A header, then every record as its row."""
    with open(target, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\r\n", quoting=csv.QUOTE_ALL)
        writer.writerow(COLUMNS)
        for record in rows.records():
            row = flat_row(record)
            for name in ("segments", "warnings", "captions", "tags"):
                row[name] = _json(row[name])
            writer.writerow(_cell(row[name]) for name in COLUMNS)


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    if not isinstance(value, str):
        return str(value).lower() if isinstance(value, bool) else value
    return quote(value.replace("\0", "\ufffd"))


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def flat_row(record: Record) -> dict[str, Any]:
    """The row of a record, exactly `COLUMNS`, as in `parquet` too; what a record lacks is None."""
    row = {name: record.get(name) for name in COLUMNS}
    error = record.get("error") or {}
    row["segments"] = [
        {"start_s": float(part["start_s"]), "end_s": float(part["end_s"]), "caption": str(part["caption"])}
        for part in record.get("segments") or []
    ]
    row["warnings"] = [Notice.read(warning).record() for warning in record.get("warnings") or []]
    row["captions"], row["tags"] = record.get("captions") or [], record.get("tags") or []
    row["edited"] = bool(record.get("edited", False))
    row["error_code"], row["error_message"] = error.get("code"), error.get("message")
    return row
