"""Videos inside the request itself: `data:` URLs of files, and of frames that the client sampled.

In: a data URL without fragment. Out: its bytes, or checked `Frames`. Base64 is strict, sizes are checked before
it is decoded, and frames of a client are subject to the same limits as files.
"""

from __future__ import annotations

import binascii
import math
import re
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from cineloop.errors import ItemError, Notice
from cineloop.video.frames import Frames
from cineloop.video.packed import unpack
from cineloop.web.addresses import bad
from cineloop.web.faults import Fault, fault_of
from cineloop.web.incoming import HEAD_BYTES, check, full, too_large

_HEAD = re.compile(
    r"data:(?P<type>(?:video|image)/[a-z0-9][a-z0-9.+\-]{0,60})(?:;[a-z0-9\-]{1,30}=[\w.,+\- \"]{0,80}){0,4};base64",
    re.ASCII | re.IGNORECASE,
)
_LONGEST_HEAD = 512
_DECODER = re.compile(r"[\w.\-]{1,32}", re.ASCII)
_MOST_WARNINGS, _LONGEST_WARNING = 8, 200


def split(url: str) -> tuple[str, int]:
    """(media type in lower case, start of the base64).

    Raises:
        Fault: 400 BAD_URL.
    """
    comma = url.find(",", 0, _LONGEST_HEAD)
    found = _HEAD.fullmatch(url, 0, comma) if comma >= 0 else None
    if found is None:
        raise bad("expected data:video/TYPE;base64,… or data:image/TYPE;base64,…")
    media_type = found["type"].lower()
    if media_type == "video/jpeg":
        raise bad("lists of JPEG frames are not supported, as they have no times; send the video itself")
    return media_type, comma + 1


def content(url: str, start: int, max_bytes: int) -> bytes:
    """The bytes after `start`, strictly base64 (RFC 4648 section 4, padded, no line breaks).

    Raises:
        Fault: 413 TOO_LARGE, 400 BAD_URL.
    """
    if (len(url) - start) // 4 * 3 > max_bytes + 2:
        raise too_large(max_bytes)
    try:
        data = binascii.a2b_base64(url[start:].encode("ascii"), strict_mode=True)
    except (ValueError, UnicodeEncodeError) as error:  # binascii.Error is a ValueError
        raise bad("invalid base64") from error
    if len(data) > max_bytes:
        raise too_large(max_bytes)
    return data


def content_file(url: str, start: int, max_bytes: int, folder: Path) -> BinaryIO:
    """A file with the bytes after `start`, a video or image, that nothing is left of once it is closed.

    Args:
        url, start, max_bytes: see `content`. folder: of its disk.

    Raises:
        Fault: as `content`, and 422 EMPTY_FILE or NOT_MEDIA, 507 DISK_FULL.
    """
    data = content(url, start, max_bytes)
    check(data[:HEAD_BYTES], "the video")
    try:
        file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115, closed by the caller
        file.write(data)
        file.flush()
    except OSError as error:
        raise full("the server's disk is full") from error
    return file


def frames(
    data: bytes, *, frame_size: tuple[int, int] | None, max_pixels: int, max_frames: int, max_duration_s: float
) -> Frames:
    """Frames that a client sampled (`cineloop.video.packed`, which checks their form), within the limits of files.

    Args:
        frame_size: (H, W) they must have, None for any up to `max_pixels`. max_duration_s: of their video.

    Raises:
        Fault: 422 NOT_MEDIA, 413 TOO_MANY_FRAMES, TOO_LARGE or TOO_LONG.
    """
    try:
        made = unpack(data)
    except ItemError as error:
        raise _damaged("not in the format of cineloop.video.packed") from error
    height, width = made.size
    if len(made) > max_frames:
        raise too_many(max_frames)
    if frame_size is not None and (height, width) != frame_size:
        raise _damaged(f"expected {frame_size[1]}x{frame_size[0]}; got {width}x{height}")
    if height * width > max_pixels:
        raise fault_of(ItemError(f"the frames have more than {max_pixels} pixels, the limit", code="TOO_LARGE"))
    times_s, start_s = made.times_s, made.start_s
    if not (math.isfinite(start_s) and start_s >= 0 and times_s[0] >= 0):
        raise _damaged("expected times of at least 0 s")
    if max(made.duration_s, start_s, float(times_s[-1])) > max_duration_s:
        raise too_long(max_duration_s)
    if not isinstance(made.decoder, str) or not _DECODER.fullmatch(made.decoder):
        raise _damaged("invalid decoder name")
    warnings = tuple(
        Notice(*("".join(filter(str.isprintable, text))[:_LONGEST_WARNING] for text in (one.code, one.message)))
        for one in made.warnings[:_MOST_WARNINGS]
    )
    return replace(made, warnings=warnings)


def too_many(most: int) -> Fault:
    """The fault of more frames than a request may have."""
    return Fault(413, "TOO_MANY_FRAMES", f"too many frames: the request has {most} left")


def too_long(most_s: float) -> Fault:
    """The fault of a video over the length limit."""
    return fault_of(ItemError(f"the video is longer than {most_s:g} s, the limit", code="TOO_LONG"))


def _damaged(why: str) -> Fault:
    return fault_of(ItemError(f"invalid frames: {why}", code="NOT_MEDIA"))
