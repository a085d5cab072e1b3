"""What content is by its first bytes: a container of video or image, or not media.

In: the head of a file. Out: the name of the container, or a `Fault`. Names and declared types are not believed. Only
what the table below lists is ever given to a decoder: playlists, session descriptions, manifests and subtitles name
other files and addresses, and a decoder that opens them reads those.
"""

from __future__ import annotations

import re

from cineloop.errors import ItemError
from cineloop.web.faults import fault_of

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
