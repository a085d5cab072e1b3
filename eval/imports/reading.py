"""Read a result file of another tool: recognise its format by its content, or take the one that was named.

In: a file, or a folder of files that belong together. Out: `Scores`. What is damaged as a whole (truncated, too large,
no known format) is refused with a code; what is wrong with single samples is a failure of that sample.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from cineloop.documents import read_json
from cineloop.errors import NothingMatchedError, UsageError
from cineloop.log import plural, printable
from cineloop.plugin import choices, load
from v2t_eval.core.scores import ItemScores, Scores
from v2t_eval.imports.figures import ForeignMetric, result_of, text_of

ROOM = "v2t_eval.imports"
MOST_BYTES = 128 << 20  # of one JSON document, which takes a multiple of it in memory
UNKNOWN, INVALID, TOO_LARGE = "RESULTS_UNKNOWN", "RESULTS_INVALID", "TOO_LARGE"


class FormatLike(Protocol):
    """One format. `tool`: what messages call it; `patterns`: names of its files below a folder, empty where a folder
    makes no sense."""

    tool: str
    patterns: tuple[str, ...]

    def matches(self, tree: Any) -> bool:
        """Whether a document is of this format."""

    def read(self, documents: Sequence[tuple[Path, Any]]) -> ForeignResults:
        """What the documents say.

        Raises:
            UsageError: RESULTS_INVALID, they are not as this format has them.
        """


class ForeignResults:
    """What a format read.

    Args:
        readings: of each metric. clips: of the samples, by id.
        environment: facts that do not decide, such as the model and the date.
    """

    def __init__(
        self,
        readings: Iterable[ForeignMetric],
        clips: Iterable[ItemScores] = (),
        environment: dict[str, str] | None = None,
    ) -> None:
        self.readings = list(readings)
        self.clips = {clip.id: clip for clip in clips}
        self.environment = environment or {}


def read_results(place: Path, name: str | None = None, version: str | None = None) -> Scores:
    """The scores in a result file of another tool.

    Args:
        place: the file; for FastVideo also a folder of files.
        name: of the format; None recognises it.
        version: of the tool that wrote it, where the file does not say it; of two that differ nothing is compared.

    Raises:
        NothingMatchedError: there is no such file. UsageError: RESULTS_UNKNOWN, RESULTS_INVALID, TOO_LARGE.
    """
    known = {each: load(ROOM, each, "Format").Format() for each in choices(ROOM, "Format")}
    if name is not None:
        load(ROOM, name, "Format")  # an unknown name is an error that names the choices
    wanted = {name: known[name]} if name else known
    documents = list(_documents(place, wanted.values()))
    format = _format_of(place, documents, wanted, is_named=name is not None)
    broken = [(path, tree) for path, tree in documents if isinstance(tree, _Broken)]
    source = format.read([(path, tree) for path, tree in documents if not isinstance(tree, _Broken)])
    readings = source.readings
    if version:
        readings = [replace(one, fingerprint={**one.fingerprint, "source_version": version}) for one in readings]
    if not readings:
        raise UsageError(
            f"{printable(str(place))} has no result in it", code=INVALID, hint=f"as {format.tool} writes it"
        )
    ids = {value.id for one in readings for value in one.values}
    clips = [source.clips.get(id) or ItemScores(id=id, cluster=id) for id in sorted(ids)]
    for path, tree in broken:
        error = {"code": INVALID, "message": tree.why, "hint": "write it again"}
        clips.append(ItemScores(id=path.stem, cluster=path.stem, status="failed", error=error))
    results = [_counting(result_of(one), broken) for one in readings]
    return Scores(
        sources={"results": printable(str(place)), "written by": format.tool}, clips=clips, results=results,
        counts={"samples": len(ids)} | ({"unreadable files": len(broken)} if broken else {}),
        environment=source.environment,
    )  # fmt: skip


class _Broken:
    """A file of a folder that cannot be read, and why."""

    def __init__(self, why: str) -> None:
        self.why = why


def _counting(result: Any, broken: Sequence[tuple[Path, Any]]) -> Any:
    """The result with a failure for each file that should have had a value of it."""
    if not broken:
        return result
    failures = [{"id": path.stem, "code": INVALID, "message": tree.why} for path, tree in broken]
    n = result.n + len(broken)
    return replace(result, n=n, coverage=result.coverage * result.n / n, failures=[*result.failures, *failures])


def _documents(place: Path, formats: Iterable[FormatLike]) -> Iterable[tuple[Path, Any]]:
    if not place.exists():
        raise NothingMatchedError(f"no file or folder {printable(str(place))}")
    if not place.is_dir():
        yield place, _read(place)
        return
    patterns = sorted({pattern for each in formats for pattern in each.patterns})
    paths = sorted({path for pattern in patterns for path in place.rglob(pattern)})
    if not paths:
        hint = f"a folder is read for {', '.join(patterns)}" if patterns else "name a file"
        raise NothingMatchedError(f"no result file in {printable(str(place))}", hint=hint)
    for path in paths:
        try:
            yield path, _read(path)
        except UsageError as error:
            if error.code == TOO_LARGE:
                raise
            yield path, _Broken(error.message)


def _read(path: Path) -> Any:
    """The document in a file; NaN stays, and is a failure of the sample that has it."""
    name = printable(str(path))
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise UsageError(
                f"{name} has {size >> 20} MiB; a result file has at most {MOST_BYTES >> 20}", code=TOO_LARGE,
                hint="samples of lmms-eval are read from their own .jsonl, of any size",
            )  # fmt: skip
        return read_json(path, finite=False)
    except OSError as error:
        raise UsageError(f"cannot read {name}: {error.strerror}", code=INVALID) from error
    except ValueError as error:
        raise UsageError(f"{name} is no whole JSON document: {error}", code=INVALID, hint="was it cut off?") from error


def _format_of(
    place: Path, documents: Sequence[tuple[Path, Any]], wanted: dict[str, Any], *, is_named: bool
) -> FormatLike:
    """The one format that all documents have."""
    whole = [(path, tree) for path, tree in documents if not isinstance(tree, _Broken)]
    if not whole:
        raise UsageError(f"no file of {printable(str(place))} can be read: {documents[0][1].why}", code=INVALID)
    fitting = [each for each in wanted.values() if all(each.matches(tree) for _, tree in whole)]
    if len(fitting) == 1:
        format: FormatLike = fitting[0]
        return format
    if is_named:
        (format,) = wanted.values()
        odd = next(path for path, tree in whole if not format.matches(tree))
        raise UsageError(
            f"{printable(str(odd))} is not as {format.tool} writes its results", code=INVALID,
            hint="without --results-format the format is recognised",
        )  # fmt: skip
    tree = whole[0][1]
    shape = f"keys {', '.join(map(text_of, list(tree)[:5]))}" if isinstance(tree, dict) else f"a {type(tree).__name__}"
    tools = ", ".join(each.tool for each in wanted.values())
    files = "" if len(whole) == 1 else f" of {plural(len(whole), 'file')} together"
    raise UsageError(
        f"the format{files} of {printable(str(place))} is not known: {shape}", code=UNKNOWN,
        hint=f"expected result files of {tools}; --results-format names one",
    )  # fmt: skip
