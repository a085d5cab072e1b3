"""For the tests marked `vllm`: an engine in this process, and clips of every kind, each as a server would get it.

In: a model folder. Out: an engine that is shut down again, with what its towers were given and gave on record.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from cineloop.video.frames import Frames
from cineloop.video.packed import pack

ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_PLUGINS": "cineloop",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_HOST_IP": "127.0.0.1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "DO_NOT_TRACK": "1",
}


@dataclass
class Seen:
    """What passed through the towers: seconds (T,) of every video, and its visual tokens (S * Q, D)."""

    times_s: list[list[float]] = field(default_factory=list)
    tokens: list[Any] = field(default_factory=list)


@contextmanager
def engine(folder: Path, **options: Any) -> Iterator[tuple[Any, Seen]]:
    """A `vllm.LLM` in this process, and a record of its towers."""
    os.environ.update(ENVIRONMENT)
    import torch
    from vllm import LLM
    from vllm.distributed import cleanup_dist_env_and_memory

    settings = {"dtype": "float32", "enforce_eager": True, "max_num_seqs": 4, "limit_mm_per_prompt": {"video": 4}}
    seen = Seen()

    def watch(model: Any) -> None:
        embed = model.embed_multimodal

        def recorded(**kwargs: Any) -> Any:
            tokens = embed(**kwargs)
            counts = kwargs["num_segments"].flatten().tolist()
            times, mask = kwargs["frame_times_bits"].view(torch.float32), kwargs["frame_mask"].bool()
            for seconds, real in zip(times.split(counts), mask.split(counts), strict=True):
                seen.times_s.append(seconds[real].tolist())
            seen.tokens += [video.cpu().clone() for video in tokens]
            return tokens

        model.embed_multimodal = recorded

    llm = LLM(model=str(folder), **{**settings, **options})
    try:
        llm.apply_model(watch)
        yield llm, seen
    finally:
        llm.llm_engine.engine_core.shutdown()
        del llm
        cleanup_dist_env_and_memory()


def video_url(data: bytes, media_type: str = "video/mp4") -> dict[str, Any]:
    """A content part of OpenAI's chat form."""
    url = f"data:{media_type};base64,{base64.b64encode(data).decode()}"
    return {"type": "video_url", "video_url": {"url": url}}


def packed_url(frames: Frames) -> dict[str, Any]:
    """Frames that were sampled already, as a content part."""
    return video_url(pack(frames), "video/x-cineloop")


def write_variable(pixels: np.ndarray, times_ms: list[int], path: Path) -> None:
    """Frames (T, H, W, 3) shown at these milliseconds, as an mp4 of variable rate."""
    import av

    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=30)
        stream.height, stream.width, stream.pix_fmt = *pixels.shape[1:3], "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for pixel, time in zip(pixels, times_ms, strict=True):
            frame = av.VideoFrame.from_ndarray(pixel, format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
