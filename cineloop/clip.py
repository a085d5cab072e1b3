"""One clip of a job, and whether its file can be read.

In: names and dates of files. Out: `Clip`s; the errors that make one impossible before any decoder sees it.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from cineloop.errors import ItemError


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


def check(clip: Clip) -> None:
    """Raise the ItemError of a clip that cannot be read, or is no longer the file that was found; return otherwise."""
    if clip.problem is not None:
        raise clip.problem
    if clip.is_remote:
        if clip.size == 0:
            raise _no_bytes()
        return  # the rest is found out when it is fetched
    status = check_file(clip.file)
    if (status.st_size, status.st_mtime_ns) != (clip.size, clip.mtime_ns):
        raise ItemError(
            "the file changed while it was read", code="CHANGED", hint="is it still being written? --retry-failed later"
        )


def check_file(file: str | os.PathLike[str]) -> os.stat_result:
    """What the system knows of a file that can be read.

    Raises:
        ItemError: NOT_FOUND, UNREADABLE, NOT_A_FILE, EMPTY_FILE.
    """
    try:
        # Not blocking: opening a pipe without a writer would block for ever.
        handle = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise problem_of(error) from error
    try:
        status = os.fstat(handle)
    finally:
        os.close(handle)
    if not stat.S_ISREG(status.st_mode):
        raise not_a_file()
    if status.st_size == 0:
        raise _no_bytes()
    return status


@contextmanager
def reading(file: str | os.PathLike[str]) -> Iterator[None]:
    """For a block that reads all of a file: what prevents it, before or meanwhile, is raised as `check_file` does."""
    check_file(file)
    try:
        yield
    except OSError as error:
        raise problem_of(error) from error


def _no_bytes() -> ItemError:
    return ItemError("the file holds no bytes", code="EMPTY_FILE", hint="copy or download it again")


def not_a_file() -> ItemError:
    """The error of what can be no clip."""
    return ItemError("not a file but a folder, pipe or device", code="NOT_A_FILE", hint="rename it or --exclude it")


def problem_of(error: OSError) -> ItemError:
    """What the operating system says, as the error of a clip."""
    if error.errno == errno.ENOENT:
        return ItemError("no such file, or a link that leads nowhere", code="NOT_FOUND", hint="check the path")
    if error.errno == errno.ELOOP:
        return ItemError("a symbolic link that leads to itself", code="UNREADABLE", hint="remove the link")
    reason = error.strerror or type(error).__name__
    return ItemError(f"cannot be read: {reason}", code="UNREADABLE", hint="check its permissions and its disk")
