"""Decoding of untrusted files for many clients: a fair queue, bounded memory, isolated processes.

In: an open file, which frames, its owner. Out: `Frames`, or a `Fault` with our message: what decoders report on hostile
files is only logged. Children decode (`cineloop.video.worker`), with PyAV only, whose FFmpeg is kept up to date;
decord's is of 2020. A child gets the file as a descriptor, so it reads exactly the file that was checked.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from cineloop.errors import CineloopError, ItemError, MissingDependencyError, Notice
from cineloop.files import TEMPORARY
from cineloop.log import logger, printable
from cineloop.video.frames import Frames
from cineloop.video.info import VideoInfo
from cineloop.video.limits import Limits
from cineloop.video.sample import SampleSpec
from cineloop.video.worker import DecoderPool
from cineloop.web.faults import Fault, fault_of
from cineloop.web.limits import FairQueue, MemoryBudget, MemoryLease, busy
from v2t.serve.settings import ServeLimits

T = TypeVar("T")
_CHILD_MB = 2048
_SHARE = 0.6  # of a child's memory that `cineloop.video.canvas` gives to the result
_RECYCLE_AFTER = 200  # files
# Codecs of cameras, phones, browsers and generators. Most vulnerabilities of FFmpeg are in rare decoders (JPEG 2000,
# FLIC, VVC in an mp4); sound is never decoded.
_CODECS = (
    "h264,hevc,vp8,vp9,libvpx,libvpx-vp9,av1,libdav1d,mpeg4,mpeg2video,mpeg1video,mjpeg,theora,flv,h263,prores,png,gif"
)
_DESCRIPTOR = re.compile(r"'?/proc/self/fd/\d+'?")  # what a decoder calls the file
_MESSAGES = {
    "NOT_MEDIA": "its content is not a known video or image format",
    "NO_INDEX": "its index (moov) is missing; the recording was interrupted",
    "NO_VIDEO_STREAM": "it contains no video stream",
    "NO_FRAMES": "it has no frames, or none in the requested range",
    "TRUNCATED": "it is truncated before the first frame",
    "CODEC_UNAVAILABLE": "unsupported codec; H.264, VP9 and AV1 are supported",
    "DECODE_ERROR": "it cannot be decoded: damaged, or an unsupported codec",
    "DECODE_TIMEOUT": "decoding it exceeds the time limit",
    "DECODER_CRASH": "it crashed the decoder: damaged or hostile",
    "OUT_OF_MEMORY": "decoding it exceeds the memory limit",
    "EMPTY_FILE": "it is empty",
    "CHANGED": "it changed while it was being read",
}


class FairDecoders:
    """The decoders of a server, of one event loop; `scratch` is a private folder, used only where descriptors cannot be
    handed to children."""

    def __init__(self, limits: ServeLimits, memory: MemoryBudget, scratch: Path) -> None:
        self.limits, self.memory, self._scratch = limits, memory, scratch
        self._child_mb = max(64, min(_CHILD_MB, limits.memory_mb))
        self.pool = DecoderPool(
            limits.decoders,
            Limits(
                timeout_s=limits.decode_s,
                total_s=limits.decode_s,
                memory_mb=self._child_mb,
                max_pixels=limits.pixels,
                max_duration_s=limits.duration_s,
                codecs=_CODECS,
            ),
            recycle_after=_RECYCLE_AFTER,
            decoders=("pyav",),
        )
        self.queue = FairQueue(limits.decoders)
        self._running: set[asyncio.Task[Any]] = set()

    async def decode(
        self,
        descriptor: int,
        spec: SampleSpec,
        size: tuple[int, int] | None,
        *,
        owner: str,
        name: str,
        held: AsyncExitStack,
    ) -> Frames:
        """Frames of an open file. Cancelling while queued frees the slot; cancelling while decoding keeps it until the
        decoder finishes, and until then what `held` holds, such as the file, stays open.

        Raises:
            Fault: the codes of `DecoderPool.decode`, BUSY.
        """
        return await self._in_slot(owner, held, lambda kept: self._decode(descriptor, spec, size, owner, name, kept))

    async def probe(self, descriptor: int, *, owner: str, name: str, held: AsyncExitStack) -> VideoInfo:
        """Facts of an open file, counted from its packets; as `decode` otherwise."""
        return await self._in_slot(owner, held, lambda kept: self._probe(descriptor, owner, name, kept))

    async def _in_slot(
        self, owner: str, held: AsyncExitStack, work: Callable[[AsyncExitStack], Coroutine[Any, Any, T]]
    ) -> T:
        """What `work` returns, in a slot that it keeps, with `held`, until it ends, whether or not a request waits."""
        async with held:
            await held.enter_async_context(self.queue.slot(owner))
            task = asyncio.ensure_future(work(held.pop_all()))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)

    async def _probe(self, descriptor: int, owner: str, name: str, held: AsyncExitStack) -> VideoInfo:
        async with held:
            path, given = self._file(descriptor, held)
            return await self._result(self.pool.submit_probe(path, **given), owner, name)

    async def _decode(
        self,
        descriptor: int,
        spec: SampleSpec,
        size: tuple[int, int] | None,
        owner: str,
        name: str,
        held: AsyncExitStack,
    ) -> Frames:
        # The largest size of the frames; for a sampler with a fixed number that number counts.
        most = spec.max_frames if spec.sampler in ("fps", "segment") else min(spec.num_frames, spec.max_frames)
        most *= (self.limits.pixels if size is None else size[0] * size[1]) * 3
        most, kept = min(most, int(_SHARE * (self._child_mb << 20))), 0
        async with held:
            path, given = self._file(descriptor, held)
            memory = MemoryLease(self.memory)
            memory.set(most)
            try:
                frames = await self._result(self.pool.submit(path, spec, size, **given), owner, name)
                kept = frames.pixels.nbytes
            finally:
                memory.set(kept)
            memory.end_with(frames.pixels)
            texts = (_DESCRIPTOR.sub(name, one.message).replace(path, name) for one in frames.warnings)
            pairs = zip(frames.warnings, texts, strict=True)
            return replace(frames, warnings=tuple(Notice(one.code, printable(text, 300)) for one, text in pairs))

    def _file(self, descriptor: int, held: AsyncExitStack) -> tuple[str, dict[str, int]]:
        """The path of an open file for the pool, and what else the pool is given."""
        if os.path.exists("/proc/self/fd"):
            return f"/proc/self/fd/{descriptor}", {"descriptor": descriptor}
        return held.enter_context(_copy(descriptor, self._scratch)).name, {}  # not Linux

    async def _result(self, future: concurrent.futures.Future[T], owner: str, name: str) -> T:
        """The result of a child's work. Raises Fault, with our message."""
        try:
            # asyncio.wrap_future would tie the future to itself, and its frames stay until the next collection.
            loop, ended = asyncio.get_running_loop(), asyncio.Event()
            future.add_done_callback(lambda _: loop.call_soon_threadsafe(ended.set))
            await ended.wait()
            return future.result()
        except concurrent.futures.CancelledError as error:
            raise busy("it is stopping") from error
        except CineloopError as error:
            logger.info("%s of %s: %s: %s", name, owner, error.code, printable(error.message, 500))
            raise self._fault(error, name) from error

    def _fault(self, error: CineloopError, name: str) -> Fault:
        """The client's fault: our message for the error's code."""
        if error.code == "TOO_LONG":
            return too_long(self.limits.duration_s)
        if error.code == "TOO_LARGE":
            text = f"{name}: its frames exceed the size limit"
            return fault_of(ItemError(f"{text} ({self.limits.pixels} pixels each)", code="TOO_LARGE"))
        if isinstance(error, ItemError):
            words = _MESSAGES.get(error.code, "it cannot be read")
            return fault_of(ItemError(f"{name}: {words}", code=error.code))
        if not isinstance(error, MissingDependencyError):
            logger.error("a decoder cannot do what was requested: %s", error)
        return Fault(503, "DECODER_DOWN", "the server cannot decode videos now; its log says why")

    async def close(self) -> None:
        """Kill the children and wait until their work is cleaned up."""
        await asyncio.to_thread(self.pool.close)
        if self._running:
            await asyncio.wait(self._running)


def too_long(most_s: float) -> Fault:
    """The fault of a video over the length limit."""
    return fault_of(ItemError(f"the video is longer than {most_s:g} s, the limit", code="TOO_LONG"))


def spec_within(spec: SampleSpec, max_frames: int, start_s: float | None, end_s: float | None) -> SampleSpec:
    """Frame sampling of a range, within the frames that a request has left.

    Samplers that grow with the video are limited to `max_frames`. Those of a fixed number must not be: the model was
    trained on that number. They are limited to one more than is left, by which the caller detects too many.
    """
    most = max_frames if spec.sampler in ("fps", "segment") else max_frames + 1
    return replace(spec, max_frames=min(spec.max_frames, most), start_s=start_s, end_s=end_s)


def _copy(descriptor: int, folder: Path) -> Any:
    """A private copy of an open file, removed when it is closed."""
    copy = tempfile.NamedTemporaryFile(dir=folder, prefix=TEMPORARY)  # noqa: SIM115, closed by the caller
    with open(os.dup(descriptor), "rb") as source:
        source.seek(0)
        shutil.copyfileobj(source, copy)
    copy.flush()
    return copy
