"""A file that grows as its content arrives: counted before it is written, identified by its first bytes.

In: bytes in pieces, from a client or from the web. Out: an open file known to be media, or a `Fault`. Names and
declared types are not trusted. Only what the pattern below lists is ever given to a decoder: playlists, session
descriptions, manifests and subtitles name other files and addresses, and a decoder that opens them reads those.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from cineloop.errors import ItemError
from cineloop.web.faults import Fault, fault_of

HEAD_BYTES = 4096  # enough for any decision
_BOX_KINDS = {b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"}
# Matroska and WebM, AVI and WebP, Ogg, FLV, MPEG program stream and video, PNG, JPEG, GIF
_MAGIC = re.compile(
    rb"\x1a\x45\xdf\xa3|RIFF.{4}(?:AVI |WEBPVP8[ LX])|OggS\x00[\x02\x03\x06\x07]|FLV\x01[\x01\x04\x05]|"
    rb"\x00\x00\x01[\xba\xb3]|\x89PNG\r\n\x1a\n|\xff\xd8\xff|GIF8[79]a",
    re.DOTALL,
)
_TS_PACKETS = ((188, 0), (192, 4), (204, 0))  # bytes of a packet, where its mark stands


class IncomingFile:
    """See above. `charge` counts a file that grew from so many bytes to so many, -1 for one that does not exist; it may
    raise Fault. After `close` the caller counts its removal. Raises Fault 507 DISK_FULL, and what `charge` raises."""

    def __init__(self, path: Path, charge: Callable[[int, int], None], name: str) -> None:
        self.size, self.path, self._is_media = 0, path, False
        self._charge, self._name, self._head = charge, name, b""
        charge(-1, 0)
        try:
            self._file = open(path, "x+b")  # noqa: SIM115, see `close`
        except OSError as error:
            charge(0, -1)
            raise full("the server's disk is full") from error
        self.descriptor = self._file.fileno()

    async def write(self, data: bytes) -> None:
        """Take the next bytes. Raises Fault 413 TOO_LARGE, 507 DISK_FULL, 422 NOT_MEDIA."""
        self._charge(self.size, self.size + len(data))
        self.size += len(data)
        if not self._is_media:
            self._head += data[: HEAD_BYTES - len(self._head)]
            if len(self._head) >= HEAD_BYTES:
                check(self._head, self._name)
                self._is_media = True
        await self._disk(self._file.write, data)

    async def seal(self) -> None:
        """All of it is there. Raises as `write` does, and Fault 422 EMPTY_FILE."""
        check(self._head, self._name)
        await self._disk(self._file.flush)

    def close(self) -> None:
        with suppress(OSError):  # what was not written yet does not fit; the file is discarded in any case
            self._file.close()

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


def check(head: bytes, name: str) -> None:
    """Return if content is media, by `head`, its first `HEAD_BYTES` bytes or all there are; `name` is what the client
    calls it. Raises Fault 422 EMPTY_FILE or NOT_MEDIA."""
    if not head:
        raise fault_of(ItemError(f"{name} is empty", code="EMPTY_FILE"))
    # ISO media (mp4, mov): a first box of a known kind whose length can be true, which no text's can be.
    size, kind = int.from_bytes(head[:4], "big"), head[4:8]
    if kind == b"ftyp":
        is_movie = 16 <= size <= 4096 and size % 4 == 0 and len(head) >= 16
    else:
        is_movie = kind in _BOX_KINDS and (size == 1 or 8 <= size < 1 << 29 or (size == 0 and kind == b"mdat"))
    packets = (head[mark::length] for length, mark in _TS_PACKETS)
    is_transport_stream = any(len(marks) >= 3 and not marks.strip(b"G") for marks in packets)
    if not (_MAGIC.match(head) or is_movie or is_transport_stream):
        known = "MP4, WebM, Matroska, AVI, Ogg, MPEG, FLV, GIF, PNG, JPEG or WebP"
        raise fault_of(ItemError(f"{name} is not a video or image: expected {known}", code="NOT_MEDIA"))
