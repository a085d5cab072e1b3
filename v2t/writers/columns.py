"""A caption record as one flat row, the same columns for `csv` and `parquet`.

In: a record. Out: a dict with exactly `COLUMNS`; what a record lacks is None. `captions.jsonl` holds everything else
(frame times, hints of errors).
"""

from __future__ import annotations

from typing import Any

from cineloop.errors import Notice

COLUMNS = (
    "id path status caption segments start_s end_s duration_s style model revision prompt_sha decoder tokens seconds "
    "warnings error_code error_message edited"
).split()


def flat_row(record: dict[str, Any]) -> dict[str, Any]:
    """The row of a record; `segments` and `warnings` are lists."""
    row = {name: record.get(name) for name in COLUMNS}
    error = record.get("error") or {}
    row["segments"] = [
        {"start_s": float(part["start_s"]), "end_s": float(part["end_s"]), "caption": str(part["caption"])}
        for part in record.get("segments") or []
    ]
    row["warnings"] = [Notice.read(warning).record() for warning in record.get("warnings") or []]
    row["edited"] = bool(record.get("edited", False))
    row["error_code"], row["error_message"] = error.get("code"), error.get("message")
    return row
