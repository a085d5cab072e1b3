"""One decoding process and the socket to it (`cineloop.video.child` describes the messages).

In: paths, or open descriptors. Out: what was asked for, or `DecoderDeath`. The child reads strangers' files with native
code, so it is treated as theirs: it starts without secrets in its environment and confined (`cineloop.isolation`), a
reply that does not have the form of ours is a crash, and nothing of its memory is mapped here.
"""

from __future__ import annotations

import json
import math
import os
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from cineloop.errors import ItemError, MissingDependencyError, UsageError
from cineloop.isolation import harmless_environment
from cineloop.video.frames import Frames
from cineloop.video.info import VideoInfo
from cineloop.video.limits import Limits
from cineloop.video.sample import SampleSpec

T = TypeVar("T")
_START_S = 120.0  # a starved machine may take this long to import
_TICK_S = 0.1
_PAGE = os.sysconf("SC_PAGE_SIZE")
_LONGEST_REPLY = 64 << 20  # bytes of JSON
_CODE = re.compile(r"[A-Z][A-Z0-9_]{1,39}")
# Confined before anything else is imported: what numpy's threads may do is decided when they begin.
_CHILD = "from cineloop.isolation import confine; confine(); from cineloop.video.child import main; main()"


@contextmanager
def _reply_of_a_stranger() -> Iterator[None]:
    """Raises Died DECODER_CRASH for a reply that does not have the form of ours."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError, OSError) as error:
        raise DecoderDeath("DECODER_CRASH", "the decoding process sent an invalid reply", "") from error


class DecoderDeath(Exception):
    """The child is gone, or had to be killed, while it worked on a file."""

    def __init__(self, code: str, message: str, decoder: str) -> None:
        super().__init__(message)
        self.code, self.message, self.decoder = code, message, decoder


class DecoderProcess:
    """One child process and the socket to it; used by one thread at a time."""

    def __init__(self, limits: Limits, threads: int) -> None:
        self.limits, self.served = limits, 0
        self._shared: int | None = None  # the child's memory file
        self._socket, theirs = socket.socketpair()
        settings = json.dumps({"limits": asdict(limits), "threads": threads})
        root = str(Path(__file__).resolve().parents[2])
        environment = harmless_environment()
        paths = [*filter(None, environment.get("PYTHONPATH", "").split(os.pathsep)), root]
        environment |= {"PYTHONPATH": os.pathsep.join(paths), "MALLOC_ARENA_MAX": "4"}
        with theirs, tempfile.TemporaryFile() as complaints:
            # -P: never import from the working folder. A session of its own: Ctrl-C is the parent's to handle.
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-c", _CHILD, str(theirs.fileno()), settings],
                pass_fds=(theirs.fileno(),),
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=complaints,
                start_new_session=True,
            )
            theirs.close()
            try:
                with _reply_of_a_stranger():
                    self._reply(_START_S, watch=False)
            except DecoderDeath as error:
                self.kill()
                complaints.seek(0)
                output = complaints.read()[-500:].decode("utf-8", "replace").strip()
                raise MissingDependencyError(
                    f"the decoding process did not start: {error.message}: {output}"
                ) from error

    def probe(self, path: bytes, descriptor: int | None = None) -> VideoInfo:
        """See `DecoderPool.submit_probe`."""
        with _reply_of_a_stranger():
            return VideoInfo.read(self._ask("probe", path, descriptor)["info"], Path(os.fsdecode(path)))

    def job(self, path: bytes, name: str, given: dict[str, Any], read: Callable[[Any, dict[str, np.ndarray]], T]) -> T:
        """See `DecoderPool.submit_job`."""
        with _reply_of_a_stranger():
            reply = self._ask("job", path, job=name, given=given)
            arrays, offset = {}, 0
            for each, (kind, shape) in reply["arrays"].items():
                arrays[each] = self._copy(shape, np.dtype(kind), offset)
                offset += arrays[each].nbytes
            return read(reply["plain"], arrays)

    def decode(
        self,
        path: bytes,
        spec: SampleSpec,
        size: tuple[int, int] | None,
        decoders: tuple[str, ...],
        descriptor: int | None = None,
    ) -> Frames:
        """See `DecoderPool.submit`."""
        with _reply_of_a_stranger():
            request = {"spec": asdict(spec), "size": size, "decoders": decoders}
            reply = self._ask("decode", path, descriptor, **request)
            return Frames.read(self._copy(reply["shape"], np.dtype(np.uint8)), reply["frames"])

    def _copy(self, shape: Sequence[int], dtype: np.dtype, offset: int = 0) -> np.ndarray:
        """An array out of the shared memory, which the next file reuses. It is read and never mapped: the child can
        shrink it at any time, and touching a mapped page beyond its end would kill this process."""
        size = dtype.itemsize * math.prod(shape)
        if self._shared is None or min(shape, default=1) < 0 or offset + size > self.limits.memory_mb << 20:
            raise ValueError("no pixels, or more than the limit")
        array, done = np.empty(shape, dtype), 0
        view = memoryview(array.reshape(-1).view(np.uint8))  # type: ignore[arg-type]
        while done < size:
            num = os.preadv(self._shared, [view[done:]], offset + done)
            if not num:
                raise ValueError("too few bytes")
            done += num
        return array

    def kill(self) -> None:
        """End the process, whatever it is doing."""
        self.process.kill()
        self.process.wait()
        self._socket.close()
        self._share(None)

    def _share(self, descriptor: int | None) -> None:
        if self._shared is not None:
            os.close(self._shared)
        self._shared = descriptor

    def _ask(self, op: str, path: bytes, descriptor: int | None = None, **more: Any) -> dict[str, Any]:
        self.served += 1
        body = json.dumps({"op": op, "path": path.decode("latin-1"), **more}).encode()
        data = struct.pack(">I", len(body)) + body
        try:
            if descriptor is not None:
                data = data[socket.send_fds(self._socket, [data], [descriptor]) :]
            self._socket.sendall(data)
        except OSError as error:
            raise self._death("") from error
        reply = self._reply(self.limits.timeout_s, watch=True)
        if "error" in reply:
            record = reply["error"]
            if not _CODE.fullmatch(record["code"]):
                raise ValueError("not a code")
            kind = {"UsageError": UsageError, "MissingDependencyError": MissingDependencyError}.get(record["kind"])
            raise (kind or ItemError)(str(record["message"]), code=record["code"], hint=str(record["hint"]))
        return reply

    def _reply(self, timeout_s: float, *, watch: bool) -> dict[str, Any]:
        """The next reply; every decoder that starts, and every stretch of a long film done, gets the full time again,
        until `limits.total_s` is over.

        Raises:
            Died: DECODE_TIMEOUT, OUT_OF_MEMORY or DECODER_CRASH.
        """
        message: dict[str, Any]
        data, decoder = b"", ""
        began = time.monotonic()
        last = began + (self.limits.total_s or math.inf) if watch else math.inf
        deadline = began + timeout_s
        while True:
            now = time.monotonic()
            left = min(deadline, last) - now
            if left <= 0:
                self.process.kill()
                took = last - began if last <= now else timeout_s
                raise DecoderDeath("DECODE_TIMEOUT", f"{decoder or 'reading'} took longer than {took:g} s", decoder)
            ready, _, _ = select.select([self._socket], [], [], min(left, _TICK_S))
            if watch:
                self._check_memory(decoder)
            if not ready:
                continue
            try:
                more, descriptors, _, _ = socket.recv_fds(self._socket, 1 << 20, 1)
            except OSError as error:
                raise self._death(decoder) from error
            for descriptor in descriptors:
                self._share(descriptor)
            if not more:
                raise self._death(decoder)
            data += more
            if len(data) > _LONGEST_REPLY:
                raise ValueError("too long")
            while len(data) >= 4 and len(data) >= 4 + (size := struct.unpack(">I", data[:4])[0]):
                message, data = json.loads(data[4 : 4 + size]), data[4 + size :]
                if "started" not in message:
                    return message
                decoder = message["started"]
                deadline = time.monotonic() + timeout_s

    def _check_memory(self, decoder: str) -> None:
        try:
            with open(f"/proc/{self.process.pid}/statm", "rb") as handle:
                resident = int(handle.read().split()[1]) * _PAGE
        except (OSError, IndexError):  # gone, or not Linux: the child's own limit stands
            return
        if resident > self.limits.memory_mb << 20:
            self.process.kill()
            text = f"{decoder or 'reading'} used {resident >> 20} MiB, the limit is {self.limits.memory_mb} MiB"
            raise DecoderDeath("OUT_OF_MEMORY", text, decoder)

    def _death(self, decoder: str) -> DecoderDeath:
        try:
            status = self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = self.process.wait()
        try:
            how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        except ValueError:
            how = f"was killed by signal {-status}"
        return DecoderDeath("DECODER_CRASH", f"{decoder or 'the decoding process'} {how}", decoder)
