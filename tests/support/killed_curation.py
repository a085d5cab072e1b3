"""Curations that are killed by SIGKILL at a named moment, and finished by the same command; a program of its own.

    python killed_curation.py FILMS FOLDER

Each moment has a folder of its own in FOLDER. Runs are forked, so that the imports are paid once; films are surveyed in
the run's process. Prints one JSON object: for each moment how the first run and the second ended, and the files whose
survey was begun, in order. FOLDER/whole is of a run that is not killed.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from cineloop.journal import Journal, encode_entry
from cineloop.video.limits import Limits
from cineloop.video.open_file import LastFile
from v2t_eval.cli import main
from v2t_eval.core import cache
from v2t_eval.core.worker import MeasurementWorker
from v2t_eval.curate import page, run, table
from v2t_eval.frames import survey
from v2t_eval.report import thumbnails

NUM_FILMS, NUM_CONTENTS = 5, 4


def die(*_: Any) -> None:
    """End this process as `kill -9` does."""
    os.kill(os.getpid(), signal.SIGKILL)


def torn(journal: Journal, entries: list[dict[str, Any]]) -> None:
    """Write two thirds of what is appended, and die."""
    data = b"".join(encode_entry(entry) for entry in entries)
    os.write(os.open(journal.path, os.O_WRONLY | os.O_APPEND), data[: len(data) * 2 // 3])
    die()


# Moment → (owner, name of what is called, before it rather than after, what happens) and at which call.
PLACES: dict[str, tuple[Any, str, bool, Callable[..., None]]] = {
    "survey begun": (survey, "_borders", True, die),
    "survey done": (survey._Seen, "survey", False, die),
    "cache": (cache.EvidenceCache, "keep", True, die),
    "before append": (Journal, "append", True, die),
    "torn append": (Journal, "append", True, torn),
    "after append": (Journal, "append", False, die),
    "limits": (run, "apply_limits", True, die),
    "table": (run, "write_table", True, die),
    "rename": (table, "write_atomic", True, die),
    "table written": (table, "write_atomic", False, die),
    "page": (page, "write_atomic", True, die),
}
MOMENTS = [
    *(("survey begun", 1), ("survey begun", 12), ("survey done", 1), ("survey done", 2), ("survey done", 4)),
    *(("cache", 1), ("cache", 3), ("before append", 1), ("before append", 3), ("before append", 5)),
    *(("torn append", 1), ("torn append", 2), ("torn append", 5)),
    *(("after append", 1), ("after append", 4), ("after append", 5)),
    *(("limits", 1), ("table", 1), ("rename", 1), ("table written", 1), ("page", 1)),
]


def plant(place: str, count: int) -> None:
    """Make this process die there."""
    owner, name, is_before, then = PLACES[place]
    work, left = getattr(owner, name), [count]

    def wrapped(*args: Any, **options: Any) -> Any:
        left[0] -= 1
        if left[0] == 0 and is_before:
            then(*args)
        result = work(*args, **options)
        if left[0] == 0:
            then(*args)
        return result

    setattr(owner, name, wrapped)


class Here:
    """A decoder in this process, which notes each file; like a child, it works on one at a time."""

    def __init__(self, log: Path) -> None:
        self.log = log

    def submit_job(self, path: Path, job: str, given: dict[str, Any], read: Any) -> Future[Any]:
        log = self.log

        class Later(Future[Any]):
            def result(self, timeout: float | None = None) -> Any:
                with open(log, "a", encoding="utf-8") as file:
                    file.write(f"{path.name}\n")
                with LastFile().open(path) as opened:
                    return read(*survey.job(opened, Limits(), **given, threads=1))

        return Later()

    def close(self) -> None:
        """Nothing is open."""


def forked(films: Path, out: Path, log: Path, moment: tuple[str, int] | None) -> int:
    """A run in a process of its own; its exit code, negative for a signal."""
    sys.stdout.flush()
    pid = os.fork()
    if not pid:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        MeasurementWorker._children = lambda self: Here(log)  # type: ignore[assignment,method-assign,return-value]
        thumbnails.of_parts = lambda *_: {}
        if moment is not None:
            plant(*moment)
        os._exit(main(["curate", str(films), "-o", str(out), "--workers", "1", "--quiet"]))
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def outcome(films: Path, folder: Path, moment: tuple[str, int]) -> dict[str, Any]:
    """Of one moment."""
    out = folder / f"{moment[0]} {moment[1]}"
    log = folder / f"{moment[0]} {moment[1]}.log"
    log.touch()
    codes = [forked(films, out, log, moment), forked(films, out, log, None)]
    return {"codes": codes, "surveys": log.read_text("utf-8").splitlines(), "out": str(out)}


if __name__ == "__main__":
    films, folder = map(Path, sys.argv[1:])
    # The run that nothing happens to is forked here too: a process with threads (OpenCV's, torch's) may not fork.
    assert forked(films, folder / "whole", folder / "whole.log", None) == 0
    print(json.dumps({f"{place} {count}": outcome(films, folder, (place, count)) for place, count in MOMENTS}))
