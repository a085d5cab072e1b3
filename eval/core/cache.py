"""Evidence cache: a metric's evidence for a sample, under a key of both.

In: keys and evidence (JSON values and numpy arrays). Out: bit-identical evidence. One SQLite file in WAL mode,
which several runs may share; arrays are stored as raw bytes with dtype and shape. A checksum detects damage, which
loses the entry; a file that is damaged or locked as a whole disables caching, never a result. Reading executes no code.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import sqlite3
import struct
import time
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from cineloop.documents import parse_json
from cineloop.files import escape_name
from cineloop.log import logger, printable
from v2t_eval.core.measurement import Evidence

FILE = "evidence.sqlite"
_FORMAT = 1
_HEAD = struct.Struct("<II")  # checksum of the rest, length of the JSON
_ARRAY = "$array"
_WAIT_S = 10.0  # for another run that is writing
_SAVE_EVERY_S = 0.5
_AT_ONCE = 500  # keys in one question
_TABLES = """
CREATE TABLE IF NOT EXISTS evidence (key TEXT PRIMARY KEY, data BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS files (
    path TEXT PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, sha256 TEXT NOT NULL
) WITHOUT ROWID;
"""


class NotFiniteError(ValueError):
    """Evidence holds NaN or infinity."""


def text_hash(text: str) -> str:
    """The sha256 of a text, hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def plain(evidence: Evidence) -> Evidence:
    """Evidence as read from the cache: numpy scalars and tuples as JSON values, arrays copied.

    Raises:
        NotFiniteError: a number in it is NaN or infinite.
        TypeError: a value in it is neither JSON nor an array of numbers.
    """
    tree: Evidence = _plain(evidence, "evidence")
    return tree


def encode(evidence: Evidence) -> bytes:
    """Evidence as bytes.

    Raises:
        NotFiniteError, TypeError: as `plain`.
    """
    arrays: list[np.ndarray] = []

    def place_array(array: np.ndarray) -> dict[str, Any]:
        arrays.append(array)
        return {_ARRAY: [array.dtype.str, list(array.shape)]}

    text = json.dumps(plain(evidence), separators=(",", ":"), default=place_array).encode("ascii")
    body = struct.pack("<I", len(text)) + text + b"".join(array.tobytes() for array in arrays)
    return struct.pack("<I", zlib.crc32(body)) + body


def is_whole(data: bytes) -> bool:
    """Whether encoded evidence is undamaged."""
    return len(data) >= _HEAD.size and zlib.crc32(data[4:]) == _HEAD.unpack_from(data)[0]


def decode(data: bytes) -> Evidence:
    """The evidence that `encode` wrote.

    Raises:
        ValueError: the bytes are damaged.
    """
    if not is_whole(data):
        raise ValueError("damaged evidence")
    start = _HEAD.size + _HEAD.unpack_from(data)[1]
    evidence: Evidence = _whole(parse_json(data[_HEAD.size : start]), data, [start])
    return evidence


def _plain(value: Any, place: str) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise NotFiniteError(f"{place} is {value}")
        return value
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "biuf":
            raise TypeError(f"{place} is an array of {value.dtype}, expected numbers")
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise NotFiniteError(f"{place} holds NaN or infinity")
        return np.array(value, order="C")
    if isinstance(value, dict):
        return {str(key): _plain(each, f"{place}.{key}") for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each, f"{place}[{number}]") for number, each in enumerate(value)]
    raise TypeError(f"{place} is a {type(value).__name__}, expected JSON values and arrays")


def _whole(value: Any, data: bytes, place: list[int]) -> Any:
    if isinstance(value, list):
        return [_whole(each, data, place) for each in value]
    if not isinstance(value, dict):
        return value
    if value.keys() != {_ARRAY}:
        return {key: _whole(each, data, place) for key, each in value.items()}
    kind, shape = value[_ARRAY]
    array = np.frombuffer(data, np.dtype(kind), count=math.prod(shape), offset=place[0]).reshape(shape).copy()
    place[0] += array.nbytes
    return array


class EvidenceCache:
    """The evidence cache of a folder; a context manager for one thread. `folder` None disables it; `trouble` says why
    it is disabled, "" while it works."""

    def __init__(self, folder: Path | None) -> None:
        self.path = None if folder is None else folder / FILE
        self.trouble = ""
        self._base: sqlite3.Connection | None = None
        self._waiting: dict[str, bytes] = {}
        self._saved_at = time.monotonic()

    def __enter__(self) -> EvidenceCache:
        if self.path is not None:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._base = _connect(self.path)
            except (OSError, sqlite3.Error) as error:
                self._recover(error)
        return self

    def __exit__(self, *exc: object) -> None:
        self.save()
        self._close()

    def find(self, keys: Iterable[str]) -> dict[str, Evidence]:
        """The undamaged evidence under those of the keys that exist."""
        wanted = list(keys)
        entries = {key: self._waiting[key] for key in wanted if key in self._waiting}
        for start in range(0, len(wanted), _AT_ONCE):
            part = wanted[start : start + _AT_ONCE]
            marks = ",".join("?" * len(part))
            entries.update(self._ask(f"SELECT key, data FROM evidence WHERE key IN ({marks})", part))
        return {key: decode(data) for key, data in entries.items() if is_whole(data)}

    def keep(self, entries: dict[str, Evidence]) -> None:
        """Keep evidence by key; written to disk at most every `_SAVE_EVERY_S` seconds."""
        if self._base is not None:
            self._waiting |= {key: encode(evidence) for key, evidence in entries.items()}
            if time.monotonic() - self._saved_at >= _SAVE_EVERY_S:
                self.save()

    def file_sha256(self, path: Path) -> str:
        """sha256 of a file, hex; cached by path, size and modification time.

        Raises:
            OSError: the file cannot be read.
        """
        name, about = escape_name(str(path.resolve())), path.stat()
        same = "SELECT sha256, 0 FROM files WHERE path = ? AND size = ? AND mtime_ns = ?"
        for digest, _ in self._ask(same, [name, about.st_size, about.st_mtime_ns]):
            return str(digest)
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        row = (name, about.st_size, about.st_mtime_ns, digest)
        self._write("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)", [row])
        return digest

    def save(self) -> None:
        self._write("INSERT OR REPLACE INTO evidence VALUES (?, ?)", list(self._waiting.items()))
        self._waiting.clear()
        self._saved_at = time.monotonic()

    def _ask(self, question: str, values: list[Any]) -> list[tuple[Any, Any]]:
        if self._base is None:
            return []
        try:
            return self._base.execute(question, values).fetchall()
        except sqlite3.Error as error:
            self._recover(error)
            return []

    def _write(self, statement: str, rows: list[tuple[Any, ...]]) -> None:
        """One transaction, so that other runs wait no longer than that."""
        if self._base is None or not rows:
            return
        try:
            with self._base:
                self._base.executemany(statement, rows)
        except sqlite3.Error as error:
            self._recover(error)

    def _recover(self, error: Exception) -> None:
        """Replace a damaged file; disable caching if the file is locked, full or read-only."""
        self._close()
        path = printable(str(self.path))
        if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError):
            try:
                aside = _set_aside(self.path or Path(FILE))
                self._base = _connect(self.path or Path(FILE))
            except (OSError, sqlite3.Error) as other:
                error = other
            else:
                logger.warning("the evidence cache in %s is damaged (%s): moved to %s, measuring again", path, error,
                               aside.name)  # fmt: skip
                return
        self.trouble = f"{type(error).__name__}: {error}"
        logger.warning("evidence cannot be cached in %s (%s): scoring continues without it", path, error)

    def _close(self) -> None:
        if self._base is not None:
            with contextlib.suppress(sqlite3.Error):
                self._base.close()
        self._base = None


def _connect(path: Path) -> sqlite3.Connection:
    base = sqlite3.connect(path, timeout=_WAIT_S)
    try:
        base.execute("PRAGMA journal_mode=WAL").fetchone()
        base.execute("PRAGMA synchronous=NORMAL")
        version = base.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, _FORMAT):
            raise sqlite3.DatabaseError(f"format {version}, expected {_FORMAT}")
        if version == 0:
            base.executescript(_TABLES)
            base.execute(f"PRAGMA user_version={_FORMAT}")
            base.commit()
    except sqlite3.Error:
        base.close()
        raise
    return base


def _set_aside(path: Path) -> Path:
    aside = path.with_suffix(".damaged")
    path.replace(aside)
    for ending in ("-wal", "-shm"):
        path.with_name(path.name + ending).unlink(missing_ok=True)
    return aside
