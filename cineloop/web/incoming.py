"""A file that grows as its content arrives: counted before it is written, identified by its first bytes.

In: bytes in pieces, from a client or from the web. Out: an open file known to be media, or a `Fault`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, BinaryIO

from cineloop.errors import ItemError
from cineloop.web.faults import Fault, fault_of
from cineloop.web.sniff import HEAD_BYTES, check


class IncomingFile:
    """See above.

    Args:
        open_file: makes the file. name: what messages call it.
        charge: counts a file that grew from so many bytes to so many, -1 for one that is not there; may raise Fault.

    Raises:
        Fault: 507 DISK_FULL, and what `charge` raises.
    """

    def __init__(self, open_file: Callable[[], Any], charge: Callable[[int, int], None], name: str) -> None:
        self.size, self.container = -1, ""
        self._charge, self._name, self._head = charge, name, b""
        self._resize(0)
        try:
            self._file: BinaryIO = open_file()
        except OSError as error:
            self._resize(-1)
            raise full("the server's disk is full") from error

    @property
    def descriptor(self) -> int:
        """The open file."""
        return self._file.fileno()

    async def write(self, data: bytes) -> None:
        """Take the next bytes.

        Raises:
            Fault: 413 TOO_LARGE, 507 DISK_FULL, 422 NOT_MEDIA.
        """
        self._resize(self.size + len(data))
        if not self.container:
            self._head += data[: HEAD_BYTES - len(self._head)]
            if len(self._head) >= HEAD_BYTES:
                self.container = check(self._head, self._name)
        await self._disk(self._file.write, data)

    async def seal(self) -> None:
        """All of it is there. Raises as `write` does, and Fault 422 EMPTY_FILE."""
        self.container = self.container or check(self._head, self._name)
        await self._disk(self._file.flush)

    def close(self, *, keep: bool = False) -> None:
        """Close the file; unless it is kept, its bytes are counted no more."""
        try:
            self._file.close()
        except OSError:  # what was not written yet does not fit; the file is discarded in any case
            pass
        if not keep:
            self._resize(-1)

    def _resize(self, size: int) -> None:
        self._charge(self.size, size)
        self.size = size

    async def _disk(self, work: Callable[..., Any], *args: Any) -> None:
        """Disk work in a thread; a caller that is cancelled meanwhile waits for its end."""
        task = asyncio.ensure_future(asyncio.to_thread(work, *args))
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.wait([task])
            raise
        except OSError as error:
            raise full("the server's disk is full") from error


def too_large(max_bytes: int) -> Fault:
    """A file beyond its size limit."""
    return fault_of(ItemError(f"the file is larger than {max_bytes >> 20} MiB, the limit", code="TOO_LARGE"))


def full(why: str) -> Fault:
    """No space, on the disk or in the quota."""
    return Fault(507, "DISK_FULL", why)
