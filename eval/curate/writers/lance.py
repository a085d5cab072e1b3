"""`clips.lance`: a Lance dataset, a row a clip with its columns and its bytes in the blob column `video`.

`lance.dataset("clips.lance").take_blobs("video", indices=[7])` reads one clip without the others. Lance names its files
at random: written anew, the dataset holds the same rows in other files.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow

from cineloop.errors import MissingDependencyError
from v2t.writers import Rows
from v2t_eval.curate.writers.parquet import table

try:
    import lance
except ModuleNotFoundError as error:
    raise MissingDependencyError(
        "the format lance needs pylance: pip install 'cineloop[lance]'", code="MISSING_PACKAGE"
    ) from error

NAME = "clips.lance"
_GROUP_BYTES = 64 << 20


def write(rows: Rows, target: Path, place: Path) -> None:
    """All clips, in groups of rows, so that memory does not grow with their number."""
    videos = list(rows.with_videos())
    index = table([record for record, _ in videos])
    video = pyarrow.field("video", pyarrow.large_binary(), metadata={"lance-encoding:blob": "true"})
    schema = index.schema.append(video)

    def groups() -> Iterator[pyarrow.RecordBatch]:
        first, held = 0, list[bytes]()
        for number, (_, path) in enumerate(videos, 1):
            held.append(path.read_bytes())
            if number == len(videos) or sum(map(len, held)) > _GROUP_BYTES:
                columns = index.slice(first, len(held)).combine_chunks().columns
                arrays = [column.combine_chunks() for column in columns]
                yield pyarrow.record_batch([*arrays, pyarrow.array(held, pyarrow.large_binary())], schema=schema)
                first, held = number, []

    lance.write_dataset(pyarrow.RecordBatchReader.from_batches(schema, groups()), str(target))
