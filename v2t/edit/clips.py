"""Clips for the page: the file as it is where the browser plays it, its frames where it does not.

In: a file that a caption was made from. Out: a response with byte ranges; how many frames at which rate; frames as
JPEGs with their seconds, made on demand and kept in memory up to a limit. What a folder of captions names is
served only where its first bytes are media. Frames come from the killable decoders that read every clip.
"""

from __future__ import annotations

import asyncio
import json
import math
import mimetypes
import os
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cineloop.clip import open_video
from cineloop.errors import ItemError
from cineloop.video.sample import SampleSpec
from cineloop.video.worker import DecoderPool
from cineloop.web.faults import fault_of
from cineloop.web.incoming import HEAD_BYTES, check
from v2t.backends.payload import encode
from v2t.edit.settings import EditConfig

if TYPE_CHECKING:
    from starlette.responses import FileResponse

    from cineloop.video.frames import Frames
    from cineloop.video.info import VideoInfo

_QUALITY = 80
_MOST_FPS = 30.0
_NAME = "the video"
Window = tuple[float | None, float | None]  # start_s, end_s of a clip that is a part of its file


def file_response(file: Path) -> FileResponse:
    """The file, with byte ranges. Raises Fault: NOT_FOUND, UNREADABLE, EMPTY_FILE, NOT_MEDIA."""
    from starlette.responses import FileResponse

    try:
        descriptor, status = open_video(file)
    except ItemError as error:
        raise fault_of(error, name=_NAME) from error
    try:
        check(os.pread(descriptor, HEAD_BYTES, 0), _NAME)
    finally:
        os.close(descriptor)
    kind = mimetypes.guess_type(file.name)[0] or ""
    kind = kind if kind.startswith(("video/", "image/")) and "svg" not in kind else "application/octet-stream"
    return FileResponse(file, media_type=kind, stat_result=status, headers={"cache-control": "private, no-cache"})


class ClipFrames:
    """Facts and frames of clips; `close` ends the decoder."""

    def __init__(self, config: EditConfig) -> None:
        self.pool = DecoderPool(1, config.decode)
        self._limits = config.limits
        self._kept: OrderedDict[tuple[Any, ...], bytes] = OrderedDict()

    async def info(self, file: Path) -> VideoInfo:
        """The file as it is shown. Raises Fault with the codes of decoding."""
        try:
            return await asyncio.wrap_future(self.pool.submit_probe(file))
        except ItemError as error:
            raise fault_of(error, name=_NAME) from error

    async def jpegs(self, file: Path, window: Window) -> bytes:
        """JSON `{frames: [{time_s, jpeg}], fps, start_s, duration_s}`; every frame of a short clip, of a longer one as
        many as the limits allow, evenly. Raises as `info`."""
        status = os.stat(file)
        key = (str(file), status.st_size, status.st_mtime_ns, *window)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        info = await self.info(file)
        start_s, end_s = window[0] or 0.0, window[1] if window[1] is not None else info.duration_s
        seconds = max(1e-3, min(end_s, info.duration_s) - start_s)
        wanted = max(1, min(self._limits.preview_frames, math.ceil(seconds * min(info.fps, _MOST_FPS) + 1)))
        spec = SampleSpec(sampler="uniform", num_frames=wanted, start_s=window[0], end_s=window[1])
        scale = min(1.0, self._limits.preview_side / max(info.width, info.height))
        size = (max(2, round(info.height * scale)), max(2, round(info.width * scale)))
        try:
            frames = await asyncio.wrap_future(self.pool.submit(file, spec, size))
        except ItemError as error:
            raise fault_of(error, name=_NAME) from error
        data = await asyncio.to_thread(self._document, frames)
        self._kept[key] = data
        while len(self._kept) > 1 and sum(map(len, self._kept.values())) > self._limits.preview_mb << 20:
            self._kept.popitem(last=False)
        return data

    def _document(self, frames: Frames) -> bytes:
        jpegs = encode(frames.pixels, self._limits.preview_side, _QUALITY)
        shown = [{"time_s": round(float(t), 4), "jpeg": jpeg} for t, jpeg in zip(frames.times_s, jpegs, strict=True)]
        about = {"fps": float(frames.fps), "start_s": frames.start_s, "duration_s": float(frames.duration_s)}
        return json.dumps({"frames": shown, **about}).encode()

    def close(self) -> None:
        """End the decoder."""
        self.pool.close()
