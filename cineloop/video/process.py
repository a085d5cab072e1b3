"""One decoding child seen from its parent: start it, ask it, watch its clock and its memory, kill it.

In: requests. Out: `Frames`, `VideoInfo`, the errors of the child, or `Died` with the reason. See
`cineloop.video.child` for what runs on the other side and for the form of the messages.
"""

from __future__ import annotations

import json
import math
import mmap
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from cineloop.errors import ItemError, MissingDependencyError, Notice, UsageError
from cineloop.video.canvas import Limits
from cineloop.video.decode import Request
from cineloop.video.frames import Frames
from cineloop.video.info import VideoInfo
from cineloop.video.survey import Survey

_START_S = 120.0  # a starved machine may take this long to import
_TICK_S = 0.1
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Died(Exception):
    """The child is gone, or had to be killed, while it worked on a file."""

    def __init__(self, code: str, message: str, decoder: str) -> None:
        super().__init__(message)
        self.code, self.message, self.decoder = code, message, decoder


class DecoderProcess:
    """One child process and the socket to it; used by one thread at a time.

    `environment` is what the child gets of environment variables; None gives it this process's.
    """

    def __init__(self, limits: Limits, threads: int, environment: Mapping[str, str] | None = None) -> None:
        self.limits, self.served = limits, 0
        self._view: np.ndarray | None = None
        self._socket, theirs = socket.socketpair()
        settings = json.dumps({"limits": asdict(limits), "threads": threads})
        root = str(Path(__file__).resolve().parents[2])
        given = os.environ if environment is None else environment
        paths = [*filter(None, given.get("PYTHONPATH", "").split(os.pathsep)), root]
        environment = {**given, "PYTHONPATH": os.pathsep.join(paths), "MALLOC_ARENA_MAX": "4"}
        with theirs, tempfile.TemporaryFile() as complaints:
            # -P: never import from the working folder. A session of its own: Ctrl-C is the parent's to handle.
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "cineloop.video.child", str(theirs.fileno()), settings],
                pass_fds=(theirs.fileno(),),
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=complaints,
                start_new_session=True,
            )
            theirs.close()
            try:
                self._reply(_START_S, watch=False)
            except Died as error:
                self.kill()
                complaints.seek(0)
                output = complaints.read()[-500:].decode("utf-8", "replace").strip()
                raise MissingDependencyError(
                    f"the decoding process did not start: {error.message}: {output}"
                ) from error

    def probe(self, path: bytes) -> VideoInfo:
        """See `DecoderPool.probe`."""
        reply = self._ask({"op": "probe", "path": path.decode("latin-1")})
        info = {**reply["info"], "path": Path(os.fsdecode(path))}
        info["keyframe_times_s"] = tuple(info["keyframe_times_s"])
        info["warnings"] = tuple(map(Notice.read, info["warnings"]))
        return VideoInfo(**info)

    def cuts(self, path: bytes, start_s: float | None, end_s: float | None) -> list[float]:
        """See `DecoderPool.cuts`."""
        message = {"op": "cuts", "path": path.decode("latin-1"), "start_s": start_s, "end_s": end_s}
        return [float(second) for second in self._ask(message)["cuts"]]

    def survey(self, path: bytes, start_s: float | None, end_s: float | None) -> Survey:
        """See `DecoderPool.survey`."""
        reply = self._ask({"op": "survey", "path": path.decode("latin-1"), "start_s": start_s, "end_s": end_s})
        arrays, offset = {}, 0
        for name, (kind, shape) in reply["arrays"].items():
            dtype, count = np.dtype(kind), math.prod(shape)
            size = dtype.itemsize * count
            if self._view is None or self._view.size < offset + size:
                raise Died("DECODER_CRASH", "the decoding process sent too few bytes", "pyav")
            part = self._view[offset : offset + size].tobytes()  # the shared memory is reused by the next file
            arrays[name], offset = np.frombuffer(part, dtype).reshape(shape), offset + size
        return Survey.read(reply["plain"], arrays)

    def decode(self, path: bytes, request: Request) -> Frames:
        """See `DecoderPool.decode`."""
        message = {
            "op": "decode",
            "path": path.decode("latin-1"),
            "spec": asdict(request.spec),
            "size": request.size,
            "decoders": request.decoders,
        }
        reply = self._ask(message)
        shape = tuple(reply["shape"])
        view, count = self._view, math.prod(shape)
        if view is None or view.size < count:
            raise Died("DECODER_CRASH", "the decoding process sent no pixels", reply["decoder"])
        pixels = view[:count].reshape(shape).copy()  # the shared memory is reused by the next file
        return Frames(
            pixels=pixels,
            times_s=np.array(reply["times_s"], dtype=np.float64),
            duration_s=reply["duration_s"],
            fps=reply["fps"],
            decoder=reply["decoder"],
            warnings=tuple(map(Notice.read, reply["warnings"])),
            start_s=reply["start_s"],
        )

    def kill(self) -> None:
        """End the process, whatever it is doing."""
        self.process.kill()
        self.process.wait()
        self._socket.close()

    def _ask(self, message: dict[str, Any]) -> dict[str, Any]:
        self.served += 1
        body = json.dumps(message).encode()
        try:
            self._socket.sendall(struct.pack(">I", len(body)) + body)
        except OSError as error:
            raise self._death("") from error
        reply = self._reply(self.limits.timeout_s, watch=True)
        if "error" in reply:
            record = reply["error"]
            kind = {"UsageError": UsageError, "MissingDependencyError": MissingDependencyError}.get(record["kind"])
            raise (kind or ItemError)(record["message"], code=record["code"], hint=record["hint"])
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
                raise Died("DECODE_TIMEOUT", f"{decoder or 'reading'} took longer than {took:g} s", decoder)
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
                self._attach(descriptor)
            if not more:
                raise self._death(decoder)
            data += more
            while len(data) >= 4 and len(data) >= 4 + (size := struct.unpack(">I", data[:4])[0]):
                message, data = json.loads(data[4 : 4 + size]), data[4 + size :]
                if "started" not in message:
                    return message
                decoder = message["started"]
                deadline = time.monotonic() + timeout_s

    def _attach(self, descriptor: int) -> None:
        try:
            shared = mmap.mmap(descriptor, os.fstat(descriptor).st_size, prot=mmap.PROT_READ)
        finally:
            os.close(descriptor)
        self._view = np.frombuffer(shared, dtype=np.uint8)

    def _check_memory(self, decoder: str) -> None:
        try:
            with open(f"/proc/{self.process.pid}/statm", "rb") as handle:
                resident = int(handle.read().split()[1]) * _PAGE
        except (OSError, IndexError):  # gone, or not Linux: the child's own limit stands
            return
        if resident > self.limits.memory_mb << 20:
            self.process.kill()
            text = f"{decoder or 'reading'} used {resident >> 20} MiB, the limit is {self.limits.memory_mb} MiB"
            raise Died("OUT_OF_MEMORY", text, decoder)

    def _death(self, decoder: str) -> Died:
        try:
            status = self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = self.process.wait()
        try:
            how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        except ValueError:
            how = f"was killed by signal {-status}"
        return Died("DECODER_CRASH", f"{decoder or 'the decoding process'} {how}", decoder)
