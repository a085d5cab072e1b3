"""Sampled frames as bytes, for a process or a machine that shall see exactly these: a safetensors file in memory.

In: `Frames`. Out: bytes, and from them `Frames` again, equal to the bit. Nothing is compressed:
frames at a model's own size are small, and what the model sees does not depend on how it was carried.
"""

from __future__ import annotations

import json
import struct

import numpy as np

from v2t.base.errors import ItemError
from v2t.video.frames import Frames

MEDIA_TYPE = "video/x-cineloop"  # of data URLs that carry packed frames
_FORM = "cineloop frames 1"
_MAX_HEADER = 1 << 20


def pack(frames: Frames) -> bytes:
    """The frames, their times and what is known of their source."""
    from safetensors.numpy import save

    about = {
        "form": _FORM,
        "duration_s": json.dumps(frames.duration_s),
        "fps": json.dumps(frames.fps),
        "start_s": json.dumps(frames.start_s),
        "decoder": frames.decoder,
        "warnings": json.dumps(list(frames.warnings)),
    }
    return save({"pixels": np.ascontiguousarray(frames.pixels), "times_s": frames.times_s}, metadata=about)


def is_packed(data: bytes) -> bool:
    """Whether bytes are what `pack` makes; reads the header alone."""
    try:
        return _about(data)["form"] == _FORM
    except (ItemError, KeyError):
        return False


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
        warnings = json.loads(about["warnings"])
        return Frames(
            tensors["pixels"],
            tensors["times_s"],
            duration_s=float(about["duration_s"]),
            fps=float(about["fps"]),
            decoder=about["decoder"],
            warnings=tuple(map(str, warnings)),
            start_s=float(about["start_s"]),
        )
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise ItemError(f"damaged frames: {error}", code="NOT_MEDIA") from error


def _about(data: bytes) -> dict[str, str]:
    """The metadata in the header of a safetensors file."""
    length = struct.unpack("<Q", data[:8])[0] if len(data) >= 8 else 0
    if 2 <= length <= min(_MAX_HEADER, len(data) - 8):
        try:
            header = json.loads(data[8 : 8 + length])
        except (ValueError, RecursionError):
            header = None
        about = header.get("__metadata__") if isinstance(header, dict) else None
        if isinstance(about, dict):
            return about
    raise ItemError("no packed frames: expected what v2t.video.packed.pack makes", code="NOT_MEDIA")
