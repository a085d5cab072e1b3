"""Journals of workers: each appends what it has answered to one of its own, which outlives it and the driver.

In: the state folder of an output, which all machines share, or its address on a store. Out:
`STATE/ray-RUN/WORKER/journal.jsonl`, written with `cineloop.journal` (on a store with `cineloop.store`): `run` (where
it runs), `begun` (ids of the items in hand, before the model sees them), and the entries of the job itself. The driver
saves each answer in the journal of the whole and removes the run's folder at the end; what a driver that died left
behind is folded by the next one. An item that was begun and never answered may be the one that took everything down:
`open_items` names it.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from cineloop.journal import Entry, Journal, encode_entry
from cineloop.lock import FolderLock
from cineloop.log import logger, plural
from cineloop.store import Segments, Store

_PREFIX = "ray-"
NAME = "journal.jsonl"
Names = Callable[[Entry], Any]  # what an entry answers, such as the id of a clip; None where it answers nothing


def new_run(state: Path) -> Path:
    """A new folder for the journals of a run."""
    folder = state / f"{_PREFIX}{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{secrets.token_hex(3)}"
    folder.mkdir(parents=True)
    return folder


class WorkerJournal:
    """The journal of a worker and the lock that says that it lives; open for as long as its process lives.

    Args:
        run: the folder of `new_run`, or the address of one on a store, where nothing is locked.
        worker: its name.
    """

    def __init__(self, run: Path | str, worker: str) -> None:
        self._stack = ExitStack()
        if isinstance(run, str):
            self._lock = None
            self._segments = Segments(Store(run), f"{worker}/{Path(NAME).stem}")
        else:
            self._lock = self._stack.enter_context(FolderLock(run / worker / "lock"))
            self._journal = self._stack.enter_context(Journal(run / worker / NAME))
        about = {"host": socket.gethostname(), "pid": os.getpid(), "at": round(time.time(), 3)}
        self.append([{"kind": "run", **about, "listed": 0, "clips": 0}])

    def begin(self, ids: Sequence[str]) -> None:
        """Note which items are in hand."""
        self.append([{"kind": "begun", "ids": list(ids)}])

    def append(self, entries: Sequence[Entry]) -> None:
        """As `Journal.append`."""
        if self._lock is None:
            self._segments.add(b"".join(map(encode_entry, entries)))
        else:
            self._journal.append(entries)
            self._lock.beat()

    def close(self) -> None:
        """Release both."""
        self._stack.close()


def journals(state: Path) -> list[Path]:
    """The journals of all runs that are not removed."""
    return sorted(state.glob(f"{_PREFIX}*/*/{NAME}"))


def open_items(state: Path, answers: Names) -> list[str]:
    """Ids that a worker began and did not answer, one for each time."""
    lost: list[str] = []
    for path in journals(state):
        begun: dict[str, None] = {}
        with Journal(path, writable=False) as journal:
            for entry, _ in journal.replay():
                if entry["kind"] == "begun":
                    begun |= dict.fromkeys(entry["ids"])
                elif (name := answers(entry)) is not None:
                    begun.pop(name if isinstance(name, str) else name[0], None)
        lost += begun
    return lost


def count_twice(run: Path, answers: Names) -> int:
    """How many items the workers of a run answered more than once."""
    counts: Counter[Any] = Counter()
    for path in sorted(run.glob(f"*/{NAME}")):
        with Journal(path, writable=False) as journal:
            counts.update(name for entry, _ in journal.replay() if (name := answers(entry)) is not None)
    return sum(count > 1 for count in counts.values())


def log_twice(num: int, done: str) -> None:
    """Log how many clips were answered twice; `done`: what was done to them, such as "measured"."""
    if num:
        logger.info("%s %s twice after a lost worker; one result of each is kept", plural(num, "clip"), done)


def remove(state: Path) -> None:
    """Remove the journals of all runs; what they hold was taken over."""
    for folder in state.glob(_PREFIX + "*"):
        shutil.rmtree(folder, ignore_errors=True)
