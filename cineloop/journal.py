"""An append-only journal: what a run has finished, safe against kill -9, power cuts and torn lines.

In: a file path and entries (plain dicts). Out: the entries of earlier runs, then new ones appended.
Every line is a JSON object whose last key `crc` is the CRC-32 of the rest, so a torn, cut or hand-changed line is
known and left out rather than believed; the work it stood for is done again. `append` writes all lines of a batch in
one call and waits for the disk once (`fsync`), so a crash loses at most the batch in flight. A tail without a newline
is what a crash in the middle of a write leaves; it is cut off before the next append (the habit of SQLite and etcd).
"""

from __future__ import annotations

import io
import json
import os
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from cineloop.documents import parse_json
from cineloop.files import raise_if_full, sync
from cineloop.log import logger, printable

Entry = dict[str, Any]
Place = tuple[int, int]  # byte offset and length of a line
_DECODER = json.JSONDecoder()


class Mirror(Protocol):
    """Where the lines of a journal are written too, such as `cineloop.store.Segments`."""

    def add(self, lines: bytes) -> None:
        """Write the lines of one append. Raises CineloopError; the journal is as it was before then."""


def encode_entry(entry: Entry) -> bytes:
    """One entry as a line with its checksum.

    Raises:
        ValueError: the entry holds NaN or infinity.
    """
    body = json.dumps(entry, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8")
    if body == b"{}":
        raise ValueError("an empty journal entry says nothing")
    return b'%s,"crc":"%08x"}\n' % (body[:-1], zlib.crc32(body))


def decode_entry(line: bytes) -> Entry:
    """The entry of one line.

    Raises:
        ValueError: the line is torn, changed, or no entry.
    """
    line = line.rstrip(b"\n")
    if line[-18:-10] != b',"crc":"' or line[-2:] != b'"}':
        raise ValueError("no checksum")
    body = line[:-18] + b"}"
    if line[-10:-2] != b"%08x" % zlib.crc32(body):
        raise ValueError("wrong checksum")
    # Its checksum says that `encode_entry` wrote it: most of what `parse_json` checks, at several times the cost of
    # reading, is known, and a folder may hold millions of lines. Escapes may still be halves of characters.
    entry: Entry = parse_json(body) if b"\\u" in body else _DECODER.raw_decode(body.decode("utf-8"))[0]
    return entry


class Journal:
    """An open journal file. Use as a context manager; `append` from one thread.

    Args:
        path: the file; made when absent.
        durable: wait for the disk at each `append`. A kill -9 loses nothing either way; a power cut may without it.
        writable: False only reads; an absent file is an empty journal then.
        mirror: written first, so that it holds all that the journal holds; no disk is waited for then.
    """

    def __init__(
        self, path: Path, *, durable: bool = True, writable: bool = True, mirror: Mirror | None = None
    ) -> None:
        self.path = path
        self.durable = durable and mirror is None
        self.mirror = mirror
        self.writable = writable
        self.num_damaged = 0
        self._file: BinaryIO  # within the block

    def __enter__(self) -> Journal:
        is_new = not self.path.exists()
        if not self.writable:
            self._file = io.BytesIO() if is_new else open(self.path, "rb")
            return self
        self._file = open(self.path, "a+b")
        if is_new and self.durable:
            sync(self.path.parent)
        self._cut_torn_tail()
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.close()

    def replay(self) -> Iterator[tuple[Entry, Place]]:
        """Every sound entry in order, with the place to read it again from. Damaged lines are counted and logged."""
        file = self._file
        file.seek(0)
        offset = 0
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return  # another process is writing it, or was killed while it did
            place = (offset, len(line))
            offset += len(line)
            try:
                entry = decode_entry(line)
            except ValueError as error:
                self.num_damaged += 1
                path = printable(str(self.path))
                logger.warning("%s, line %d: %s; left out, its work is done again", path, number, error)
                continue
            yield entry, place

    def read(self, place: Place) -> Entry:
        """The entry at a place that `replay` or `append` gave."""
        file = self._file
        file.seek(place[0])
        return decode_entry(file.read(place[1]))

    def append(self, entries: Iterable[Entry]) -> list[Place]:
        """Write entries at the end, all or none, and wait for the disk; returns their places.

        Raises:
            MissingDependencyError: code DISK_FULL, or that of the mirror; the journal is as it was before.
        """
        file = self._file
        lines = [encode_entry(entry) for entry in entries]
        data = b"".join(lines)
        if self.mirror is not None and data:
            self.mirror.add(data)
        offset = file.seek(0, os.SEEK_END)
        try:
            file.write(data)
            file.flush()
            if self.durable:
                os.fsync(file.fileno())
        except OSError as error:
            self._undo(offset)
            raise_if_full(error, self.path)
            raise
        places = []
        for line in lines:
            places.append((offset, len(line)))
            offset += len(line)
        return places

    def _undo(self, size: int) -> None:
        # The buffer of a failed write must not reach the file later: reopen, then cut what did reach it.
        try:
            self._file.close()
        except OSError:
            logger.debug("closing the journal after a failed write failed too")
        self._file = open(self.path, "a+b")
        self._file.truncate(size)

    def _cut_torn_tail(self) -> None:
        file = self._file
        size = file.seek(0, os.SEEK_END)
        keep = size
        while keep > 0:
            start = max(0, keep - 65536)
            file.seek(start)
            newline = file.read(keep - start).rfind(b"\n")
            if newline >= 0:
                keep = start + newline + 1
                break
            keep = start
        if keep < size:
            logger.debug("journal %s: cut %d bytes of a torn last line", printable(str(self.path)), size - keep)
            file.truncate(keep)
            if self.durable:
                os.fsync(file.fileno())
