"""All records of a run in `captions.csv`, for spreadsheets and data frames; failed clips are rows too.

RFC 4180: UTF-8 without BOM, CRLF at the end of a row, every cell in quotes, quotes doubled, line breaks inside a
caption kept inside its quotes. Two things change, both so that a spreadsheet does no harm:
- A cell that a spreadsheet would run as a formula (it starts with = + - @, a tab or a carriage return, apostrophes
  before that or not) gets an apostrophe in front. Take one off to have the text back, as `read` does.
- NUL, which RFC 4180 does not know, becomes U+FFFD.
`segments` and `warnings` are JSON. Who needs each byte as it was reads `jsonl` or `parquet`. (Python's csv module
refuses cells above 128 KiB until `csv.field_size_limit` is raised.)
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cineloop.errors import UsageError
from cineloop.files import open_file
from cineloop.log import printable
from cineloop.spreadsheet import quoted, unquoted
from v2t.writers import Rows
from v2t.writers.columns import COLUMNS, flat

NAME = "captions.csv"
_LONGEST_CELL = 1 << 30


def write(rows: Rows, target: Path, place: Path) -> None:
    """A header, then every record as its row."""
    with open(target, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\r\n", quoting=csv.QUOTE_ALL)
        writer.writerow(COLUMNS)
        for record in rows.records():
            row = flat(record)
            row["segments"], row["warnings"] = _json(row["segments"]), _json(row["warnings"])
            writer.writerow(_cell(row[name]) for name in COLUMNS)


def read(path: Path) -> Iterator[dict[str, Any]]:
    """`id, status, caption` of every row, perhaps changed by hand and saved by a spreadsheet.

    Raises:
        UsageError: the file is no table with these columns.
    """
    before = csv.field_size_limit(_LONGEST_CELL)
    try:
        with io.TextIOWrapper(open_file(path), encoding="utf-8-sig", errors="replace", newline="") as file:
            table = csv.DictReader(file)
            lacking = [name for name in ("id", "status", "caption") if name not in (table.fieldnames or ())]
            if lacking:
                raise _not_ours(path, f"it has no column {', '.join(lacking)}")
            for row in table:
                if row["caption"] is None:
                    raise _not_ours(path, f"line {table.line_num} is too short")
                yield {name: unquoted(row[name]) for name in ("id", "status", "caption")}
    except csv.Error as error:
        raise _not_ours(path, str(error)) from error
    finally:
        csv.field_size_limit(before)


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    if not isinstance(value, str):
        return str(value).lower() if isinstance(value, bool) else value
    return quoted(value.replace("\0", "\ufffd"))


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _not_ours(path: Path, why: str) -> UsageError:
    return UsageError(
        f"{printable(str(path))} was changed since we wrote it and cannot be read: {why}",
        code="EDITED_FILE",
        hint="mend it, or move it away; it is written again from the journal",
    )
