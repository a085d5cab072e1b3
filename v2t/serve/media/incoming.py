"""Content on its way in: counted, looked at, and written where nobody reads it until it is whole and known as media.

In: bytes in pieces, from a client or from the web. Out: a file in the store's folder, or a `Fault` and nothing left.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from cineloop.errors import ItemError
from cineloop.files import TEMPORARY
from v2t.serve.faults import Fault, fault_of
from v2t.serve.media.sniff import HEAD_BYTES, check

if TYPE_CHECKING:
    from v2t.serve.media.uploads import Upload, UploadStore


class Incoming:
    """A file that grows: charged to its owner before each piece is written, looked at as soon as its head is there."""

    def __init__(self, store: UploadStore, owner: str, name: str) -> None:
        self.size, self.container = -1, ""
        self._store, self._owner, self._name = store, owner, name
        self._head = b""
        self._file: BinaryIO | Any = None

    async def write(self, data: bytes) -> None:
        """Take the next bytes.

        Raises:
            Fault: 413 TOO_LARGE, 507 DISK_FULL, 422 NOT_MEDIA.
        """
        self._charge(self.size + len(data))
        if not self.container:
            self._head += data[: HEAD_BYTES - len(self._head)]
            if len(self._head) >= HEAD_BYTES:
                self.container = check(self._head, self._name)
        await self._disk(self._file.write, data)

    async def seal(self) -> None:
        """All of it is there. Raises as `write` does, and Fault 422 EMPTY_FILE."""
        self.container = self.container or check(self._head, self._name)
        await self._disk(self._file.flush)

    def _open(self, make: Callable[[], Any]) -> None:
        self._charge(0)
        try:
            self._file = make()
        except OSError as error:
            self._release()
            raise full("the server's disk is full") from error

    def _charge(self, size: int) -> None:
        self._store.charge(self._owner, self.size, size)
        self.size = size

    def _release(self) -> None:
        self._store.charge(self._owner, self.size, -1)
        self.size = -1

    async def _disk(self, work: Callable[..., Any], *args: Any) -> None:
        """Do something that may wait for the disk; who is cancelled meanwhile waits for it to end, then goes."""
        task = asyncio.ensure_future(asyncio.to_thread(work, *args))
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.wait([task])
            raise
        except OSError as error:
            raise full("the server's disk is full") from error

    def _shut(self) -> None:
        if self._file is not None:
            try:
                self._file.close()
            except OSError:  # what was not written yet does not fit; it is thrown away in any case
                return


class Writer(Incoming):
    """An upload being taken; an async context manager that leaves nothing behind unless `finish` was called."""

    def __init__(self, store: UploadStore, owner: str, filename: str) -> None:
        super().__init__(store, owner, "the file")
        self._filename = filename
        self._part: Path | None = None

    async def finish(self) -> Upload:
        """The upload, checked and in its place. Raises as `seal` does."""
        await self.seal()
        self._shut()
        if self._part is None:
            raise RuntimeError("an upload is finished once, within its context")
        upload = self._store.admit(self._owner, self._filename, self.size, self.container, self._part)
        self._part = None
        return upload

    async def __aenter__(self) -> Writer:
        part = self._store.new_part()
        self._open(lambda: open(part, "xb"))
        self._part = part
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self._part is not None:
            self._shut()
            self._part.unlink(missing_ok=True)
            self._part = None
            self._release()


class Scratch(Incoming):
    """A file that is not kept: it has no name where the system can do without, and is gone once closed."""

    def __init__(self, store: UploadStore, owner: str, name: str) -> None:
        super().__init__(store, owner, name)
        self._open(lambda: tempfile.TemporaryFile(dir=store.folder, prefix=TEMPORARY))

    @property
    def descriptor(self) -> int:
        """The open file."""
        return self._file.fileno()

    def close(self) -> None:
        """Let it go."""
        self._shut()
        self._release()


def too_large(most_bytes: int) -> Fault:
    """A file beyond what one may have."""
    return fault_of(ItemError(f"the file is larger than the {most_bytes >> 20} MiB that are taken", code="TOO_LARGE"))


def full(why: str) -> Fault:
    """No room, on the disk or in the quota."""
    return Fault(507, "DISK_FULL", why)
