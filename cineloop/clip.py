"""One clip of a job, and whether its file can be read.

In: names and dates of files. Out: `Clip`s; the errors that make one impossible before any decoder sees it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cineloop.address import redact
from cineloop.errors import ItemError
from cineloop.files import content_key, escape_name, open_regular


@dataclass(frozen=True, slots=True)
class Clip:
    """One video, or a part of one.

    `file` is the operating system's name; `id` and `path` are its escaped, portable spelling. `size` in bytes and
    `mtime_ns` tell a changed file from the one that was captioned; where `file` is an address both come from its
    service (size -1 when unknown), and `is_remote` is set. `start_s`/`end_s` cut a part out of the file.
    """

    id: str
    path: str
    file: str
    size: int = 0
    mtime_ns: int = 0
    start_s: float | None = None
    end_s: float | None = None
    problem: ItemError | None = None
    is_remote: bool = False


def check(clip: Clip, *, keyed: bool = False) -> str | None:
    """Raise the ItemError of a clip that cannot be read, or is no longer the file that was found; where `keyed`, return
    the content key of what was read (None of a remote file)."""
    if clip.problem is not None:
        raise clip.problem
    if clip.is_remote:
        if clip.size == 0:
            raise no_bytes()
        return None  # the rest is found out when it is fetched
    descriptor, status = open_video(clip.file)
    with os.fdopen(descriptor, "rb") as file:
        if (status.st_size, status.st_mtime_ns) != (clip.size, clip.mtime_ns):
            hint = "is it still being written? --retry-failed later"
            raise ItemError("the file changed while it was read", code="CHANGED", hint=hint)
        try:
            return content_key(file) if keyed else None
        except OSError as error:
            raise problem_of(error) from error


def source_of(clip: Clip, content: str | None = None) -> dict[str, Any]:
    """Facts of a clip's file for a journal: size, date, content key, and its name, which formats that hold videos need
    later.

    Args:
        content: the key, as `check` gave it; None reads it now, and stays null where the file cannot be read: any later
            state of the file counts as changed then.
    """
    if content is None and clip.problem is None and not clip.is_remote:
        try:
            content = content_key(Path(clip.file))
        except OSError:
            pass
    file = redact(clip.file) if clip.is_remote else os.path.abspath(clip.file)
    return {"size": clip.size, "mtime_ns": clip.mtime_ns, "content": content, "file": escape_name(file)}


def open_video(file: str | bytes | os.PathLike[str], name: str = "") -> tuple[int, os.stat_result]:
    """A descriptor of a file that may be a video, and what the system knows of it.

    Args:
        name: of the file, for messages that are read without their clip.

    Raises:
        ItemError: NOT_FOUND, UNREADABLE, NOT_A_FILE, EMPTY_FILE.
    """
    try:
        descriptor, status = open_regular(file)
    except OSError as error:
        raise problem_of(error, name) from error
    if status.st_size == 0:
        os.close(descriptor)
        raise no_bytes(name)
    return descriptor, status


def check_file(file: str | os.PathLike[str]) -> os.stat_result:
    """What the system knows of a file that can be read. Raises as `open_video`."""
    descriptor, status = open_video(file)
    os.close(descriptor)
    return status


@contextmanager
def reading(file: str | os.PathLike[str]) -> Iterator[None]:
    """For a block that reads all of a file: what prevents it, before or meanwhile, is raised as `check_file` does."""
    check_file(file)
    try:
        yield
    except OSError as error:
        raise problem_of(error) from error


def no_bytes(name: str = "") -> ItemError:
    """The error of an empty file."""
    return ItemError(f"the file holds no bytes{_of(name)}", code="EMPTY_FILE", hint="copy or download it again")


def not_a_file(name: str = "") -> ItemError:
    """The error of what can be no clip."""
    text = f"not a file but a folder, pipe or device{_of(name)}"
    return ItemError(text, code="NOT_A_FILE", hint="rename it or --exclude it")


def problem_of(error: OSError, name: str = "") -> ItemError:
    """What the operating system says, as the error of a clip."""
    if error.errno in (errno.EISDIR, errno.EINVAL, errno.ENXIO, errno.ENODEV):
        return not_a_file(name)
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        text = f"no such file, or a link that leads nowhere{_of(name)}"
        return ItemError(text, code="NOT_FOUND", hint="check the path")
    if error.errno == errno.ELOOP:
        text = f"a symbolic link that leads to itself{_of(name)}"
        return ItemError(text, code="UNREADABLE", hint="remove the link")
    reason = error.strerror or type(error).__name__
    text = f"cannot be read: {reason}{_of(name)}"
    return ItemError(text, code="UNREADABLE", hint="check its permissions and its disk")


def _of(name: str) -> str:
    return f": {name!r}" if name else ""
