"""Reports of a scoring: `scores.json`, `report.md`, `report.html` and `clips.parquet`.

In: `Scores`. Out: files, each written whole or not at all. `scores.json` is the one that is
read again (`v2t_eval.core.scores`), the others are for people and for tables.
"""

from __future__ import annotations

from pathlib import Path

from cineloop.files import write_atomic
from cineloop.log import logger
from v2t_eval.core.scores import Scores, render_scores
from v2t_eval.report.document import Document

NAMES = ("scores.json", "report.md", "report.html", "clips.parquet")


def document_of(scores: Scores, folder: Path | None, clips_root: Path | None = None) -> Document:
    """The one document of a scoring, which is to be written into `folder` or only shown.

    Args:
        clips_root: what relative paths of clips are relative to; `folder` when None.
    """
    from v2t_eval.report import parquet, scoring

    names = () if folder is None else (NAMES[0], NAMES[3]) if parquet.is_installed() else NAMES[:1]
    return scoring.document(scores, clips_root or folder, [folder / name for name in names if folder])


def write(scores: Scores, document: Document, folder: Path, cache: Path | None = None) -> list[Path]:
    """Write the reports; returns their paths. Without pyarrow there is no Parquet, and a line in the log.

    Args:
        document: by `document_of`.
        folder: where to; made when absent. Files there of the same names are replaced.
        cache: folder where the page's thumbnails are kept; None keeps none.

    Raises:
        MissingDependencyError: the disk is full. ValueError: a value is not finite; the message says which.
    """
    from v2t_eval.report import markdown, page, parquet

    paths = [folder / name for name in NAMES]
    write_atomic(paths[0], render_scores(scores))  # the one that is read again first, the slow page last
    write_atomic(paths[1], markdown.render(document).encode())
    if parquet.is_installed():
        write_atomic(paths[3], parquet.render(scores))
    else:
        logger.info("%s is left out: it needs pyarrow (pip install 'cineloop[formats]')", paths.pop().name)
    write_atomic(paths[2], page.render(document, folder, cache))
    return paths
