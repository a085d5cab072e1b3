"""`index.parquet`: a row a clip with its columns and where it lies; the videos are beside it, in `clips/`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from v2t.writers import Rows

NAME = "index.parquet"
_TEXTS = ("id", "path", "caption", "license", "origin", "split", "source", "source_sha")
_NUMBERS = ("source_start_s", "source_end_s", "duration_s", "fps")
_COUNTS = ("width", "height", "num_frames")


def write(rows: Rows, target: Path, place: Path) -> None:
    """All clips."""
    pyarrow.parquet.write_table(table([record for record, _ in rows.with_videos()]), target, compression="zstd")


def table(records: list[dict[str, Any]]) -> pyarrow.Table:
    """The records of clips as columns; `scores` is a struct."""
    kinds = dict.fromkeys(_TEXTS, pyarrow.string()) | dict.fromkeys(_NUMBERS, pyarrow.float64())
    kinds |= dict.fromkeys(_COUNTS, pyarrow.int32()) | {"has_sound": pyarrow.bool_()}
    data = {name: pyarrow.array([row.get(name) for row in records], kind) for name, kind in kinds.items()}
    scores = sorted({name for row in records for name in row["scores"]})
    if scores:
        columns = [pyarrow.array([row["scores"].get(name) for row in records], pyarrow.float64()) for name in scores]
        data["scores"] = pyarrow.StructArray.from_arrays(columns, names=scores)
    return pyarrow.table(data)
