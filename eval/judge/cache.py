"""What a judge has heard, kept on disk, so that asking again costs nothing.

In: keys (of what was shown, the judge, the question) and what was heard. Out: the same. One SQLite file in WAL mode,
which several processes may share, each entry with a checksum. Damage costs the entry; a file that is damaged, locked or
full costs the keeping, and is said once; neither costs a result. Nothing in it is executed when it is read.
"""

from __future__ import annotations

import sqlite3
import threading
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from cineloop.files import escape_name
from cineloop.log import logger, printable

_WAIT_S = 10.0  # for another process that is writing
_AT_ONCE = 500  # keys in one question
_TABLE = "CREATE TABLE IF NOT EXISTS heard (key TEXT PRIMARY KEY, sum INTEGER NOT NULL, text TEXT NOT NULL)"


class AnswerCache:
    """Texts by key; threads may share it.

    Args:
        path: the file; made with its folder when absent.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._base: sqlite3.Connection | None = None
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._base = sqlite3.connect(path, timeout=_WAIT_S, check_same_thread=False)
            self._base.execute("PRAGMA journal_mode=WAL")
            self._base.execute("PRAGMA synchronous=NORMAL")
            with self._base:
                self._base.execute(_TABLE)
        except (OSError, sqlite3.Error) as error:
            self._give_up(error)

    def get(self, keys: Sequence[str]) -> dict[str, str]:
        """What is kept under these keys; damaged entries are passed over."""
        found: dict[str, str] = {}
        with self._lock:
            for start in range(0, len(keys), _AT_ONCE):
                part = keys[start : start + _AT_ONCE]
                if self._base is None:
                    break
                marks = ",".join("?" * len(part))
                try:
                    rows = self._base.execute(f"SELECT key, sum, text FROM heard WHERE key IN ({marks})", part)  # noqa: S608
                    found |= {key: text for key, total, text in rows if _sum(key, text) == total}
                except (sqlite3.Error, UnicodeDecodeError) as error:
                    self._give_up(error)
        return found

    def put(self, entries: Mapping[str, str]) -> None:
        """Keep texts under their keys."""
        with self._lock:
            if self._base is None or not entries:
                return
            rows = [(key, _sum(key, text), text) for key, text in entries.items()]
            try:
                with self._base:
                    self._base.executemany("INSERT OR REPLACE INTO heard VALUES (?, ?, ?)", rows)
            except (sqlite3.Error, UnicodeEncodeError) as error:
                self._give_up(error)

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            if self._base is not None:
                self._base.close()
                self._base = None

    def _give_up(self, error: Exception) -> None:
        where = printable(escape_name(str(self.path)), 200)
        logger.warning("answers are not kept in %s: %s", where, printable(str(error), 200))
        if self._base is not None:
            self._base.close()
            self._base = None


def _sum(key: str, text: str) -> int:
    return zlib.crc32(f"{key}={text}".encode("utf-8", "surrogatepass"))
