"""Prevent prompts from leaking through file names or container tags.

In: external clips and their prompts. Out: the clips under neutral names, without such tags, and what was found. A name
reveals its prompt when the two share two content words. Files are hard-linked where possible; copied stream by stream,
without tags, where a tag holds text.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import uuid
from hashlib import sha256
from pathlib import Path

from cineloop.files import raise_if_full

_TAGS = frozenset("major_brand minor_version compatible_brands encoder language creation_time duration vendor_id "
                  "handler_name".split())  # fmt: skip
_EMPTY = frozenset(
    "a an and are as at be by clip file for from gen generated in into is it its mp4 of on or out over sample seed "
    "that the their there they this to toward video we with mkv webm mov avi gif".split()
)
_NAME_CHARS = 12


def neutral_name(id: str) -> str:
    """A name that is constant for an id and reveals nothing."""
    return sha256(id.encode("utf-8", "surrogatepass")).hexdigest()[:_NAME_CHARS]


def shared_words(name: str, prompt: str) -> set[str]:
    """Content words that occur in both."""
    return _words(name) & _words(prompt)


def reveals(name: str, prompt: str) -> bool:
    """Whether a file name reveals its prompt."""
    return len(shared_words(name, prompt)) >= 2


def texts_of(path: Path) -> dict[str, str]:
    """The container's tags except those every muxer writes; empty for a file that cannot be opened."""
    import av

    try:
        with av.open(os.fspath(path)) as opened:
            tags = {**opened.metadata, **{k: v for stream in opened.streams for k, v in stream.metadata.items()}}
    except (OSError, ValueError):  # the captioner reports the error
        return {}
    return {key: value for key, value in tags.items() if value.strip() and not _is_plain(key, value)}


def bring(source: Path, target: Path) -> bool:
    """The file under its neutral name; True where tags had to be removed. An identical file that exists is kept."""
    if texts_of(source):
        if not target.exists() or target.stat().st_mtime_ns < source.stat().st_mtime_ns:
            _without_tags(source, target)
        return True
    if target.exists() and _same(source, target):
        return False
    temporary = target.with_name(f".{uuid.uuid4().hex}.tmp{target.suffix}")
    try:
        try:
            os.link(source.resolve(), temporary)
        except OSError:  # another file system
            shutil.copy2(source, temporary)
        os.replace(temporary, target)
    except OSError as error:
        raise_if_full(error, target)
        raise
    finally:
        temporary.unlink(missing_ok=True)
    return False


def _without_tags(source: Path, target: Path) -> None:
    """Copy the video's packets into a new container."""
    import av

    temporary = target.with_name(f".{uuid.uuid4().hex}.tmp{target.suffix}")
    try:
        with av.open(os.fspath(source)) as opened, av.open(os.fspath(temporary), "w") as out:
            video = opened.streams.video[0]
            stream = out.add_stream_from_template(video)
            stream.metadata.clear()
            for packet in opened.demux(video):
                if packet.dts is not None:
                    packet.stream = stream
                    out.mux(packet)
        os.replace(temporary, target)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _is_plain(key: str, value: str) -> bool:
    return key.lower() in _TAGS and len(_words(value)) < 4


def _same(source: Path, target: Path) -> bool:
    a, b = source.stat(), target.stat()
    return (a.st_ino, a.st_dev) == (b.st_ino, b.st_dev) or (a.st_size, a.st_mtime_ns) == (b.st_size, b.st_mtime_ns)


def _words(text: str) -> set[str]:
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text)
    found = re.findall(r"[^\W\d_]{2,}", spaced.lower())
    return {word.removesuffix("s") for word in found if word not in _EMPTY}
