"""A child with its own children: who they are, whether any is left, and the shared memory they leave behind.

In: the number of a process group whose leader is a child of this process. Out: facts, and clean endings. Who belongs to
it and what it has mapped is read from /proc, on Linux; elsewhere there is less to know and nothing breaks.
"""

from __future__ import annotations

import ctypes
import os
import signal
from pathlib import Path

_PROC, _SHARED = Path("/proc"), Path("/dev/shm")
_OURS = ("psm_", "vllm", "torch_", "nccl-", "sem.mp-", "__KMP_REGISTERED_LIB_")  # of Python, vLLM, torch, NCCL, OpenMP
_SET_SUBREAPER, _GET_SUBREAPER = 36, 37  # of prctl(2)


def adopt(wanted: bool) -> bool:
    """Whether orphans below this process become its children, to be reaped by `is_gone`; returns how it was before.

    Without it they go to the first process of the machine or container, which may leave them as zombies.
    """
    try:
        prctl = ctypes.CDLL(None).prctl
    except (OSError, AttributeError):  # not Linux
        return False
    before = ctypes.c_int(0)
    prctl(_GET_SUBREAPER, ctypes.byref(before), 0, 0, 0)
    prctl(_SET_SUBREAPER, ctypes.c_ulong(wanted), 0, 0, 0)
    return bool(before.value)


def send(group: int, number: signal.Signals) -> None:
    """Send a signal to all of the group, if any is left."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):  # none left; on macOS only zombies
        return


def is_gone(group: int) -> bool:
    """Whether nobody of the group is left. Its leader must have been waited for; its orphans are, here."""
    try:
        while os.waitpid(-group, os.WNOHANG)[0]:
            continue
    except ChildProcessError:
        pass
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return True
    return False


def members(group: int) -> list[int]:
    """Process ids of the group that still run."""
    found = []
    for stat in _PROC.glob("[0-9]*/stat"):
        try:
            state, _, its_group, *_ = stat.read_bytes().rpartition(b") ")[2].split()
        except (OSError, ValueError):  # gone meanwhile
            continue
        if int(its_group) == group and state != b"Z":
            found.append(int(stat.parent.name))
    return found


def shared_memory(group: int) -> set[Path]:
    """Entries of shared memory that the group has mapped and that its programs are known to make.

    They are told by their inodes: the C library links a semaphore to its name only after it was mapped.
    """
    mapped: set[int] = set()
    for process in members(group):
        try:
            lines = (_PROC / str(process) / "maps").read_text("utf-8", "replace").splitlines()
        except OSError:
            continue
        mapped.update(int(line.split(maxsplit=5)[4]) for line in lines if str(_SHARED) in line)
    return {entry for entry in shared_entries() if entry.name.startswith(_OURS) and _inode(entry) in mapped}


def _inode(entry: Path) -> int:
    try:
        return entry.stat().st_ino
    except OSError:  # gone meanwhile
        return -1


def shared_entries() -> set[Path]:
    """All entries of shared memory there are."""
    return set(_SHARED.iterdir()) if _SHARED.is_dir() else set()
