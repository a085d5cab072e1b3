"""Videos of requests as frames: addresses, fetching, uploads, decoding.

In: the text of a URL and its owner. Out: `Frames` for the model that is served, or a `Fault`. Every video passes the
same checks in this order: one parser and permission (`addresses`, `local_files`, the owner of an upload), size while it
arrives and content by its first bytes (`incoming`), a killable decoder with limits (`decoding`).
"""

from __future__ import annotations

import asyncio
import os
from contextlib import ExitStack, suppress

from cineloop.video import packed
from cineloop.video.frames import Frames
from cineloop.web.addresses import Address, allowed_host, bad, check_host, parse
from cineloop.web.faults import Fault
from cineloop.web.fetch import Fetcher
from cineloop.web.incoming import HEAD_BYTES, check
from cineloop.web.limits import MemoryBudget
from cineloop.web.local_files import open_below
from cineloop.web.uploads import UploadStore
from v2t.serve import data_urls
from v2t.serve.decoding import Decoders, limited
from v2t.serve.served import Served
from v2t.serve.settings import ServeConfig

_SWEEP_S = 30.0


class Media:
    """Fetching and decoding of clients' videos; an async context manager, of one event loop.

    Args:
        config: permissions and limits. served: the model, which declares its frame sampling.

    Attributes:
        uploads: the clients' files. memory: bytes held by frames; bodies may be counted there too.
        fetcher, decoders: see their classes.

    Raises:
        UsageError: an invalid entry of allow_hosts.
    """

    def __init__(self, config: ServeConfig, served: Served) -> None:
        limits = config.limits
        self._config, self._served = config, served
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
        self.decoders = Decoders(limits, self.memory, self.uploads.folder)
        self._sweeper: asyncio.Task[None] | None = None

    async def frames(self, url: str, *, owner: str, param: str, max_frames: int) -> Frames:
        """The frames of the video at `url` for the model.

        Args:
            url: a video as `cineloop.web.addresses` describes it.
            owner: of the request. param: the field of the URL, for messages.
            max_frames: frames that the request has left.

        Raises:
            Fault: BAD_URL, URL_FORBIDDEN, NOT_FOUND, FETCH_FAILED, NOT_MEDIA, TOO_LARGE, TOO_LONG, TOO_MANY_FRAMES,
                DISK_FULL, BUSY, and the codes of decoding.
        """
        try:
            address = parse(url)
            if max_frames < 1:
                raise data_urls.too_many(0)
            with ExitStack() as held:
                if address.kind == "data":
                    media_type, start = data_urls.split(address.body)
                    if media_type == packed.MEDIA_TYPE:
                        return await self._packed(address, start, max_frames)
                    # Not of the uploads' quota: the body is in memory, whose budget bounds these files too.
                    given = (address.body, start, self._file_bytes, self.uploads.folder)
                    descriptor = held.enter_context(await asyncio.to_thread(data_urls.content_file, *given)).fileno()
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
                spec = limited(self._served.spec, max_frames, address.start_s, address.end_s)
                frames = await self.decoders.decode(
                    descriptor, spec, self._served.frame_size, owner=owner, name=address.name, held=held.pop_all()
                )
            if len(frames) > max_frames:
                raise data_urls.too_many(max_frames)
        except Fault as fault:
            fault.param = fault.param or param
            raise
        return frames

    async def _packed(self, address: Address, start: int, max_frames: int) -> Frames:
        if not self._served.is_ours:
            raise bad("this model takes no frames sampled by the client; send the video itself")
        if address.start_s is not None or address.end_s is not None:
            raise bad("frames sampled by the client have a range already; omit #t=")
        most, kept = (len(address.body) - start) // 4 * 3, 0
        self.memory.hold(2 * most)  # the bytes, and the frames made of them
        try:
            data = await asyncio.to_thread(data_urls.content, address.body, start, self._file_bytes)
            frames = await asyncio.to_thread(
                data_urls.frames,
                data,
                frame_size=self._served.frame_size,
                max_pixels=self._config.limits.pixels,
                max_frames=max_frames,
                max_duration_s=self._config.limits.duration_s,
            )
            kept = frames.pixels.nbytes
        finally:
            self.memory.hold(kept - 2 * most)
        self.memory.release_with(frames.pixels)
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
