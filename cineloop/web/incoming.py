"""A file that grows as its content arrives: counted before it is written, identified by its first bytes.

In: bytes in pieces, from a client or from the web. Out: an open file known to be media, or a `Fault`. Names and
declared types are not believed. Only what the table below lists is ever given to a decoder: playlists, session
descriptions, manifests and subtitles name other files and addresses, and a decoder that opens them reads those.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any, BinaryIO

from cineloop.errors import ItemError
from cineloop.web.faults import Fault, fault_of

HEAD_BYTES = 4096  # enough for any decision
_BOX_KINDS = {b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"}
_MAGIC = (
    ("matroska", re.compile(rb"\x1a\x45\xdf\xa3")),
    ("avi", re.compile(rb"RIFF.{4}AVI ", re.DOTALL)),
    ("webp", re.compile(rb"RIFF.{4}WEBPVP8[ LX]", re.DOTALL)),
    ("ogg", re.compile(rb"OggS\x00[\x02\x03\x06\x07]")),
    ("flv", re.compile(rb"FLV\x01[\x01\x04\x05]")),
    ("mpeg-ps", re.compile(rb"\x00\x00\x01\xba")),
    ("mpeg-video", re.compile(rb"\x00\x00\x01\xb3")),
    ("png", re.compile(rb"\x89PNG\r\n\x1a\n")),
    ("jpeg", re.compile(rb"\xff\xd8\xff")),
    ("gif", re.compile(rb"GIF8[79]a")),
)
_TS_PACKETS = ((188, 0), (192, 4), (204, 0))  # bytes of a packet, where its mark stands


class IncomingFile:
    """See above.

    Attributes:
        size: its bytes. container: what it is by its content, once that is known. descriptor: of the open file.

    Args:
        open_file: makes the file. name: what messages call it.
        charge: counts a file that grew from so many bytes to so many, -1 for one that is not there; may raise Fault.

    Raises:
        Fault: 507 DISK_FULL, and what `charge` raises.
    """

    def __init__(self, open_file: Callable[[], Any], charge: Callable[[int, int], None], name: str) -> None:
        self.size, self.container = 0, ""
        self._charge, self._name, self._head = charge, name, b""
        charge(-1, 0)
        try:
            self._file: BinaryIO = open_file()
        except OSError as error:
            charge(0, -1)
            raise full("the server's disk is full") from error
        self.descriptor = self._file.fileno()

    async def write(self, data: bytes) -> None:
        """Take the next bytes.

        Raises:
            Fault: 413 TOO_LARGE, 507 DISK_FULL, 422 NOT_MEDIA.
        """
        self._charge(self.size, self.size + len(data))
        self.size += len(data)
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
            self._charge(self.size, -1)

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


def container(head: bytes) -> str | None:
    """The container that content is of by its `head` (`HEAD_BYTES` of it, or all); None for everything else."""
    if _is_movie(head):
        return "mp4"
    for name, magic in _MAGIC:
        if magic.match(head):
            return name
    return "mpeg-ts" if _is_transport_stream(head) else None


def check(head: bytes, name: str) -> str:
    """The container, for content that is media.

    Args:
        head: the first `HEAD_BYTES` bytes, or all there are.
        name: what the client calls it.

    Raises:
        Fault: 422 EMPTY_FILE or NOT_MEDIA.
    """
    if not head:
        raise fault_of(ItemError(f"{name} is empty", code="EMPTY_FILE"))
    found = container(head)
    if found is None:
        known = "MP4, WebM, Matroska, AVI, Ogg, MPEG, FLV, GIF, PNG, JPEG or WebP"
        raise fault_of(ItemError(f"{name} is not a video or image: expected {known}", code="NOT_MEDIA"))
    return found


def _is_movie(head: bytes) -> bool:
    """ISO media (mp4, mov): a first box of a known kind whose length can be true, which no text's can be."""
    size, kind = int.from_bytes(head[:4], "big"), head[4:8]
    if kind == b"ftyp":
        return 16 <= size <= 4096 and size % 4 == 0 and len(head) >= 16
    if kind not in _BOX_KINDS:
        return False
    return size == 1 or 8 <= size < 1 << 29 or (size == 0 and kind == b"mdat")


def _is_transport_stream(head: bytes) -> bool:
    for length, mark in _TS_PACKETS:
        marks = head[mark::length]
        if len(marks) >= 3 and marks.strip(b"G") == b"":
            return True
    return False
