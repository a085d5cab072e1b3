"""A video file before any decoder sees it: is it a file, can it be read, what is it, is all of it there?

In: a path. Out: an open `VideoSource` (a descriptor and the address to give to a decoder) and a `Layout` read from the
file's own outermost boxes: ISO base media (mp4, mov), EBML (Matroska, WebM) and RIFF (AVI). Nothing is decoded.
Decoders get `/proc/self/fd/N` rather than the name, so odd names (leading dash, newline, bytes that are no UTF-8,
"concat:...") cannot be misread, and a name that is swapped meanwhile does no harm.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cineloop.clip import open_video
from cineloop.errors import ItemError

_IDENTITY = (0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)  # tkhd matrix of an upright track
_MOVIE_BOXES = {b"ftyp", b"moov", b"mdat", b"moof", b"free", b"skip", b"wide", b"pnot", b"styp", b"sidx", b"uuid"}
_IMAGES = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"BM", "bmp"),
)


@dataclass(frozen=True)
class Layout:
    """What the outermost boxes say.

    Attributes:
        kind: "mp4", "matroska", "avi", an image format of Pillow's ("png", "jpeg", "gif", "webp", "bmp"), or "other".
        has_index: False for an mp4 without moov (and without fragments).
        missing_bytes: bytes that the boxes promise and the file does not have; 0 when whole or unknown.
        may_be_turned: False only when every track is known to be upright.
        size: (H, W) of the largest picture a track claims; (0, 0) when unknown.
    """

    kind: str
    has_index: bool = True
    missing_bytes: int = 0
    may_be_turned: bool = True
    size: tuple[int, int] = (0, 0)

    @property
    def is_image(self) -> bool:
        return self.kind in ("png", "jpeg", "gif", "webp", "bmp")


@dataclass
class VideoSource:
    """A readable regular file, held open; its holder closes the descriptor.

    `codecs` are FFmpeg's names of the decoders that may read it, with commas between; "" is any.

    Raises (from `open_source`):
        ItemError: NOT_FOUND, NOT_A_FILE, UNREADABLE, EMPTY_FILE.
    """

    path: bytes
    descriptor: int
    status: os.stat_result
    codecs: str = ""
    address: str = field(init=False)

    def __post_init__(self) -> None:
        self.size = self.status.st_size
        # Of this state of this file.
        self.identity = (self.path, self.status.st_dev, self.status.st_ino, self.size, self.status.st_mtime_ns)
        link = f"/proc/self/fd/{self.descriptor}"
        self.address = link if os.path.exists(link) else "file:" + os.fsdecode(self.path)

    @property
    def name(self) -> str:
        """The file's name for messages: the caller knows the folder, and readers of the records need not."""
        return name_of(self.path)

    def check_unchanged(self) -> None:
        """Raises ItemError CHANGED when the file was written to since it was opened."""
        now = os.fstat(self.descriptor)
        if (now.st_size, now.st_mtime_ns) != (self.size, self.status.st_mtime_ns):
            raise ItemError(
                f"{self.name!r} changed while it was read", code="CHANGED", hint="try again when it is fully written"
            )


def name_of(path: bytes) -> str:
    """The name of a file, without its folder, as text that can be printed and encoded, whatever bytes it has."""
    return os.path.basename(path).decode("utf-8", "backslashreplace")


def open_source(path: str | bytes | os.PathLike[str], codecs: str = "") -> VideoSource:
    """Open `path` for decoding (by these `codecs` alone); errors as of `VideoSource`. Never blocks on a pipe."""
    raw = os.fsencode(path)
    descriptor, status = open_video(raw, name_of(raw))
    return VideoSource(raw, descriptor, status, codecs)


def read_layout(source: VideoSource) -> Layout:
    """Read the outermost boxes of `source`.

    Raises:
        ItemError: UNREADABLE when the disk gives an error.
    """
    try:
        head = os.pread(source.descriptor, 64, 0)
        for magic, kind in _IMAGES:
            if head.startswith(magic):
                return Layout(kind)
        if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
            return Layout("webp")
        if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
            promised = struct.unpack("<I", head[4:8])[0] + 8
            return Layout("avi", missing_bytes=max(0, promised - source.size) if promised > 8 else 0)
        if head[:4] == b"\x1a\x45\xdf\xa3":
            return Layout("matroska", missing_bytes=max(0, _matroska_end(head) - source.size))
        if head[4:8] in _MOVIE_BOXES:
            return _movie_layout(source)
    except OSError as error:
        raise ItemError(f"cannot read {source.name!r}: {error.strerror}", code="UNREADABLE") from error
    return Layout("other")


def _boxes(source: VideoSource, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield (type, body start, box end) of the ISO boxes within [start, end); a box's end may lie beyond the file."""
    while start + 8 <= end:
        header = os.pread(source.descriptor, 16, start)
        if len(header) < 8:
            return
        size, body = struct.unpack(">I", header[:4])[0], start + 8
        if size == 1 and len(header) == 16:
            size, body = struct.unpack(">Q", header[8:16])[0], start + 16
        elif size == 0:  # up to the end of the file
            size = end - start
        if size < body - start:
            return
        yield header[4:8], body, start + size
        start += size


def _movie_layout(source: VideoSource) -> Layout:
    has_index, missing, turned, size = False, 0, False, (0, 0)
    for kind, body, end in _boxes(source, 0, source.size):
        missing = max(missing, end - source.size)
        has_index = has_index or (kind == b"moov" and end <= source.size) or kind == b"moof"
        if kind == b"moov":
            for inner, inner_body, inner_end in _boxes(source, body, min(end, source.size)):
                if inner == b"trak":
                    upright, claimed = _track_header(source, inner_body, inner_end)
                    turned = turned or not upright
                    size = max(size, claimed, key=lambda s: s[0] * s[1])
    return Layout("mp4", has_index=has_index, missing_bytes=missing, may_be_turned=turned, size=size)


def _track_header(source: VideoSource, start: int, end: int) -> tuple[bool, tuple[int, int]]:
    """(is upright, (H, W)) of a track by its tkhd box."""
    for kind, body, _ in _boxes(source, start, end):
        if kind == b"tkhd":
            version = os.pread(source.descriptor, 1, body)
            data = os.pread(source.descriptor, 44, body + (52 if version == b"\x01" else 40))
            if len(data) == 44:
                width, height = struct.unpack(">II", data[36:])
                return struct.unpack(">9i", data[:36])[:5] == _IDENTITY[:5], (height >> 16, width >> 16)
    return False, (0, 0)


def _matroska_end(head: bytes) -> int:
    """Where the first segment ends by its own size; 0 when unknown (live recordings) or not within `head`."""
    size, body = _vint(head, 4)
    segment = body + size
    if head[segment : segment + 4] != b"\x18\x53\x80\x67":
        return 0
    size, body = _vint(head, segment + 4)
    return body + size if size else 0


def _vint(data: bytes, at: int) -> tuple[int, int]:
    """EBML number at `at`: (value, position behind it); value 0 when it is "unknown" or cut off."""
    if at >= len(data) or data[at] == 0:
        return 0, at + 1
    length = 9 - data[at].bit_length()
    raw = data[at : at + length]
    value = int.from_bytes(raw, "big") & ((1 << (7 * length)) - 1)
    unknown = len(raw) < length or value == (1 << (7 * length)) - 1
    return (0 if unknown else value), at + length


def as_path(path: str | bytes | os.PathLike[str]) -> Path:
    """The path for a record; bytes that are no UTF-8 survive as surrogates."""
    return Path(os.fsdecode(path))
