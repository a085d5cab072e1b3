"""PyAV with clips that misbehave by their names: `hangs` for ever, `aborts` its process, `waits` half a second;
`shrinks` the memory that its process shares just before the reply, `babbles` instead of a reply, `spies` on the parent
and fails with what it found.

This folder comes first on PYTHONPATH; the true PyAV is loaded from behind it and changed in place. Every decoding
child opens its file with it, whatever decoder reads the frames.
"""

import os
import socket
import sys
import time

sys.path.remove(os.path.dirname(os.path.abspath(__file__)))
del sys.modules["av"]
import av  # noqa: E402

_WAIT_S = 0.5
_open = av.open


def _reply_with(change):
    """Let `change(link, message)` act before the next reply of this process, and return what is sent."""
    link = sys.modules["cineloop.video.child"]._Link
    send = link.send

    def sent(self, message, descriptor=None):
        if "started" not in message:
            link.send = send
            message = change(self, message)
        send(self, message, descriptor)

    link.send = sent


def _shrink(link, message):
    for name in os.listdir("/proc/self/fd"):
        try:
            if "memfd:cineloop" in os.readlink(f"/proc/self/fd/{name}"):
                os.ftruncate(int(name), 0)
        except OSError:
            continue
    return message


def _babble(link, message):
    link.socket.sendall(b"\0\0\0\3{]}")
    return message


def _opened(path, flags):
    return os.open(path, flags | os.O_NONBLOCK)  # a pipe of the parent's


def _spied():
    parent, found = os.getppid(), []
    for name in ("environ", "mem", "fd/1"):
        try:
            found.append(open(f"/proc/{parent}/{name}", "rb", opener=_opened).read(4096).decode("latin-1"))
        except OSError as error:
            found.append(f"{name}: {error.strerror}")
    try:
        os.kill(parent, 0)
        found.append("kill: allowed")
    except OSError as error:
        found.append(f"kill: {error.strerror}")
    try:
        socket.create_connection(("127.0.0.1", int(os.environ.get("OMP_PORT", "9"))), timeout=5).close()
        found.append("connect: allowed")
    except OSError as error:
        found.append(f"connect: {error.strerror}")
    return "; ".join(found) + f"; {sorted(os.environ)}"


def _planted(file, *args, **options):
    name = os.path.basename(os.path.realpath(file))
    if name.startswith("hangs"):
        time.sleep(1e6)
    elif name.startswith("aborts"):
        os.abort()
    elif name.startswith("waits"):
        time.sleep(_WAIT_S)
    elif name.startswith("shrinks"):
        _reply_with(_shrink)
    elif name.startswith("babbles"):
        _reply_with(_babble)
    elif name.startswith("spies"):
        raise ValueError(_spied())
    return _open(file, *args, **options)


av.open = _planted
