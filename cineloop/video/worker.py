"""Decoding in child processes that can be killed: wall clock, memory, frame size and length are limited.

In: paths and a `SampleSpec`. Out: `Frames`, or an `ItemError` with a stable code. A decoder may hang in native code
with Python's lock held, or crash (decord issue #373 and similar bugs): only another process survives that. Each worker
is a thread here and a child process of its own (`cineloop.video.child`, which describes the messages), started again
after a death or after `recycle_after` files. When a decoder dies, the next installed one is tried once, and the frames
say so in their warnings.
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
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from cineloop.errors import ItemError, MissingDependencyError, Notice, UsageError
from cineloop.threads import usable_cpus
from cineloop.video.cut import Cut, Piece
from cineloop.video.decode import DECODERS, Limits, Request, installed
from cineloop.video.frames import Frames
from cineloop.video.info import VideoInfo
from cineloop.video.sample import SampleSpec
from cineloop.video.survey import Survey

__all__ = ["DecoderPool", "Limits", "SampleSpec"]
T = TypeVar("T")
_START_S = 120.0  # a starved machine may take this long to import
_TICK_S = 0.1
_PAGE = os.sysconf("SC_PAGE_SIZE")


class DecoderPool(AbstractContextManager["DecoderPool"]):
    """Children that decode; a context manager; its methods may be called from any thread.

    Args:
        num_workers: child processes, >= 1; each is started when its first file comes.
        limits: what one file may cost.
        recycle_after: files after which a child is replaced, >= 1, so that leaks of native code stay small.
        decoders: order of preference; a single name switches the fallbacks off.
        environment: environment variables of the children; None gives them this process's. A server that reads
            strangers' files keeps its secrets out of it.
        threads: decoder threads of each child, >= 1; None shares the CPUs out among the children, and leaves a single
            child the decoder's own choice (all CPUs).

    Raises:
        UsageError: on a value outside these ranges.
    """

    def __init__(
        self,
        num_workers: int = 1,
        limits: Limits | None = None,
        recycle_after: int = 1000,
        decoders: tuple[str, ...] = DECODERS,
        environment: Mapping[str, str] | None = None,
        threads: int | None = None,
    ) -> None:
        ranges = {"num_workers": num_workers, "recycle_after": recycle_after, "threads": threads}
        for name, value in ranges.items():
            if value is not None and value < 1:
                raise UsageError(f"{name} must be >= 1, got {value}")
        if threads is None:
            threads = 0 if num_workers == 1 else max(1, usable_cpus() // num_workers)
        request = Request(limits=limits or Limits(), decoders=tuple(decoders), threads=threads)
        self._limits, self._decoders, self._threads = request.limits, request.decoders, threads
        self.num_workers, self._recycle_after = num_workers, recycle_after
        self._environment = None if environment is None else dict(environment)
        self._mine = threading.local()
        self._children: set[DecoderProcess] = set()
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
        return self._executor.submit(self._decode, os.path.abspath(os.fsencode(path)), spec or SampleSpec(), size)

    def probe(self, path: str | bytes | os.PathLike[str]) -> VideoInfo:
        """The file as it is shown, counted from its packets: container frame counts, durations and rates are only
        compared with what is there. Blocks, raises as `decode` does."""
        return self.submit_probe(path).result()

    def submit_probe(self, path: str | bytes | os.PathLike[str]) -> Future[VideoInfo]:
        """As `probe`, at once: a future of the info."""
        name = os.path.abspath(os.fsencode(path))
        return self._executor.submit(self._asked, name, lambda child: child.probe(name))

    def cuts(
        self, path: str | bytes | os.PathLike[str], start_s: float | None = None, end_s: float | None = None
    ) -> list[float]:
        """Seconds of the file at which a new shot begins, in order; [] for a video without cuts. Blocks.

        The whole window is decoded; the time limit holds for each minute of film. Raises as `decode` does, and
        MissingDependencyError without PySceneDetect. See `cineloop.video.cuts`.
        """
        name = os.path.abspath(os.fsencode(path))
        found: list[float] = self._executor.submit(self._asked, name, lambda c: c.cuts(name, start_s, end_s)).result()
        return found

    def submit_survey(
        self, path: str | bytes | os.PathLike[str], start_s: float | None = None, end_s: float | None = None
    ) -> Future[Survey]:
        """A future of the survey of the window; the time limit is of a minute of film. Raises as `decode` does."""
        name = os.path.abspath(os.fsencode(path))
        return self._executor.submit(self._asked, name, lambda child: child.survey(name, start_s, end_s))

    def submit_cut(self, path: str | bytes | os.PathLike[str], target: str, cut: Cut) -> Future[Piece]:
        """A future of a part of the file, written to `target`; raises also DISK_FULL. See `cineloop.video.cut`."""
        name = os.path.abspath(os.fsencode(path))
        return self._executor.submit(self._asked, name, lambda child: child.cut(name, os.path.abspath(target), cut))

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
            child.process.kill()  # its thread sees the end
        self._executor.shutdown(wait=True, cancel_futures=True)
        while self._children:
            self._children.pop().kill()

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _child(self) -> DecoderProcess:
        """This thread's child, started or replaced when needed."""
        child: DecoderProcess | None = getattr(self._mine, "child", None)
        if child is not None and (child.served >= self._recycle_after or child.process.poll() is not None):
            self._drop(child)
            child = None
        if self._closed:
            raise CancelledError("the decoder pool is closed")
        if child is None:
            child = DecoderProcess(self._limits, self._threads, self._environment)
            with self._lock:
                self._children.add(child)
            self._mine.child = child
        return child

    def _drop(self, child: DecoderProcess) -> None:
        with self._lock:
            self._children.discard(child)
        if getattr(self._mine, "child", None) is child:
            self._mine.child = None
        child.kill()

    def _asked(self, path: bytes, question: Callable[[DecoderProcess], T]) -> T:
        """The answer of this thread's child."""
        child = self._child()
        try:
            return question(child)
        except Died as death:
            self._drop(child)
            raise self._item_error(path, death) from death

    def _decode(self, path: bytes, spec: SampleSpec, size: tuple[int, int] | None) -> Frames:
        deaths: list[Died] = []
        decoders = self._decoders
        again = False
        while True:
            child = self._child()
            try:
                frames = child.decode(path, spec, size, decoders)
            except Died as death:
                self._drop(child)
                if death.code == "DECODER_CRASH" and not death.decoder and not again:
                    again = True  # it may have been dead before it saw this file
                    continue
                rest = tuple(name for name in decoders if name != death.decoder)
                if death.decoder not in decoders or not any(installed(name) for name in rest):
                    raise self._item_error(path, death) from death
                deaths.append(death)
                decoders = rest
                continue
            more = (Notice(death.code, f"{death.message}; read by {frames.decoder}") for death in deaths)
            return replace(frames, warnings=(*frames.warnings, *more))

    def _item_error(self, path: bytes, death: Died) -> Exception:
        if self._closed:
            return CancelledError("the decoder pool was closed")
        hints = {"DECODE_TIMEOUT": "raise timeout_s if the file is only long", "OUT_OF_MEMORY": "raise memory_mb"}
        hint = hints.get(death.code, "the file may be damaged or hostile")
        return ItemError(f"{os.fsdecode(path)!r}: {death.message}", code=death.code, hint=hint)


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
        return VideoInfo.read(self._ask("probe", path)["info"], Path(os.fsdecode(path)))

    def cuts(self, path: bytes, start_s: float | None, end_s: float | None) -> list[float]:
        """See `DecoderPool.cuts`."""
        return [float(second) for second in self._ask("cuts", path, start_s=start_s, end_s=end_s)["cuts"]]

    def cut(self, path: bytes, target: str, cut: Cut) -> Piece:
        """See `DecoderPool.submit_cut`."""
        return Piece(**self._ask("cut", path, target=os.fsencode(target).decode("latin-1"), cut=asdict(cut))["piece"])

    def survey(self, path: bytes, start_s: float | None, end_s: float | None) -> Survey:
        """See `DecoderPool.submit_survey`."""
        reply = self._ask("survey", path, start_s=start_s, end_s=end_s)
        arrays, offset = {}, 0
        for name, (kind, shape) in reply["arrays"].items():
            dtype = np.dtype(kind)
            size = dtype.itemsize * math.prod(shape)
            if self._view is None or self._view.size < offset + size:
                raise Died("DECODER_CRASH", "the decoding process sent too few bytes", "pyav")
            part = self._view[offset : offset + size].tobytes()  # the shared memory is reused by the next file
            arrays[name], offset = np.frombuffer(part, dtype).reshape(shape), offset + size
        return Survey.read(reply["plain"], arrays)

    def decode(self, path: bytes, spec: SampleSpec, size: tuple[int, int] | None, decoders: tuple[str, ...]) -> Frames:
        """See `DecoderPool.decode`."""
        reply = self._ask("decode", path, spec=asdict(spec), size=size, decoders=decoders)
        shape = tuple(reply["shape"])
        view, count = self._view, math.prod(shape)
        if view is None or view.size < count:
            raise Died("DECODER_CRASH", "the decoding process sent no pixels", reply["frames"]["decoder"])
        pixels = view[:count].reshape(shape).copy()  # the shared memory is reused by the next file
        return Frames.read(pixels, reply["frames"])

    def kill(self) -> None:
        """End the process, whatever it is doing."""
        self.process.kill()
        self.process.wait()
        self._socket.close()

    def _ask(self, op: str, path: bytes, **more: Any) -> dict[str, Any]:
        self.served += 1
        body = json.dumps({"op": op, "path": path.decode("latin-1"), **more}).encode()
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
                try:
                    shared = mmap.mmap(descriptor, os.fstat(descriptor).st_size, prot=mmap.PROT_READ)
                finally:
                    os.close(descriptor)
                self._view = np.frombuffer(shared, dtype=np.uint8)
            if not more:
                raise self._death(decoder)
            data += more
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
