"""All records of a run in `captions.parquet`, typed columns; failed clips are rows too.

Holds any caption as it is. Written in groups of rows, so memory does not grow with their number. Needs pyarrow.
"""

from __future__ import annotations

import itertools
from pathlib import Path

from cineloop.errors import MissingDependencyError
from v2t.writers import Rows
from v2t.writers.csv import COLUMNS, flat_row

try:
    import pyarrow
    import pyarrow.parquet
except ModuleNotFoundError as error:
    raise MissingDependencyError(
        "the format parquet needs pyarrow: pip install 'cineloop[formats]'", code="MISSING_PACKAGE"
    ) from error

NAME = "captions.parquet"
_GROUP_ROWS = 2000
_GROUP_CHARS = 16_000_000
_TEXT, _NUMBER = pyarrow.string(), pyarrow.float64()
_KINDS = {
    "segments": pyarrow.list_(pyarrow.struct({"start_s": _NUMBER, "end_s": _NUMBER, "caption": _TEXT})),
    "warnings": pyarrow.list_(pyarrow.struct({"code": _TEXT, "message": _TEXT})),
    "captions": pyarrow.list_(_TEXT),
    "tags": pyarrow.list_(_TEXT),
    "tokens": pyarrow.int64(),
    "edited": pyarrow.bool_(),
} | dict.fromkeys(("start_s", "end_s", "duration_s", "seconds"), _NUMBER)
SCHEMA = pyarrow.schema([(name, _KINDS.get(name, _TEXT)) for name in COLUMNS])


def write(rows: Rows, target: Path, place: Path) -> None:
    """Every record as a row of `SCHEMA`."""
    flats = (flat_row(record) for record in rows.records())
    with open(target, "wb") as file, pyarrow.parquet.ParquetWriter(file, SCHEMA, compression="zstd") as writer:
        for first in flats:
            group, size = [first], 0
            for row in itertools.islice(flats, _GROUP_ROWS - 1):
                group.append(row)
                size += len(row["caption"] or "")
                if size > _GROUP_CHARS:
                    break
            writer.write_table(pyarrow.Table.from_pylist(group, schema=SCHEMA))
