"""Reports of a scoring: `scores.json`, `report.md`, `report.html` and `clips.parquet`.

In: `Scores`. Out: files, each written whole or not at all. `json` is the one that is read
again (`v2t_eval.core.scores.read_scores`), the others are for people and for tables.
"""

from __future__ import annotations

from pathlib import Path

from cineloop.files import write_atomic
from v2t_eval.core.scores import Scores

NAMES = ("scores.json", "report.md", "report.html", "clips.parquet")


def write(scores: Scores, folder: Path, clips_root: Path | None = None, cache: Path | None = None) -> list[Path]:
    """Write the reports; returns their paths. Without pyarrow there is no Parquet, and a line in the log.

    Args:
        folder: where to; made when absent. Files there of the same names are replaced.
        clips_root: what relative paths of clips are relative to; `folder` when None.
        cache: folder where the page's thumbnails are kept; None keeps none.

    Raises:
        MissingDependencyError: the disk is full. ValueError: a value is not finite; the message says which.
    """
    from v2t_eval.report import json, markdown, page, parquet
    from v2t_eval.report.scoring import document

    write_atomic(folder / NAMES[0], json.render(scores))  # the one that is read again first, the slow page last
    write_atomic(folder / NAMES[1], markdown.render(document(scores)).encode())
    tables = [folder / NAMES[0]]
    if parquet.is_installed():
        write_atomic(folder / NAMES[3], parquet.render(scores))
        tables.append(folder / NAMES[3])
    report = document(scores, folder if clips_root is None else clips_root, tables)
    write_atomic(folder / NAMES[2], page.render(report, folder, cache))
    return [tables[0], folder / NAMES[1], folder / NAMES[2], *tables[1:]]
