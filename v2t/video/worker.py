"""Decoding in child processes that can be killed: wall clock, memory, frame size and length are limited.

In: paths and a `SampleSpec`. Out: `Frames`, or an `ItemError` with a stable code. A decoder may hang in native code
with Python's lock held, or crash (decord issue #373 and many kin): only another process survives that. Each worker is a
thread here and a child process of its own (`v2t.video.child`), started again after a death or after `recycle_after`
files. When a decoder dies, the next installed one is tried once, and the frames say so in their warnings.
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
import threading
import time
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from v2t.base.errors import ItemError, MissingDependencyError, UsageError
from v2t.video.decode import DECODERS, Limits, Request, installed
from v2t.video.frames import Frames
from v2t.video.probe import VideoInfo
from v2t.video.sample import SampleSpec

__all__ = ["DecoderPool", "Limits", "SampleSpec"]

_START_S = 120.0  # a starved machine may take this long to import
_TICK_S = 0.1
_PAGE = os.sysconf("SC_PAGE_SIZE")


class _Died(Exception):
    """The child is gone, or had to be killed, while it worked on a file."""

    def __init__(self, code: str, message: str, decoder: str) -> None:
        super().__init__(message)
        self.code, self.message, self.decoder = code, message, decoder


class _Child:
    """One child process and the socket to it; used by one thread at a time."""

    def __init__(self, limits: Limits, threads: int) -> None:
        self.limits, self.served = limits, 0
        self._view: np.ndarray | None = None
        self._socket, theirs = socket.socketpair()
        settings = json.dumps({"limits": asdict(limits), "threads": threads})
        root = str(Path(__file__).resolve().parents[2])
        paths = [*filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)), root]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "MALLOC_ARENA_MAX": "4"}
        with theirs, tempfile.TemporaryFile() as complaints:
            # -P: never import from the working folder. A session of its own: Ctrl-C is the parent's to handle.
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "v2t.video.child", str(theirs.fileno()), settings],
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
            except _Died as error:
                self.kill()
                complaints.seek(0)
                said = complaints.read()[-500:].decode("utf-8", "replace").strip()
                raise MissingDependencyError(f"the decoding process did not start: {error.message}: {said}") from error

    def probe(self, path: bytes) -> VideoInfo:
        """See `DecoderPool.probe`."""
        reply = self._ask({"op": "probe", "path": path.decode("latin-1")})
        info = {**reply["info"], "path": Path(os.fsdecode(path))}
        for name in ("keyframe_times_s", "warnings"):
            info[name] = tuple(info[name])
        return VideoInfo(**info)

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
            raise _Died("DECODER_CRASH", "the decoding process sent no pixels", reply["decoder"])
        pixels = view[:count].reshape(shape).copy()  # the shared memory is reused by the next file
        return Frames(
            pixels=pixels,
            times_s=np.array(reply["times_s"], dtype=np.float64),
            duration_s=reply["duration_s"],
            fps=reply["fps"],
            decoder=reply["decoder"],
            warnings=tuple(reply["warnings"]),
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
        """The next reply; every decoder that starts gets the full time again.

        Raises:
            _Died: DECODE_TIMEOUT, OUT_OF_MEMORY or DECODER_CRASH.
        """
        data, decoder = b"", ""
        deadline = time.monotonic() + timeout_s
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                self.process.kill()
                raise _Died("DECODE_TIMEOUT", f"{decoder or 'reading'} took longer than {timeout_s:g} s", decoder)
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
            raise _Died("OUT_OF_MEMORY", text, decoder)

    def _death(self, decoder: str) -> _Died:
        try:
            status = self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = self.process.wait()
        try:
            how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        except ValueError:
            how = f"was killed by signal {-status}"
        return _Died("DECODER_CRASH", f"{decoder or 'the decoding process'} {how}", decoder)


class DecoderPool:
    """Children that decode; a context manager; its methods may be called from any thread.

    Args:
        num_workers: child processes, >= 1; each is started when its first file comes.
        limits: what one file may cost.
        recycle_after: files after which a child is replaced, >= 1, so that leaks of native code stay small.
        decoders: order of preference; a single name switches the fallbacks off.

    Raises:
        UsageError: on a value outside these ranges.
    """

    def __init__(
        self,
        num_workers: int = 1,
        limits: Limits | None = None,
        recycle_after: int = 1000,
        decoders: tuple[str, ...] = DECODERS,
    ) -> None:
        if num_workers < 1 or recycle_after < 1:
            raise UsageError(f"num_workers and recycle_after must be >= 1, got {num_workers} and {recycle_after}")
        self._request = Request(limits=limits or Limits(), decoders=tuple(decoders), threads=_threads(num_workers))
        self._recycle_after = recycle_after
        self._mine = threading.local()
        self._children: set[_Child] = set()
        self._lock = threading.Lock()
        self._closed = False
        self._executor = ThreadPoolExecutor(num_workers, thread_name_prefix="decoder")

    def decode(
        self, path: str | bytes | os.PathLike[str], spec: SampleSpec | None = None, size: tuple[int, int] | None = None
    ) -> Frames:
        """Frames of the file at `path`; blocks.

        Args:
            path: a video or image file.
            spec: which frames; 16 uniform ones when None.
            size: (H, W) to resize to in the child, so that fewer bytes cross; None keeps the stored size.

        Raises:
            ItemError: NOT_FOUND, NOT_A_FILE, UNREADABLE, EMPTY_FILE, NOT_MEDIA, NO_INDEX, NO_VIDEO_STREAM, NO_FRAMES,
                TRUNCATED, TOO_LARGE, TOO_LONG, CODEC_UNAVAILABLE, CHANGED, DECODE_ERROR, DECODE_TIMEOUT,
                DECODER_CRASH, OUT_OF_MEMORY.
            MissingDependencyError: no decoder is installed, or the child cannot start.
            UsageError: a wrong size.
        """
        return self.submit(path, spec, size).result()

    def submit(
        self, path: str | bytes | os.PathLike[str], spec: SampleSpec | None = None, size: tuple[int, int] | None = None
    ) -> Future[Frames]:
        """As `decode`, at once: a future of the frames. Files are begun in the order they are given."""
        request = replace(self._request, spec=spec or SampleSpec(), size=size)
        return self._executor.submit(self._decode, os.path.abspath(os.fsencode(path)), request)

    def probe(self, path: str | bytes | os.PathLike[str]) -> VideoInfo:
        """`v2t.video.probe.probe` within the limits of this pool; blocks, raises as `decode` does."""
        return self._executor.submit(self._probe, os.path.abspath(os.fsencode(path))).result()

    def pids(self) -> list[int]:
        """Process ids of the living children."""
        with self._lock:
            return sorted(child.process.pid for child in self._children)

    def close(self) -> None:
        """Kill the children; futures that are not done raise CancelledError."""
        self._closed = True
        with self._lock:
            children = list(self._children)
        for child in children:
            child.process.kill()  # its thread sees the end and clears up
        self._executor.shutdown(wait=True, cancel_futures=True)
        with self._lock:
            children = list(self._children)
        for child in children:
            self._drop(child)

    def __enter__(self) -> DecoderPool:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _child(self) -> _Child:
        """This thread's child, started or replaced when needed."""
        child: _Child | None = getattr(self._mine, "child", None)
        if child is not None and (child.served >= self._recycle_after or child.process.poll() is not None):
            self._drop(child)
            child = None
        if self._closed:
            raise CancelledError("the decoder pool is closed")
        if child is None:
            child = _Child(self._request.limits, self._request.threads)
            with self._lock:
                self._children.add(child)
            self._mine.child = child
        return child

    def _drop(self, child: _Child) -> None:
        with self._lock:
            self._children.discard(child)
        if getattr(self._mine, "child", None) is child:
            self._mine.child = None
        child.kill()

    def _probe(self, path: bytes) -> VideoInfo:
        child = self._child()
        try:
            return child.probe(path)
        except _Died as death:
            self._drop(child)
            raise self._item_error(path, death) from death

    def _decode(self, path: bytes, request: Request) -> Frames:
        notes: list[str] = []
        again = False
        while True:
            child = self._child()
            try:
                frames = child.decode(path, request)
            except _Died as death:
                self._drop(child)
                if death.code == "DECODER_CRASH" and not death.decoder and not again:
                    again = True  # it may have been dead before it saw this file
                    continue
                rest = tuple(name for name in request.decoders if name != death.decoder)
                if death.decoder not in request.decoders or not any(installed(name) for name in rest):
                    raise self._item_error(path, death) from death
                notes.append(f"{death.code}: {death.message}")
                request = replace(request, decoders=rest)
                continue
            return frames.with_warnings(*(f"{note}; read by {frames.decoder}" for note in notes))

    def _item_error(self, path: bytes, death: _Died) -> Exception:
        if self._closed:
            return CancelledError("the decoder pool was closed")
        hints = {"DECODE_TIMEOUT": "raise timeout_s if the file is only long", "OUT_OF_MEMORY": "raise memory_mb"}
        hint = hints.get(death.code, "the file may be damaged or hostile")
        return ItemError(f"{os.fsdecode(path)!r}: {death.message}", code=death.code, hint=hint)


def _threads(num_workers: int) -> int:
    """Decoder threads per worker: all cores shared out; 0 (the decoder's own choice) for a single worker."""
    if num_workers == 1:
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // num_workers)
