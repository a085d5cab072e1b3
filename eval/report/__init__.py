"""Reports of a scoring: `scores.json`, `report.md`, `report.html` and `clips.parquet`.

In: `Scores`. Out: files, each written whole or not at all. `json` is the one that is read
again (`v2t_eval.scores.read_scores`), the others are for people and for tables.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from cineloop.errors import MissingDependencyError, UsageError
from cineloop.files import write_atomic
from cineloop.log import logger
from v2t_eval.scores import Scores

FORMATS = ("json", "markdown", "html", "parquet")
NAMES = {"json": "scores.json", "markdown": "report.md", "html": "report.html", "parquet": "clips.parquet"}


def check(formats: tuple[str, ...] = FORMATS) -> tuple[str, ...]:
    """The formats that can be written here; call it before hours of work.

    Parquet needs pyarrow: without it, it is left out of the usual four with a line in the log.

    Raises:
        UsageError: an unknown format.
        MissingDependencyError: parquet was asked for by name and pyarrow is missing.
    """
    unknown = [name for name in formats if name not in FORMATS]
    if unknown:
        raise UsageError(f"no report is called {unknown[0]!r}; choices: {', '.join(FORMATS)}")
    if "parquet" in formats:
        from v2t_eval.report import parquet

        try:
            parquet.check()
        except MissingDependencyError as error:
            if formats != FORMATS:
                raise
            logger.info("%s is left out: %s", NAMES["parquet"], error)
            formats = tuple(name for name in formats if name != "parquet")
    return formats


def write(
    scores: Scores,
    folder: Path,
    clips_root: Path | None = None,
    formats: tuple[str, ...] = FORMATS,
    cache: Path | None = None,
) -> list[Path]:
    """Write the reports; gives their paths in the order of `formats`.

    Args:
        scores: the scoring.
        folder: where to; made when absent. Files there of the same names are replaced.
        clips_root: what relative paths of clips are relative to; `folder` when None.
        formats: some of `FORMATS`.
        cache: folder where the page's thumbnails are kept; None keeps none.

    Raises:
        UsageError, MissingDependencyError: see `check`, or the disk is full.
        ValueError: a value is not finite; the message says which.
    """
    written = []
    root = folder if clips_root is None else clips_root
    known = check(formats)
    for name in sorted(known, key=FORMATS.index):  # the one that is read again first, the slow page last but one
        path = folder / NAMES[name]
        write_atomic(path, _render(name, scores, folder, root, known, cache))
        written.append(path)
    return [folder / NAMES[name] for name in known]


def _render(name: str, scores: Scores, folder: Path, root: Path, formats: tuple[str, ...], cache: Path | None) -> bytes:
    if name in ("json", "parquet"):
        data: bytes = import_module(f"v2t_eval.report.{name}").render(scores)
        return data
    from v2t_eval.report import markdown, page
    from v2t_eval.report.scoring import document

    if name == "markdown":
        return markdown.render(document(scores)).encode()
    files = [folder / NAMES[other] for other in ("json", "parquet") if other in formats]
    return page.render(document(scores, root, files), folder, cache)
