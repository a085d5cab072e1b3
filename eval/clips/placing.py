"""Formats of a set written aside and moved to their places, whole or not at all, and not where they are already.

In: records of clips, what writes a format (`v2t.writers`). Out: files and folders, and in the state what was written of
what, so that what another process put there is never replaced.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from cineloop.documents import read_json
from cineloop.errors import UsageError
from cineloop.files import sync, text_key, write_atomic
from cineloop.log import logger, printable
from v2t.writers import Rows

_WRITTEN = "written.json"
Record = dict[str, Any]  # of one clip, as of `v2t caption`


class FormatPlaces:
    """The places of a folder; `state` is its folder of state, `scratch` on the same file system."""

    def __init__(self, folder: Path, state: Path, scratch: Path) -> None:
        self.folder, self.state, self.scratch = folder, state, scratch
        try:
            self.written: dict[str, str] = read_json(state / _WRITTEN)
        except FileNotFoundError:
            self.written = {}

    def place(
        self, place: Path, records: Sequence[Record], write: Callable[[Rows, Path, Path], None], about: str = ""
    ) -> None:
        """Write a format of the records to its place; `about`: what else determines it.

        Raises:
            UsageError: EXISTS, something is there that no earlier run wrote.
        """
        name = place.relative_to(self.folder).as_posix()
        print = text_key(json.dumps([name, list(records), *([about] if about else [])], sort_keys=True).encode())
        if place.exists() and self.written.get(name) == print:
            return
        if os.path.lexists(place) and name not in self.written:
            raise UsageError(f"{printable(str(place))} exists", code="EXISTS", hint="remove it, or name another folder")
        rows = Rows(lambda: iter(records), lambda record: place.parent / record["path"])
        making, old = self.scratch / place.name, self.scratch / "old"
        write(rows, making, place)
        if rows.left_out:
            id, error = next(iter(rows.left_out.items()))
            logger.warning(
                "%d clips are not in %s; the first is %s: %s", len(rows.left_out), name, printable(id), error
            )
        _sync(making)
        # Known as ours before it is there: a kill in between leaves it to be written again.
        self._remember(name, "")
        place.parent.mkdir(exist_ok=True)
        if place.exists():
            os.replace(place, old)
        os.replace(making, place)
        sync(place.parent)
        self._remember(name, print)
        (shutil.rmtree if old.is_dir() else lambda path: path.unlink(missing_ok=True))(old)

    def _remember(self, name: str, print: str) -> None:
        self.written[name] = print
        write_atomic(self.state / _WRITTEN, json.dumps(self.written, sort_keys=True).encode())


def link_or_copy(file: Path, target: Path) -> None:
    """The file's bytes under another name: a link, or a copy on a file system without links. Raises OSError."""
    try:
        os.link(file, target)
    except OSError:
        shutil.copyfile(file, target)


def _sync(making: Path) -> None:
    paths: Iterator[Path] = making.rglob("*") if making.is_dir() else iter((making,))
    for path in paths:
        if path.is_file() and path.stat().st_nlink == 1:
            sync(path)
