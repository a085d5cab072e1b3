"""What processes that read strangers' files can reach of others: memory, environment, signals, connections.

In: the process that calls. Out: restrictions that it cannot lift again, and of which its threads and children inherit
those of `confine`. Linux alone; elsewhere, and where the kernel lacks one, it is left out. Landlock
(https://docs.kernel.org/userspace-api/landlock.html) needs Linux 5.13, 6.7 for connections, 6.12 for signals.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Mapping

_CREATE_RULESET, _RESTRICT_SELF, _GET_VERSION = 444, 446, 1  # system calls of Landlock, the same on all machines
_SET_DUMPABLE, _NO_NEW_PRIVILEGES = 4, 38  # of prctl
_MAKE_DEVICES = 1 << 6 | 1 << 11  # character and block devices; Landlock 1 wants some right on files to be handled
_CONNECTIONS = 0b11  # bind and connect, TCP
_SOCKETS_AND_SIGNALS = 0b11  # abstract Unix sockets and signals of processes outside
_CAPABILITIES_3 = 0x20080522  # the version of capget's and capset's structures
_KEPT = 0b1111  # capabilities that concern files alone: CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER
# What a process needs to start. Anything else may be a secret.
_PASSED = {"PATH", "HOME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "VIRTUAL_ENV", "SYSTEMROOT"}
_PASSED_BEGINNINGS = ("LC_", "LD_", "DYLD_", "PYTHON", "OMP_", "MKL_", "OPENBLAS_", "CONDA_", "NIX_")


def harmless_environment(given: Mapping[str, str] | None = None) -> dict[str, str]:
    """The part of environment variables (of this process by default) that a child needs to start, without secrets."""
    given = os.environ if given is None else given
    return {name: value for name, value in given.items() if name in _PASSED or name.startswith(_PASSED_BEGINNINGS)}


def hide() -> bool:
    """Make this process's memory and environment (`/proc/PID/mem`, `/proc/PID/environ`) unreadable to others of the
    same user, and turn core files off. Whether that is so now. Privileged processes (CAP_SYS_PTRACE) still read them.
    """
    return sys.platform == "linux" and bool(ctypes.CDLL(None).prctl(_SET_DUMPABLE, 0, 0, 0, 0) == 0)


def confine() -> bool:
    """Keep this thread, and what it starts from now on, from the memory, environment and descriptors of all processes
    that are there already, root's included; from sending them signals; from TCP; from set-user-ID programs. Of root's
    rights it keeps those on files. Whether the kernel does so (signals and TCP as its version allows). Called before
    other threads begin."""
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    head = (ctypes.c_uint32 * 2)(_CAPABILITIES_3, 0)
    data = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable: the low 32 bits of each, then the high ones
    if libc.capget(head, data) == 0:
        held = data[1] & _KEPT
        data[:] = [held, held, 0, 0, 0, 0]
        libc.capset(head, data)
    version = libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint(_GET_VERSION))
    if version < 1:
        return False
    rights = (_MAKE_DEVICES, _CONNECTIONS if version >= 4 else 0, _SOCKETS_AND_SIGNALS if version >= 6 else 0)
    attributes = (ctypes.c_uint64 * 3)(*rights)
    ruleset = libc.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(8 * (1 + (version >= 4) + (version >= 6))), 0)
    if ruleset < 0:
        return False
    try:
        return bool(libc.syscall(_RESTRICT_SELF, ctypes.c_int(ruleset), 0) == 0)
    finally:
        os.close(ruleset)
