"""From the bytes of a video to the frames that training and local inference would have chosen.

vLLM loads media before it knows which checkpoint they are for, so the loader only passes the bytes on; the processor,
which does know, has them read here: packed frames (`v2t.video.packed`) exactly as they are, any other file with the
checkpoint's own sampler, in a decoder process that can be killed. What a request says about frames or rates is ignored.
"""

from __future__ import annotations

import atexit
import functools
import os
import tempfile
from typing import TYPE_CHECKING, Any

import numpy as np
from vllm.multimodal.video import VIDEO_LOADER_REGISTRY, VideoLoader

from v2t.video.packed import is_packed, unpack
from v2t.video.worker import DecoderPool

if TYPE_CHECKING:
    from v2t.model import CineloopVideoProcessor
    from v2t.video.frames import Frames

NAME = "cineloop"


@VIDEO_LOADER_REGISTRY.register(NAME, video_processor="CineloopVideoProcessor")
class CineloopVideoLoader(VideoLoader):
    """Bytes as they came: uint8 (bytes,), which no frames can be mistaken for."""

    @classmethod
    def load_bytes(cls, data: bytes, **kwargs: Any) -> tuple[np.ndarray, dict[str, Any]]:
        """The bytes, and metadata that say so; `kwargs`, which clients may have sent, change nothing."""
        return np.frombuffer(data, dtype=np.uint8), {"video_backend": NAME}


def read(data: bytes, processor: CineloopVideoProcessor) -> Frames:
    """The frames in the bytes of a video, as `processor` would sample the file.

    Raises:
        ItemError: bytes that are no video, or one beyond the decoder's limits.
    """
    if is_packed(data):
        return unpack(data)
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
