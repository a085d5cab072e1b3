"""Videos of requests as frames: addresses, fetching, uploads, decoding.

In: the text of a URL and its owner. Out: `Frames` for the model that is served, or a `Fault`. Every video passes the
same checks in this order: one parser and permission (`addresses`, `local_files`, the owner of an upload), size while it
arrives and content by its first bytes (`incoming`), a killable decoder with limits (`decoding`). Of a video inside the
request, a `data:` URL, the base64 is strict and its size is checked before it is decoded; frames that the client
sampled are subject to the limits of files.
"""

from __future__ import annotations

import asyncio
import binascii
import math
import os
import re
import tempfile
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

from cineloop.errors import ItemError, Notice
from cineloop.video import packed
from cineloop.video.frames import Frames
from cineloop.video.info import VideoInfo
from cineloop.web.addresses import Address, allowed_host, bad, check_host, parse
from cineloop.web.faults import Fault, fault_of
from cineloop.web.fetch import Fetcher
from cineloop.web.incoming import HEAD_BYTES, check, full, too_large
from cineloop.web.limits import MemoryBudget, MemoryLease
from cineloop.web.local_files import open_below
from cineloop.web.uploads import UploadStore
from v2t.serve.decoding import FairDecoders, spec_within, too_long
from v2t.serve.served import ServedModel
from v2t.serve.settings import ServeConfig, ServeLimits

_SWEEP_S = 30.0
_HEAD = re.compile(
    r"data:(?P<type>(?:video|image)/[a-z0-9][a-z0-9.+\-]{0,60})(?:;[a-z0-9\-]{1,30}=[\w.,+\- \"]{0,80}){0,4};base64",
    re.ASCII | re.IGNORECASE,
)
_LONGEST_HEAD = 512
_DECODER = re.compile(r"[\w.\-]{1,32}", re.ASCII)
_MOST_WARNINGS, _LONGEST_WARNING = 8, 200


@dataclass(frozen=True)
class OpenVideo(AbstractAsyncContextManager["OpenVideo"]):
    """A video of a request as an open file, which nothing is left of once it is closed; `start_s` and `end_s` are the
    range that is meant."""

    descriptor: int
    name: str
    start_s: float | None = None
    end_s: float | None = None
    held: AsyncExitStack = field(default_factory=AsyncExitStack)

    def duplicate(self) -> tuple[int, AsyncExitStack]:
        """The file once more, and what closes that: a decoder may read it longer than anybody waits."""
        copy, held = os.dup(self.descriptor), AsyncExitStack()
        held.callback(os.close, copy)
        return copy, held

    def hand_over(self, held: AsyncExitStack) -> OpenVideo:
        """The same file, from now on closed with `held`."""
        rest = self.held.pop_all()
        held.push_async_exit(rest)
        return replace(self, held=AsyncExitStack())

    async def __aexit__(self, *exc_info: object) -> None:
        await self.held.aclose()


class Media:
    """Fetching and decoding of clients' videos; an async context manager, of one event loop.

    `memory` counts the bytes that frames hold; bodies may be counted there too. Raises UsageError: an invalid entry of
    allow_hosts.
    """

    def __init__(self, config: ServeConfig, served: ServedModel) -> None:
        limits = config.limits
        self._config, self.served = config, served
        self._allowed = tuple(map(allowed_host, config.allow_hosts))
        self._file_bytes = limits.upload_mb << 20
        num_owners = max(1, len(config.keys()))
        self.memory = MemoryBudget(limits.memory_mb << 20, num_owners=num_owners)
        self.fetcher = Fetcher(self._allowed, max_bytes=self._file_bytes, timeout_s=limits.fetch_s)
        total = int(limits.uploads_gb * (1 << 30))
        self.uploads = UploadStore(
            file_bytes=self._file_bytes,
            total_bytes=total,
            owner_bytes=total // 2 if num_owners > 1 else total,
            ttl_s=limits.upload_ttl_s,
        )
        self.decoders = FairDecoders(limits, self.memory, self.uploads.folder)
        self.decoder_queue = self.decoders.queue
        self._sweeper: asyncio.Task[None] | None = None

    async def frames(self, url: str, *, owner: str, param: str, max_frames: int) -> Frames:
        """The frames of the video at `url` for the model; `param` is the field of the URL, `max_frames` what is left.

        Raises:
            Fault: BAD_URL, URL_FORBIDDEN, NOT_FOUND, FETCH_FAILED, NOT_MEDIA, TOO_LARGE, TOO_LONG, TOO_MANY_FRAMES,
                DISK_FULL, BUSY, and the codes of decoding.
        """
        try:
            address = parse(url)
            if max_frames < 1:
                raise _too_many(0)
            if address.kind == "data":
                media_type, start = _head_of(address.body)
                if media_type == packed.MEDIA_TYPE:
                    return await self._pack(address, start, max_frames)
            return await self.decode(await self._open(address, owner), max_frames, owner)
        except Fault as fault:
            fault.param = fault.param or param
            raise

    async def open(self, url: str, *, owner: str, param: str) -> OpenVideo:
        """The video at `url`, whole and checked by its first bytes; a context manager. Raises as `frames`."""
        try:
            return await self._open(parse(url), owner)
        except Fault as fault:
            fault.param = fault.param or param
            raise

    async def probe(self, opened: OpenVideo, owner: str) -> VideoInfo:
        """Facts of an open video. Raises Fault: the codes of decoding."""
        descriptor, held = opened.duplicate()
        return await self.decoders.probe(descriptor, owner=owner, name=opened.name, held=held)

    async def decode(
        self,
        opened: OpenVideo,
        max_frames: int,
        owner: str,
        *,
        info: VideoInfo | None = None,
    ) -> Frames:
        """Frames of an open video for the model, which is closed then; `info` where it was probed already. Raises
        Fault."""
        size, most_side = self.served.frame_size, self.served.max_side
        if most_side is not None:
            async with opened.held as held:
                size = frame_size(info or await self.probe(opened, owner), most_side)
                opened = replace(opened, held=held.pop_all())
        spec = spec_within(self.served.spec, max_frames, opened.start_s, opened.end_s)
        frames = await self.decoders.decode(
            opened.descriptor, spec, size, owner=owner, name=opened.name, held=opened.held
        )
        if len(frames) > max_frames:
            raise _too_many(max_frames)
        return frames

    async def _open(self, address: Address, owner: str) -> OpenVideo:
        """See `open`."""
        async with AsyncExitStack() as held:
            if address.kind == "data":
                media_type, start = _head_of(address.body)
                if media_type == packed.MEDIA_TYPE:
                    raise _frames_fault()
                # Not of the uploads' quota: the body is in memory, whose budget bounds these files too.
                given = (address.body, start, self._file_bytes, self.uploads.folder)
                descriptor = held.enter_context(await asyncio.to_thread(_content_file, *given)).fileno()
            elif address.kind == "upload":
                descriptor = held.enter_context(self.uploads.use(owner, address.body)).fileno()
            elif address.kind == "file":
                descriptor = open_below(address, self._config.roots)
                held.callback(os.close, descriptor)
                check(os.pread(descriptor, HEAD_BYTES, 0), address.name)
            else:
                check_host(address, self._allowed)
                arriving = held.enter_context(self.uploads.incoming(owner, address.name))
                await self.fetcher.fetch(address, arriving)
                await arriving.seal()
                descriptor = arriving.descriptor
            return OpenVideo(descriptor, address.name, address.start_s, address.end_s, held.pop_all())

    async def _pack(self, address: Address, start: int, max_frames: int) -> Frames:
        if not self.served.is_ours:
            raise _frames_fault()
        if address.start_s is not None or address.end_s is not None:
            raise bad("frames sampled by the client have a range already; omit #t=")
        most, kept = (len(address.body) - start) // 4 * 3, 0

        def read() -> Frames:
            data = _content(address.body, start, self._file_bytes)
            return client_frames(data, self.served.frame_size, max_frames, self._config.limits)

        memory = MemoryLease(self.memory)
        memory.set(2 * most)  # the bytes, and the frames made of them
        try:
            frames = await asyncio.to_thread(read)
            kept = frames.pixels.nbytes
        finally:
            memory.set(kept)
        memory.end_with(frames.pixels)
        return frames

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(min(_SWEEP_S, self.uploads.ttl_s / 4))
            self.uploads.sweep()

    async def __aenter__(self) -> Media:
        self._sweeper = asyncio.create_task(self._sweep())
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
            with suppress(asyncio.CancelledError):
                await self._sweeper
        await self.fetcher.close()
        await self.decoders.close()
        self.uploads.close()


def frame_size(info: VideoInfo, most_side: int) -> tuple[int, int]:
    """(H, W) of a video's frames, the longer side at most `most_side`."""
    scale = min(1.0, most_side / max(info.height, info.width))
    return max(1, round(info.height * scale)), max(1, round(info.width * scale))


def _head_of(url: str) -> tuple[str, int]:
    """The media type of a data URL, and where its content begins. Raises Fault BAD_URL: neither video nor image."""
    comma = url.find(",", 0, _LONGEST_HEAD)
    head = _HEAD.fullmatch(url, 0, comma) if comma >= 0 else None
    if head is None:
        raise bad("expected data:video/TYPE;base64,… or data:image/TYPE;base64,…")
    media_type = head["type"].lower()
    if media_type == "video/jpeg":
        raise bad("lists of JPEG frames are not supported, as they have no times; send the video itself")
    return media_type, comma + 1


def _content(url: str, start: int, max_bytes: int) -> bytes:
    """The bytes after `start`, strictly base64 (RFC 4648 section 4, padded, no line breaks). Raises Fault 413 TOO_LARGE
    or 400 BAD_URL."""
    if (len(url) - start) // 4 * 3 > max_bytes + 2:
        raise too_large(max_bytes)
    try:
        data = binascii.a2b_base64(url[start:].encode("ascii"), strict_mode=True)
    except (ValueError, UnicodeEncodeError) as error:  # binascii.Error is a ValueError
        raise bad("invalid base64") from error
    if len(data) > max_bytes:
        raise too_large(max_bytes)
    return data


def _content_file(url: str, start: int, max_bytes: int, folder: Path) -> BinaryIO:
    """A file with the bytes after `start`, a video or image, that nothing is left of once it is closed; `folder` is of
    its disk. Raises Fault as `_content`, and 422 EMPTY_FILE or NOT_MEDIA, 507 DISK_FULL."""
    data = _content(url, start, max_bytes)
    check(data[:HEAD_BYTES], "the video")
    try:
        file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115, closed by the caller
        file.write(data)
        file.flush()
    except OSError as error:
        raise full("the server's disk is full") from error
    return file


def client_frames(data: bytes, frame_size: tuple[int, int] | None, max_frames: int, limits: ServeLimits) -> Frames:
    """Frames that a client sampled (`cineloop.video.packed`, which checks their form), within the limits of files;
    `frame_size` is the (H, W) they must have, None for any. Raises Fault NOT_MEDIA, TOO_MANY_FRAMES, TOO_LARGE,
    TOO_LONG."""
    try:
        made = packed.unpack(data)
    except ItemError as error:
        raise _damage("not in the format of cineloop.video.packed") from error
    height, width = made.size
    if len(made) > max_frames:
        raise _too_many(max_frames)
    if frame_size is not None and (height, width) != frame_size:
        raise _damage(f"expected {frame_size[1]}x{frame_size[0]}; got {width}x{height}")
    if height * width > limits.pixels:
        raise fault_of(ItemError(f"the frames have more than {limits.pixels} pixels, the limit", code="TOO_LARGE"))
    times_s, start_s = made.times_s, made.start_s
    if not (math.isfinite(start_s) and start_s >= 0 and times_s[0] >= 0):
        raise _damage("expected times of at least 0 s")
    if max(made.duration_s, start_s, float(times_s[-1])) > limits.duration_s:
        raise too_long(limits.duration_s)
    if not isinstance(made.decoder, str) or not _DECODER.fullmatch(made.decoder):
        raise _damage("invalid decoder name")
    warnings = tuple(
        Notice(*("".join(filter(str.isprintable, text))[:_LONGEST_WARNING] for text in (one.code, one.message)))
        for one in made.warnings[:_MOST_WARNINGS]
    )
    return replace(made, warnings=warnings)


def _frames_fault() -> Fault:
    return bad("this model takes no frames sampled by the client; send the video itself")


def _too_many(most: int) -> Fault:
    return Fault(413, "TOO_MANY_FRAMES", f"too many frames: the request has {most} left")


def _damage(why: str) -> Fault:
    return fault_of(ItemError(f"invalid frames: {why}", code="NOT_MEDIA"))
