"""From the bytes of a video to the frames that training and local inference would have chosen.

Packed frames (`cineloop.video.packed`) are taken exactly as they are. Of other files vLLM wants frames before it
knows which checkpoint they are for, so the loader only passes their bytes on; the processor, which does know, has
them read here with the checkpoint's own sampler, in a decoder process that can be killed. What a request says about
frames or rates is ignored.
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
        """The frames or the bytes, and their metadata; `kwargs`, which clients may have sent, change nothing.

        Raises:
            ValueError: damaged frames; vLLM answers it as a bad request.
        """
        if not is_packed(data):
            return np.frombuffer(data, dtype=np.uint8), {"video_backend": NAME}
        try:
            frames = unpack(data)
        except ItemError as problem:
            raise ValueError(f"{problem.code}: {problem.message}") from problem
        # Not left packed: by its frames and times a clip is known again, while equal frames are packed to other bytes.
        return frames.pixels, metadata_of(frames)


def metadata_of(frames: Frames) -> dict[str, Any]:
    """What goes with an array of frames, so that the processor knows when each is shown."""
    about = {"duration": frames.duration_s, "fps": frames.fps, "start_s": frames.start_s}
    return {"frame_times_s": frames.times_s.tolist(), "video_backend": NAME, **about}


def read(data: bytes, processor: CineloopVideoProcessor) -> Frames:
    """The frames in the bytes of a video file, as `processor` would sample it.

    Raises:
        ItemError: bytes that are no video, or one beyond the decoder's limits.
    """
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
