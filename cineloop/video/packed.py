"""Sampled frames as bytes, for a process or a machine that shall see exactly these: a safetensors file in memory.

In: `Frames`. Out: bytes, and from them `Frames` again, equal to the bit. Nothing is compressed:
frames at a model's own size are small, and what the model sees does not depend on how it was carried.
"""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np

from cineloop.documents import parse_json
from cineloop.errors import ItemError, Notice
from cineloop.video.frames import Frames

MEDIA_TYPE = "video/x-cineloop"  # of data URLs that carry packed frames
_ABOUT = "cineloop_frames"  # the one key of the metadata: several would be written in any order, equal frames unlike
_MAX_HEADER = 64 << 10  # bytes; read before anything is known of the frames


def pack(frames: Frames) -> bytes:
    """The frames, their times and what is known of their source; equal frames give equal bytes."""
    from safetensors.numpy import save

    about = {name: value for name, value in frames.about().items() if name != "times_s"}  # exact, as a tensor
    tensors = {"pixels": np.ascontiguousarray(frames.pixels), "times_s": frames.times_s}
    return save(tensors, metadata={_ABOUT: json.dumps(about)})


def is_packed(data: bytes) -> bool:
    """Whether bytes are what `pack` makes; reads the header alone."""
    try:
        _about(data)
    except ItemError:
        return False
    return True


def unpack(data: bytes) -> Frames:
    """The frames in `data`.

    Raises:
        ItemError: NOT_MEDIA, the bytes are not what `pack` makes, or hold what cannot be frames.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    about = _about(data)
    try:
        tensors = load(data)
        return Frames(
            tensors["pixels"],
            tensors["times_s"],
            duration_s=float(about["duration_s"]),
            fps=float(about["fps"]),
            decoder=about["decoder"],
            warnings=tuple(map(Notice.read, about["warnings"])),
            start_s=float(about["start_s"]),
        )
    except (SafetensorError, KeyError, ValueError, TypeError, OverflowError) as error:
        raise ItemError(f"damaged frames: {error}", code="NOT_MEDIA") from error


def _about(data: bytes) -> dict[str, Any]:
    """What the header of a safetensors file says of its frames."""
    length = struct.unpack("<Q", data[:8])[0] if len(data) >= 8 else 0
    if 2 <= length <= min(_MAX_HEADER, len(data) - 8):
        try:
            about = parse_json(parse_json(data[8 : 8 + length])["__metadata__"][_ABOUT])
        except (ValueError, KeyError, TypeError):
            about = None
        if isinstance(about, dict):
            return about
    raise ItemError("no packed frames: expected what cineloop.video.packed.pack makes", code="NOT_MEDIA")
