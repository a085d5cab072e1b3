"""The decoding child: `main`, with a socket's descriptor, started and killed by `cineloop.video.decoder_process` only.

In: over the socket FD, requests as JSON with a length in front. Out: replies likewise, pixels through an anonymous
shared memory file whose descriptor goes over once and is then reused (fresh pages cost more than copying does). No
pickle: what a decoder that was taken over could send is plain numbers and text. The child ends when its parent does,
and an alarm ends it when the decoder hangs and the parent is gone.
"""

from __future__ import annotations

import json
import math
import mmap
import os
import signal
import socket
import struct
import sys
import tempfile
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

from cineloop.errors import CineloopError, UsageError
from cineloop.video.decode import Request, SampleSpec, decode, warm_up
from cineloop.video.limits import Limits
from cineloop.video.open_file import LastFile

_ROUND = 1 << 20
_GRACE_S = 30
_PACKAGES = frozenset(("cineloop", "v2t", "t2v", "v2t_eval"))  # of the wheel


class Arena:
    """Shared memory for one clip at a time; grows, never shrinks."""

    def __init__(self) -> None:
        self.capacity = 0
        self.unsent: int | None = None
        self._map: mmap.mmap | None = None

    def allocate(self, shape: tuple[int, ...]) -> np.ndarray:
        """A uint8 array of `shape` at the start of the shared memory; the one before is given up."""
        need = math.prod(shape)
        if need > self.capacity:
            self._grow(need)
        return np.frombuffer(self._map, dtype=np.uint8, count=need).reshape(shape)  # type: ignore[arg-type]

    def _grow(self, need: int) -> None:
        if self.unsent is not None:
            os.close(self.unsent)
        if hasattr(os, "memfd_create"):
            self.unsent = os.memfd_create("cineloop")
        else:
            with tempfile.TemporaryFile() as handle:
                self.unsent = os.dup(handle.fileno())
        self.capacity = -(-need // _ROUND) * _ROUND
        os.ftruncate(self.unsent, self.capacity)
        self._map = mmap.mmap(self.unsent, self.capacity)

    def holds(self, pixels: np.ndarray) -> bool:
        """Whether `pixels` starts where the shared memory does."""
        start = np.frombuffer(self._map, dtype=np.uint8, count=1) if self._map is not None else None
        return start is not None and pixels.ctypes.data == start.ctypes.data


class _Link:
    """The child's end of the socket."""

    def __init__(self, descriptor: int) -> None:
        self.socket = socket.socket(fileno=descriptor)

    def receive(self) -> tuple[dict[str, Any], int | None] | None:
        """A request, and the file that came with it; None at the end."""
        first, descriptors, _, _ = socket.recv_fds(self.socket, 4, 1)
        head = self._exactly(4, first) if first else None
        if head is None:
            return None
        body = self._exactly(struct.unpack(">I", head)[0])
        return None if body is None else (json.loads(body), descriptors[0] if descriptors else None)

    def _exactly(self, size: int, data: bytes = b"") -> bytes | None:
        while len(data) < size:
            more = self.socket.recv(size - len(data))
            if not more:
                return None
            data += more
        return data

    def send(self, message: dict[str, Any], descriptor: int | None = None) -> None:
        body = json.dumps(message).encode()
        data = struct.pack(">I", len(body)) + body
        if descriptor is not None:
            sent = socket.send_fds(self.socket, [data], [descriptor])
            data = data[sent:]
        self.socket.sendall(data)


def _serve(link: _Link, limits: Limits, threads: int) -> None:
    arena, last = Arena(), LastFile(limits.codecs)
    while True:
        received = link.receive()
        if received is None:
            return
        message, given = received
        if given is not None:
            message["path"] = f"/proc/self/fd/{given}"
        _set_alarm(limits)
        try:
            reply, descriptor = _answer(link, arena, last, message, limits, threads)
        except CineloopError as error:
            reply, descriptor = {"error": {"kind": type(error).__name__, **error.record()}}, None
        except MemoryError:
            text = f"the decoder needed more than {limits.memory_mb} MiB"
            record = {"kind": "ItemError", "code": "OUT_OF_MEMORY", "message": text, "hint": "raise memory_mb"}
            reply, descriptor = {"error": record}, None
        except Exception as error:  # a fault of ours or of a library: the file fails, the batch goes on
            text = f"{type(error).__name__}: {error}"
            record = {"kind": "ItemError", "code": "DECODE_ERROR", "message": text, "hint": ""}
            reply, descriptor = {"error": record}, None
        signal.alarm(0)
        if given is not None:
            os.close(given)
        link.send(reply, descriptor)
        if descriptor is not None:
            os.close(descriptor)
            arena.unsent = None


def _set_alarm(limits: Limits) -> None:
    signal.alarm(math.ceil(limits.timeout_s * 4) + _GRACE_S)  # default action: the kernel ends this process


def job_of(name: str) -> Callable[..., tuple[Any, dict[str, np.ndarray]]]:
    """The function `module:function` of a job, imported at its first use: decoding alone needs none of them.

    Called as `job(opened, limits, threads=, beat=, **given)`, it returns JSON values and arrays.

    Raises:
        UsageError: it is no function of this package.
    """
    module, _, function = name.partition(":")
    if module.partition(".")[0] not in _PACKAGES:
        raise UsageError(f"a decoder's job must be a function of {', '.join(sorted(_PACKAGES))}, got {name!r}")
    job: Callable[..., tuple[Any, dict[str, np.ndarray]]] = getattr(import_module(module), function)
    return job


def _answer(
    link: _Link, arena: Arena, last: LastFile, message: dict[str, Any], limits: Limits, threads: int
) -> tuple[dict[str, Any], int | None]:
    path = message["path"].encode("latin-1")

    def report_start(name: str) -> None:
        """Tell the parent what works now; its clock and ours restart."""
        _set_alarm(limits)
        link.send({"started": name})

    if message["op"] == "probe":
        with last.open(path) as opened:
            return {"info": opened.info(limits, lambda: report_start("")).record()}, None
    if message["op"] == "job":
        job = job_of(message["job"])
        report_start("")  # an import is no part of the file's time
        with last.open(path) as opened:
            plain, arrays = job(opened, limits, threads=threads, beat=lambda: report_start("pyav"), **message["given"])
        data = b"".join(array.tobytes() for array in arrays.values())
        if data:
            arena.allocate((len(data),))[...] = np.frombuffer(data, dtype=np.uint8)
        shapes = {name: [array.dtype.str, array.shape] for name, array in arrays.items()}
        return {"plain": plain, "arrays": shapes}, arena.unsent if data else None
    request = Request(
        spec=SampleSpec(**message["spec"]),
        size=tuple(message["size"]) if message["size"] else None,
        limits=limits,
        decoders=tuple(message["decoders"]),
        threads=threads,
    )
    frames = decode(path, request, allocate=arena.allocate, started=report_start, last=last)
    if not arena.holds(frames.pixels):  # frames were left out, so the rest was moved elsewhere
        arena.allocate(frames.pixels.shape)[...] = frames.pixels
    return {"shape": frames.pixels.shape, "frames": frames.about()}, arena.unsent


def _limit_memory(limits: Limits) -> None:
    """A hard stop far above the watched limit, for one allocation too sudden to be watched; no core files."""
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        with open("/proc/self/statm") as handle:
            now = int(handle.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        most = now + (2 * limits.memory_mb << 20) + (2 << 30)
        resource.setrlimit(resource.RLIMIT_AS, (most, resource.getrlimit(resource.RLIMIT_AS)[1]))
    except (OSError, ValueError):  # not Linux, or a lower limit is already set
        return


def main() -> None:
    """Read requests until the parent closes the socket."""
    # A job's module is imported late: on a full disk that would leave a truncated .pyc, which no later import survives.
    sys.dont_write_bytecode = True
    link = _Link(int(sys.argv[1]))
    settings = json.loads(sys.argv[2])
    limits = Limits(**settings["limits"])
    warm_up(settings["threads"])
    _limit_memory(limits)
    link.send({"ready": True})
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 2)  # libraries log damaged files; the replies carry the errors
    _serve(link, limits, settings["threads"])
