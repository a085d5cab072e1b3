"""One run at a time in a folder: a lock that names its owner and does not outlive it.

In: a lock file path. Out: the lock held inside a `with` block, or an error that names its owner. Its folder is made
when absent; a run that fails before it wrote anything removes the folders it made.
The lock is the kernel's (`flock`), so a run that is killed leaves none behind. The file holds the owner (process,
machine, command, start) for the message. A shared file system may not carry the kernel's lock to other machines:
there an owner from another machine counts as alive while its heartbeat (the file's mtime) is fresh.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cineloop.address import redact
from cineloop.documents import parse_json
from cineloop.errors import MissingDependencyError, UsageError
from cineloop.files import TEMPORARY
from cineloop.log import logger, printable

HEARTBEAT_STALE_S = 600.0
_LINGER_S = 5.0
_LOOK_S = 0.5
_BEAT_LOOK_S = 5.0
_TAKEN = (errno.EWOULDBLOCK, errno.EACCES)


@contextlib.contextmanager
def usable(folder: Path) -> Iterator[None]:
    """An operating system's error while an output folder is opened becomes MissingDependencyError, OUTPUT_FOLDER."""
    try:
        yield
    except OSError as error:
        raise MissingDependencyError(
            f"cannot use the output folder {printable(str(folder))}: {error.strerror or error}",
            code="OUTPUT_FOLDER",
            hint="choose another -o",
        ) from error


class FolderLock:
    """Exclusive use of a folder for the length of a `with` block.

    Args:
        path: of the lock file.
        patient: an owner on another machine whose heartbeat stands still is waited for until it counts as dead: a
            cluster starts a lost process again at once, on another node.

    Raises (on entering):
        UsageError: code LOCKED; another run holds the folder, named in the message.
    """

    def __init__(self, path: Path, *, patient: bool = False) -> None:
        self.path = path
        self.patient = patient
        self._handle = -1
        self._new: Path | None = None  # the outermost folder that this run made

    def __enter__(self) -> FolderLock:
        import fcntl

        parents = [self.path.parent, *self.path.parent.parents]
        self._new = next((folder for folder in reversed(parents) if not folder.exists()), None)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        start = time.monotonic()
        while True:
            try:
                fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                owner = self._owner()
                # A run killed in the moment it starts a child leaves the lock with that child until it has begun;
                # `holder` has it for the moment of a look.
                waited_s = time.monotonic() - start
                if error.errno in _TAKEN and waited_s < (_LINGER_S if _is_dead(owner) else _LOOK_S):
                    time.sleep(0.01)
                    continue
                os.close(self._handle)
                if error.errno not in _TAKEN:
                    raise
                raise self._refusal(owner) from error
        if not self._is_in_place():  # its holder failed and took the folder away
            os.close(self._handle)
            return self.__enter__()
        owner = self._owner()
        is_away = owner and owner.get("host") != socket.gethostname()
        if is_away and (self._is_beating(owner) if self.patient else self._age_s() < HEARTBEAT_STALE_S):
            os.close(self._handle)
            raise self._refusal(owner)
        if owner:
            logger.info("the earlier run (process %s) ended without tidying up; going on from there", owner.get("pid"))
        os.ftruncate(self._handle, 0)
        os.pwrite(self._handle, json.dumps(me()).encode(), 0)
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        # The file stays, since other runs may wait for it; where it goes with its folder, `_is_in_place` tells them.
        os.ftruncate(self._handle, 0)
        if (
            kind is not None
            and self._new is not None
            and not any(not path.is_dir() and path.lstat().st_size > 0 for path in self._new.rglob("*"))
        ):
            shutil.rmtree(self._new, ignore_errors=True)
        os.close(self._handle)
        self._handle = -1

    def beat(self) -> None:
        """Tell other machines that this run is alive."""
        os.utime(self._handle)

    def holder(self) -> dict[str, Any]:
        """The owner of the lock; {} when it is free. Does not wait.

        On this machine the kernel is asked: the process number in the file may be another process's by now.
        """
        import fcntl

        try:
            self._handle = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return {}
        try:
            owner = self._owner()
            try:
                fcntl.flock(self._handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in _TAKEN:
                    raise
                return owner or {"pid": "unknown"}
            # Free here. A share may not carry the lock of another machine, whose heartbeat then decides.
            is_away = owner and not _is_here(owner) and self._age_s() < HEARTBEAT_STALE_S
            return owner if is_away else {}
        finally:
            os.close(self._handle)
            self._handle = -1

    def _is_in_place(self) -> bool:
        try:
            return os.path.samestat(os.stat(self.path), os.fstat(self._handle))
        except FileNotFoundError:
            return False

    def _age_s(self) -> float:
        return _file_system_time(self.path.parent) - os.fstat(self._handle).st_mtime

    def _is_beating(self, owner: dict[str, Any]) -> bool:
        """Watch an owner's heartbeat until it beats (True) or is stale (False)."""
        beat = os.fstat(self._handle).st_mtime
        if (left_s := HEARTBEAT_STALE_S - self._age_s()) > 0:
            logger.info("waiting up to %.0f s: %s may have been killed", left_s, describe(owner))
        while self._age_s() < HEARTBEAT_STALE_S:
            time.sleep(_BEAT_LOOK_S)
            if os.fstat(self._handle).st_mtime != beat:
                return True
        return False

    def _owner(self) -> dict[str, Any]:
        """The owner that the file holds; {} when it is empty."""
        text = os.pread(self._handle, 4096, 0)
        try:
            owner = parse_json(text) if text else {}
        except ValueError:
            owner = None  # a crash while the owner was being written
        return owner if isinstance(owner, dict) else {"pid": "unknown"}

    def _refusal(self, owner: dict[str, Any]) -> UsageError:
        folder = self.path.parent
        folder = folder.parent if folder.name.startswith(".") else folder  # of OUT/.v2t a person knows OUT
        return UsageError(
            f"another run holds {printable(str(folder))}: {describe(owner)}",
            code="LOCKED",
            hint="wait for it, or give this run another -o",
        )


def describe(owner: dict[str, Any]) -> str:
    """An owner in words."""
    who = f"process {owner.get('pid', 'unknown')} on {owner.get('host', 'an unknown machine')}"
    return f"{who}, started {owner.get('started', '?')}"


def _file_system_time(folder: Path) -> float:
    """The clock that dates the files of a folder, in seconds since 1970: on a share that is the server's."""
    handle, name = tempfile.mkstemp(prefix=TEMPORARY, dir=folder)
    try:
        os.utime(handle)
        return os.fstat(handle).st_mtime
    finally:
        os.close(handle)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)


def me() -> dict[str, Any]:
    """What this process is, for a lock."""
    return {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "machine": _machine(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "command": printable(" ".join(map(redact, sys.argv)), 500),
    }


@functools.cache
def _machine() -> str:
    """Identity of this machine and its process table: containers may share a host's name."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(parts)


def _is_here(owner: dict[str, Any]) -> bool:
    if "machine" in owner:
        return bool(owner["machine"] == _machine())
    return owner.get("host") == socket.gethostname()


def _is_dead(owner: dict[str, Any]) -> bool:
    """Whether the owner was a process of this machine that is gone; False when that is unknown."""
    pid = owner.get("pid")
    if isinstance(pid, int) and _is_here(owner):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass
    return False
