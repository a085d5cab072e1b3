"""A folder that one run fills and a later run continues: its lock, its journal, and the refusal to mix two runs.

In: an output folder, the name of its state folder. Out: the folder locked and its journal open inside a `with` block;
the two errors of every command that writes, EXISTS and OTHER_SETTINGS. What a run keeps in its journal is its own:

    with RunFolder(out, journal="generate.jsonl", writable=not dry_run) as folder:
        finished = {entry["id"]: entry for entry in folder.replay()}
        if (old := finished.get(id)) and old["settings"] != settings:
            raise other_settings(f"{id} of {out} was", old["settings"], settings)
        folder.append([{"id": id, "settings": settings}])
        folder.beat()

A run without a journal only holds the lock: `with RunFolder(out): ...`. A class that keeps its journal's entries in
memory derives from `RunFolder` and reads them in `_open`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from cineloop.config import changes
from cineloop.errors import UsageError
from cineloop.journal import Entry, Journal, Mirror, Place
from cineloop.lock import FolderLock, usable
from cineloop.log import logger, printable

STATE = ".cineloop"  # where a run keeps what is not its result
HINT = "choose another -o, or replace what is there by --overwrite"
_NAMED = 10  # so many changed settings are listed
_WAIT_S = 1.0  # between two looks at a lock that is waited for


class RunFolder:
    """An output folder, opened for one run. A context manager, used once.

    Args:
        path: made when absent (not if `writable` is False).
        state: folder of the lock and the journal, below `path`; "" is `path` itself.
        journal: name of the journal; None for a run that keeps none.
        lock: name of the lock's file.
        writable: False neither locks nor makes anything; an absent journal is empty then.
        mirror: see `Journal`. patient: see `FolderLock`.
        waits: wait for another run to release the folder instead of refusing.

    Attributes:
        state: path of the state folder.

    Raises (on entering):
        UsageError: LOCKED, another run holds the folder.
        MissingDependencyError: OUTPUT_FOLDER, the folder cannot be written.
    """

    def __init__(
        self,
        path: Path,
        *,
        state: str = STATE,
        journal: str | None = None,
        lock: str = "lock",
        writable: bool = True,
        mirror: Mirror | None = None,
        patient: bool = False,
        waits: bool = False,
    ) -> None:
        self.path, self.state, self.writable = path, path / state, writable
        self.lock = FolderLock(self.state / lock, patient=patient)
        self._journal = None if journal is None else Journal(self.state / journal, writable=writable, mirror=mirror)
        self._waits = waits
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack, usable(self.path):
            if self.writable:
                self._take_lock(stack)
            self._open(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc: Any) -> None:
        self._stack.__exit__(*exc)

    def _take_lock(self, stack: ExitStack) -> None:
        has_waited = False
        while True:
            try:
                stack.enter_context(self.lock)
                return
            except UsageError as error:
                if not self._waits:
                    raise
                if not has_waited:
                    logger.info("waiting: %s", error.message)
                has_waited = True
            time.sleep(_WAIT_S)

    def _open(self, stack: ExitStack) -> None:
        """Open the journal; the lock is held."""
        if self._journal is not None:
            stack.enter_context(self._journal)

    @property
    def journal(self) -> Journal:
        """The open journal."""
        if self._journal is None:
            raise RuntimeError(f"this run keeps no journal in {self.path}")
        return self._journal

    def replay(self) -> Iterator[Entry]:
        """Every sound entry of the journal, in order."""
        return (entry for entry, _ in self.journal.replay())

    def append(self, entries: Iterable[Entry]) -> list[Place]:
        """Write entries to the journal, all or none, and wait for the disk. Raises as `Journal.append`."""
        return self.journal.append(entries)

    def beat(self) -> None:
        """Show other machines that this run is alive; call it at least every few minutes."""
        self.lock.beat()


def other_settings(what: str, before: Mapping[str, Any], now: Mapping[str, Any], *, hint: str = HINT) -> UsageError:
    """The error of results that are there and were made with other settings.

    Args:
        what: the results and a verb: "3 clips of OUT were".
        before, now: the settings of the results and of this run.
    """
    differing = changes(before, now)
    more = f"; and {len(differing) - _NAMED} more" if len(differing) > _NAMED else ""
    text = f"{printable(what)} made with other settings: {'; '.join(differing[:_NAMED])}{more}"
    return UsageError(text, code="OTHER_SETTINGS", hint=hint)


def refuse_existing(paths: Iterable[Path], *, overwrite: bool = False, hint: str = HINT) -> None:
    """Refuse to write where something is.

    Raises:
        UsageError: EXISTS, one of the paths exists and `overwrite` is not given.
    """
    for path in paths:
        if not overwrite and os.path.lexists(path):
            raise UsageError(f"{printable(str(path))} already exists", code="EXISTS", hint=hint)
