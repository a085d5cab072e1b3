"""`clips.parquet`: one row for each clip, one column for each metric that scores single clips.

In: `Scores`. Out: a Parquet file with the columns id, path, cluster, prompt, caption, status, error (its code), then a
nullable float64 column named after each metric; a clip that was not scored is null, never zero. The set's figures,
fingerprints and sources are stored as JSON under the key `cineloop.scores` of the schema's metadata. Needs pyarrow.
"""

from __future__ import annotations

import json
from importlib.util import find_spec

from v2t_eval.core.scores import Scores
from v2t_eval.report.summary import rows

METADATA = b"cineloop.scores"
_TEXTS = ("id", "path", "cluster", "prompt", "caption", "status")


def is_installed() -> bool:
    """Whether pyarrow is."""
    return find_spec("pyarrow") is not None


def render(scores: Scores) -> bytes:
    """The file.

    Raises:
        ModuleNotFoundError: pyarrow is not installed, see `is_installed`.
    """
    import pyarrow
    from pyarrow import parquet

    columns: dict[str, pyarrow.Array] = {
        name: pyarrow.array([_text(getattr(clip, name)) for clip in scores.clips], pyarrow.string()) for name in _TEXTS
    }
    codes = [_text(clip.error.get("code")) if clip.error else None for clip in scores.clips]
    columns["error"] = pyarrow.array(codes, pyarrow.string())
    for row in rows(scores):
        if row.values:
            name = row.name if row.name not in columns else f"{row.name} (metric)"
            columns[name] = pyarrow.array([row.values.get(clip.id) for clip in scores.clips], pyarrow.float64())
    metadata = {METADATA: json.dumps(scores.as_dict(items=False), allow_nan=False).encode("ascii")}
    table = pyarrow.table(columns).replace_schema_metadata(metadata)
    sink = pyarrow.BufferOutputStream()
    parquet.write_table(table, sink, compression="zstd")
    data: bytes = sink.getvalue().to_pybytes()
    return data


def _text(text: str | None) -> str | None:
    """Arrow stores only UTF-8; lone surrogates (from other file names) are escaped."""
    return None if text is None else text.encode("utf-8", "backslashreplace").decode("utf-8")
