"""The table of clips: a journal of what was measured, and a Parquet file with the verdicts of one set of limits.

In: films with their clips. Out: `clips.jsonl`, to which each finished film is appended as one line (kill -9 loses at
most the film in progress), and `clips.parquet`, written whole from it. Nothing is removed: a film measured anew is
appended, and its last entry counts. The journal says nothing of limits; the Parquet file depends on the journal and the
recipe alone, so the same films and recipe give the same bytes.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from importlib.util import find_spec
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np

from cineloop.documents import parse_json
from cineloop.errors import MissingDependencyError, NothingMatchedError, UsageError
from cineloop.files import write_atomic
from cineloop.journal import Journal
from cineloop.log import printable
from cineloop.startup import pause_collector
from v2t_eval.core.worker import Error
from v2t_eval.curate.clip import FilmClip, Links
from v2t_eval.curate.query import Verdicts

JOURNAL, PARQUET = "clips.jsonl", "clips.parquet"
SCHEMA = 1
_METADATA = b"cineloop.curate"
_KIND = "clips"  # of the journal's entries
# Columns of the table by name, but for those of steps, with their types as the dataclasses name them.
_LINKS = {f"links.{each.name}": str(each.type) for each in fields(Links)}
COLUMNS: dict[str, str] = {}
for _each in fields(FilmClip):
    COLUMNS |= _LINKS if _each.name == "links" else {_each.name: str(_each.type)}
del COLUMNS["scores"]
# License and origin are what a manifest says on this run; links depend on limits.
_JOURNALED = [name for name in COLUMNS if name not in (*_LINKS, "license", "origin")]


@dataclass(kw_only=True)
class Film:
    """One file of a curation, measured or failed.

    Attributes:
        id: its path in the folder of films, or its id in a manifest.
        size, mtime_ns: of the file as it was found.
        print: `Plan.print` of the plan it was measured by.
        error: why it has no clips.
        clips: what it was cut into.
    """

    id: str
    size: int
    mtime_ns: int
    print: str
    error: Error | None = None
    clips: list[FilmClip] = field(default_factory=list)

    def is_of(self, size: int, mtime_ns: int, print: str) -> bool:
        """Whether it says how a file of this size and date is, by this plan."""
        return (self.size, self.mtime_ns, self.print) == (size, mtime_ns, print)


def read_films(folder: Path) -> dict[str, Film]:
    """The films of the journal in a folder, by id; none without a journal."""
    films: dict[str, Film] = {}
    with pause_collector(), Journal(folder / JOURNAL, writable=False) as journal:
        for entry, _ in journal.replay():
            if entry.pop("kind", "") == _KIND:
                clips = _clips(entry.pop("same"), entry.pop("own"), entry.pop("columns"), entry.pop("scores"))
                films[entry["id"]] = Film(clips=clips, **entry)
    return films


def append(journal: Journal, film: Film) -> None:
    """Append a film with its clips, all or none. Their numbers are packed: as text they would take most of the time in
    which a set is asked for anew. What is the same in all of them is written once."""
    clips = film.clips
    entry = {"id": film.id, "size": film.size, "mtime_ns": film.mtime_ns, "print": film.print, "error": film.error}
    names = list(dict.fromkeys(name for clip in clips for name in clip.scores))
    scores = np.array([[clip.scores.get(name) for name in names] for clip in clips], dtype="<f8")  # None is NaN
    values = {name: [getattr(clip, name) for clip in clips] for name in _JOURNALED}
    same = {
        name: each[0] for name, each in values.items() if clips and name != "id" and each.count(each[0]) == len(each)
    }
    entry |= {
        "same": same,
        "own": {name: each for name, each in values.items() if name not in same},
        "columns": names,
        "scores": base64.b64encode(scores.tobytes()).decode("ascii"),
    }
    journal.append([{"kind": _KIND, **entry}])


def _clips(same: dict[str, Any], own: dict[str, list[Any]], columns: list[str], scores: str) -> list[FilmClip]:
    """The clips that `append` wrote."""
    table = np.frombuffer(base64.b64decode(scores), "<f8").reshape(len(own["id"]), len(columns))
    numbers = table.astype(object)
    numbers[np.isnan(table)] = None
    return [
        FilmClip(**same, **dict(zip(own, line, strict=True)), scores=dict(zip(columns, values, strict=True)))
        for line, values in zip(zip(*own.values(), strict=True), numbers.tolist(), strict=True)
    ]


def check() -> None:
    """Raise MissingDependencyError when pyarrow is not installed; call it before hours of work."""
    if find_spec("pyarrow") is None:
        raise MissingDependencyError(
            f"{PARQUET} needs pyarrow", code="MISSING_PACKAGE", hint="pip install 'cineloop[formats]'"
        )


def write_table(folder: Path, clips: Sequence[FilmClip], verdicts: Verdicts, about: Any) -> None:
    """Write the Parquet file; `about` is kept in its metadata, see `read_table`."""
    import pyarrow as pa
    from pyarrow import parquet

    drop = pa.struct([("step", pa.string()), ("rule", pa.string()), ("value", pa.float64()), ("limit", pa.float64())])
    one = {"str": pa.string(), "float": pa.float64(), "int": pa.int32()}
    kinds = one | {f"list[{name}]": pa.list_(kind) for name, kind in one.items()}
    data = {
        name.removeprefix("links."): pa.array(list(map(attrgetter(name), clips)), kinds[kind.removesuffix(" | None")])
        for name, kind in COLUMNS.items()
    }
    scores = [pa.array(values, from_pandas=True) for values in verdicts.values.values()]  # NaN is null
    data["scores"] = pa.StructArray.from_arrays(scores, names=list(verdicts.values))
    data["drops"] = pa.array(verdicts.drops, pa.list_(drop))
    data["kept"] = pa.array([not drops for drops in verdicts.drops], pa.bool_())
    text = json.dumps({"schema": SCHEMA, **about}, ensure_ascii=False, allow_nan=False, sort_keys=True)
    table = pa.table(data).replace_schema_metadata({_METADATA: text.encode()})
    sink = pa.BufferOutputStream()
    parquet.write_table(table, sink, compression="zstd")
    write_atomic(folder / PARQUET, sink.getvalue().to_pybytes())


def read_table(folder: Path) -> tuple[Any, Mapping[str, Any]]:
    """The table in a folder (pyarrow's), and what was kept about it: recipe and limits.

    Raises:
        NothingMatchedError: there is no table. UsageError: it is not one of a curation.
    """
    from pyarrow import ArrowInvalid, parquet

    path = folder / PARQUET
    if not path.is_file():
        raise NothingMatchedError(f"{printable(str(folder))} holds no {PARQUET}", hint="v2t-eval curate FILMS -o SET")
    try:
        table = parquet.read_table(path)
        about = parse_json((table.schema.metadata or {})[_METADATA])
    except (ArrowInvalid, KeyError, ValueError) as error:
        raise UsageError(f"{printable(str(path))} is not a table of v2t-eval curate: {error}") from error
    return table, about


def read_clips_of_set(folder: Path) -> list[FilmClip]:
    """The clips of the table in a folder that are in the set. Raises as `read_table` does."""
    import pyarrow.compute as pc

    table, _ = read_table(folder)
    rows = table.filter(pc.equal(table["kept"], True)).to_pylist()
    own, links = ({each.name for each in fields(kind)} for kind in (FilmClip, Links))
    return [
        FilmClip(
            **{name: value for name, value in row.items() if name in own},
            links=Links(**{name: value for name, value in row.items() if name in links}),
        )
        for row in rows
    ]
