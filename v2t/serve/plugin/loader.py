"""vLLM's video loader: the same frames as in training and local inference.

Packed frames (`cineloop.video.packed`) are taken exactly as they are. Of other files vLLM needs frames before it
knows the checkpoint, so the loader only passes their bytes on; the processor, which knows it, decodes them by `read`
with the checkpoint's own sampler, in a killable decoder process. Frame counts and rates in a request are ignored.
"""

from __future__ import annotations

import atexit
import functools
import os
import tempfile
from typing import TYPE_CHECKING, Any

import numpy as np
from vllm.multimodal.video import VIDEO_LOADER_REGISTRY, VideoLoader

from cineloop.errors import ItemError
from cineloop.video.packed import is_packed, unpack
from cineloop.video.worker import DecoderPool

if TYPE_CHECKING:
    from cineloop.video.frames import Frames
    from v2t.model import CineloopVideoProcessor

NAME = "cineloop"


@VIDEO_LOADER_REGISTRY.register(NAME, video_processor="CineloopVideoProcessor")
class CineloopVideoLoader(VideoLoader):
    """Frames uint8 (T, H, W, 3) where they came packed, else bytes as they came: uint8 (bytes,)."""

    @classmethod
    def load_bytes(cls, data: bytes, **kwargs: Any) -> tuple[np.ndarray, dict[str, Any]]:
        """The frames or the bytes, and their metadata; `kwargs`, which clients may have sent, change nothing. Raises
        ValueError: damaged frames; vLLM answers it as a bad request."""
        if not is_packed(data):
            return np.frombuffer(data, dtype=np.uint8), {"video_backend": NAME}
        try:
            frames = unpack(data)
        except ItemError as problem:
            raise ValueError(f"{problem.code}: {problem.message}") from problem
        # Unpacked: the cache key of a clip is its frames and times; equal frames may be packed to different bytes.
        return frames.pixels, metadata_of(frames)


def metadata_of(frames: Frames) -> dict[str, Any]:
    """Metadata of an array of frames: their times, for the processor."""
    about = {"duration": frames.duration_s, "fps": frames.fps, "start_s": frames.start_s}
    return {"frame_times_s": frames.times_s.tolist(), "video_backend": NAME, **about}


def read(data: bytes, processor: CineloopVideoProcessor) -> Frames:
    """The frames in the bytes of a video file, as `processor` would sample it. Raises ItemError: bytes that are not a
    video, or one beyond the decoder's limits."""
    size = (processor.size["height"], processor.size["width"])
    stretched = processor.do_resize and processor.fit == "stretch"
    with tempfile.NamedTemporaryFile(prefix="cineloop-") as file:  # readable by its owner alone
        file.write(data)
        file.flush()
        return _decoders(os.getpid()).decode(file.name, processor.sample_spec(), size if stretched else None)


@functools.cache
def _decoders(pid: int) -> DecoderPool:
    """This process's decoders: a forked one must not share its parent's."""
    pool = DecoderPool(2)
    atexit.register(pool.close)
    return pool
