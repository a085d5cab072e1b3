"""Files of the server that clients may name: those below its roots, and nothing a link leads to.

In: a root and a path in it, as `addresses` parsed them. Out: a descriptor of the very file that was checked, or a
`Fault`. The path is walked one component at a time, each opened from the folder before it and never through a link, so
what is exchanged meanwhile cannot lead out of the root.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from cineloop.errors import ItemError
from cineloop.web.addresses import Address, forbidden_url
from cineloop.web.faults import Fault, fault_of

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_PLAIN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | getattr(os, "O_NOCTTY", 0)


def open_below(address: Address, roots: Mapping[str, Path]) -> int:
    """A descriptor of a regular file below a root; the caller closes it. Raises Fault 403 URL_FORBIDDEN for an unknown
    root, a link, anything but a regular file; 404 NOT_FOUND."""
    root = roots.get(address.root)
    if root is None:
        raise forbidden_url("unknown root in file://ROOT/path")
    try:
        folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)  # the operator's own path, links and all
    except OSError as error:
        raise _missing() from error
    part = b""
    try:
        for part in address.parts[:-1]:
            below = os.open(part, _FOLDER, dir_fd=folder)
            os.close(folder)
            folder = below
        part = address.parts[-1]
        descriptor = os.open(part, _PLAIN, dir_fd=folder)
    except OSError as error:
        try:
            is_link = stat.S_ISLNK(os.stat(part, dir_fd=folder, follow_symlinks=False).st_mode)
        except OSError:
            is_link = False
        if is_link:
            raise forbidden_url("symbolic links are not followed") from error
        if error.errno in (errno.ENXIO, errno.ENODEV):  # sockets and devices
            raise forbidden_url("only regular files are read") from error
        raise _missing() from error  # unreadable files too: for clients they do not exist
    finally:
        os.close(folder)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise forbidden_url("only regular files are read")
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _missing() -> Fault:
    return fault_of(ItemError("file not found", code="NOT_FOUND"))
