"""Decoding in child processes that can be killed: wall clock, memory, frame size and length are limited.

In: paths and a `SampleSpec`. Out: `Frames`, or an `ItemError` with a stable code. A decoder may hang in native code
with Python's lock held, or crash (decord issue #373 and similar bugs): only another process survives that. Each worker
is a thread here and a child process of its own (`cineloop.video.decoder_process`), started again
after a death or after `recycle_after` files. When a decoder dies, the next installed one is tried once, and the frames
say so in their warnings.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from cineloop.errors import ItemError, Notice, UsageError
from cineloop.threads import usable_cpus
from cineloop.video.container import name_of
from cineloop.video.decode import Request, is_installed
from cineloop.video.decoder_process import Copy, DecoderDeath, DecoderProcess
from cineloop.video.frames import Frames
from cineloop.video.info import VideoInfo
from cineloop.video.limits import DECODERS, Limits
from cineloop.video.sample import SampleSpec

__all__ = ["DecoderPool", "Limits", "SampleSpec"]
T = TypeVar("T")


class DecoderPool(AbstractContextManager["DecoderPool"]):
    """Children that decode; a context manager; its methods may be called from any thread.

    Args:
        num_workers: child processes, >= 1; each is started when its first file comes.
        limits: what one file may cost.
        recycle_after: files after which a child is replaced, >= 1, so that leaks of native code stay small.
        decoders: order of preference; a single name switches the fallbacks off.
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
        self,
        path: str | bytes | os.PathLike[str],
        spec: SampleSpec | None = None,
        size: tuple[int, int] | None = None,
        *,
        descriptor: int | None = None,
    ) -> Future[Frames]:
        """As `decode`, at once: a future of the frames. Files are begun in the order they are given.

        With `descriptor`, open until the future is done, exactly that file is read and `path` is only its name (Linux).
        """
        name = os.path.abspath(os.fsencode(path))
        return self._executor.submit(self._decode, name, spec or SampleSpec(), size, descriptor)

    def probe(self, path: str | bytes | os.PathLike[str]) -> VideoInfo:
        """The file as it is shown, counted from its packets: container frame counts, durations and rates are only
        compared with what is there. Blocks, raises as `decode` does."""
        return self.submit_probe(path).result()

    def submit_probe(self, path: str | bytes | os.PathLike[str], *, descriptor: int | None = None) -> Future[VideoInfo]:
        """As `probe`, at once: a future of the info. `descriptor` as in `submit`."""
        name = os.path.abspath(os.fsencode(path))

        def read(reply: Any, copy: Copy) -> VideoInfo:
            return VideoInfo.read(reply["info"], Path(os.fsdecode(name)))

        return self._executor.submit(self._ask, "probe", name, read, descriptor=descriptor)

    def cuts(
        self, path: str | bytes | os.PathLike[str], start_s: float | None = None, end_s: float | None = None
    ) -> list[float]:
        """Seconds of the file at which a new shot begins, in order; [] for a video without cuts. Blocks.

        The whole window is decoded; the time limit holds for each minute of film. Raises as `decode` does, and
        MissingDependencyError without PySceneDetect. See `cineloop.video.cuts`.
        """
        given = {"start_s": start_s, "end_s": end_s}
        return self.submit_job(path, "cineloop.video.cuts:job", given, lambda cuts, _: list(map(float, cuts))).result()

    def submit_job(
        self,
        path: str | bytes | os.PathLike[str],
        job: str,
        given: dict[str, Any],
        read: Callable[[Any, dict[str, np.ndarray]], T],
    ) -> Future[T]:
        """A future of what a function of this package makes of the file in the child; the time limit is of a minute of
        film. Raises as `decode` does.

        Args:
            path: the file.
            job: the function as `module:function`, see `cineloop.video.child.job_of`.
            given: its further arguments, JSON values.
            read: makes the result of its JSON values and arrays; the child is a stranger, so what `read` raises on a
                wrong form counts as a crash.
        """

        def read_arrays(reply: Any, copy: Copy) -> T:
            arrays: dict[str, np.ndarray] = {}
            offset = 0
            for name, (kind, shape) in reply["arrays"].items():
                arrays[name] = copy(shape, np.dtype(kind), offset)
                offset += arrays[name].nbytes
            return read(reply["plain"], arrays)

        path = os.path.abspath(os.fsencode(path))
        return self._executor.submit(self._ask, "job", path, read_arrays, job=job, given=given)

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
            child = DecoderProcess(self._limits, self._threads)
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

    def _ask(self, op: str, path: bytes, read: Callable[[Any, Copy], T], **more: Any) -> T:
        """The answer of this thread's child, see `DecoderProcess.ask`."""
        child = self._child()
        try:
            return child.ask(op, path, read, **more)
        except DecoderDeath as death:
            self._drop(child)
            raise self._item_error(path, death) from death

    def _decode(self, path: bytes, spec: SampleSpec, size: tuple[int, int] | None, descriptor: int | None) -> Frames:
        def read(reply: Any, copy: Copy) -> Frames:
            return Frames.read(copy(reply["shape"], np.dtype(np.uint8)), reply["frames"])

        deaths: list[DecoderDeath] = []
        decoders = self._decoders
        again = False
        while True:
            child = self._child()
            try:
                frames = child.ask("decode", path, read, descriptor, spec=asdict(spec), size=size, decoders=decoders)
            except DecoderDeath as death:
                self._drop(child)
                if death.code == "DECODER_CRASH" and not death.decoder and not again:
                    again = True  # it may have been dead before it saw this file
                    continue
                rest = tuple(name for name in decoders if name != death.decoder)
                if death.decoder not in decoders or not any(is_installed(name) for name in rest):
                    raise self._item_error(path, death) from death
                deaths.append(death)
                decoders = rest
                continue
            more = (Notice(death.code, f"{death.message}; read by {frames.decoder}") for death in deaths)
            return replace(frames, warnings=(*frames.warnings, *more))

    def _item_error(self, path: bytes, death: DecoderDeath) -> Exception:
        if self._closed:
            return CancelledError("the decoder pool was closed")
        hints = {"DECODE_TIMEOUT": "raise timeout_s if the file is only long", "OUT_OF_MEMORY": "raise memory_mb"}
        hint = hints.get(death.code, "the file may be damaged or hostile")
        return ItemError(f"{name_of(path)!r}: {death.message}", code=death.code, hint=hint)
