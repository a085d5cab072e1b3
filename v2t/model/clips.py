"""Clips of every input type as arrays: type detection, conversion, resizing, cutting into segments.

In: arrays, tensors, pictures, nestings of them. Out: uint8 (T, H, W, 3), `Frames`, segments of equal length.
Pure functions, without torch. Letters: T frames of a clip, S segments, F frames of a segment, H W pixels, C channels.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cineloop.errors import UsageError
from cineloop.video.frames import Frames

FITS = ("stretch", "letterbox")
LETTERBOX_GREY = 127
ASSUMED_FPS = 24.0  # of arrays that come without times; the rate that transformers' processors fall back to


@dataclass(frozen=True)
class Still:
    """A picture as a clip of one frame: uint8 (1, H, W, 3)."""

    pixels: np.ndarray

    def frames(self) -> Frames:
        """As a clip of one frame, at second zero."""
        return Frames(self.pixels, np.zeros(1), duration_s=0.0, fps=1.0, decoder="image")


def flat_clips(videos: Any) -> list[Any]:
    """Clips in order, out of any nesting; pictures become `Still`, a list of pictures becomes one array."""
    if isinstance(videos, list | tuple):
        if len(videos) and all(_is_picture(item) for item in videos):
            return [np.concatenate([rgb_frames(_array(item)[None]) for item in videos])]  # (T, H, W, 3)
        return [clip for item in videos for clip in flat_clips(item)]
    if _is_picture(videos):
        return [Still(rgb_frames(_array(videos)[None]))]
    return [videos]


def rgb_frames(video: Any) -> np.ndarray:
    """uint8 (T, H, W, 3) from an array or tensor (T, H, W, C) or (T, C, H, W) with one, three or four channels."""
    pixels = _array(video)
    if pixels.ndim == 4 and pixels.shape[-1] not in (1, 3, 4) and pixels.shape[1] in (1, 3, 4):
        pixels = pixels.transpose(0, 2, 3, 1)  # (T, H, W, C)
    if pixels.ndim != 4 or pixels.dtype != np.uint8 or pixels.shape[-1] not in (1, 3, 4) or not len(pixels):
        raise UsageError(
            f"a clip must be a path, Frames, or uint8 (T, H, W, 3) with T >= 1; got {type(video).__name__} "
            f"{pixels.dtype} {pixels.shape}"
        )
    return pixels[..., :3] if pixels.shape[-1] >= 3 else pixels.repeat(3, axis=-1)  # (T, H, W, 3)


def fit_frames(pixels: np.ndarray, size: tuple[int, int], fit: str = "stretch") -> np.ndarray:
    """(T, H, W, 3) uint8 to (T, *size, 3), pixel for pixel as `cineloop.video` resizes while it decodes."""
    from cineloop.video.canvas import resize_picture

    height, width = pixels.shape[1:3]
    if (height, width) == tuple(size):
        return pixels
    inner = size
    if fit == "letterbox":
        scale = min(size[0] / height, size[1] / width)
        inner = (max(1, round(height * scale)), max(1, round(width * scale)))
    top, left = (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2
    out = np.full((len(pixels), *size, 3), LETTERBOX_GREY, dtype=np.uint8)
    for index, frame in enumerate(pixels):
        out[index, top : top + inner[0], left : left + inner[1]] = resize_picture(np.ascontiguousarray(frame), inner)
    return out


def cut_segments(pixels: np.ndarray, times_s: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Segments of `length` frames: pixels (T, 3, H, W) to (S, F, 3, H, W), times and mask (S, F); zeros fill up."""
    segments = -(-len(pixels) // length)
    missing = segments * length - len(pixels)
    mask = np.arange(segments * length) < len(pixels)  # (S*F,)
    times = np.concatenate([times_s, np.repeat(times_s[-1:], missing)]).astype(np.float32)  # (S*F,)
    filled = np.concatenate([pixels, np.zeros((missing, *pixels.shape[1:]), pixels.dtype)])  # (S*F, 3, H, W)
    shape = (segments, length)
    return filled.reshape(*shape, *pixels.shape[1:]), times.reshape(shape), mask.reshape(shape)


def frames_with_times(pixels: np.ndarray, metadata: Mapping | None, times: Any) -> Frames:
    """Frames of an array (T, H, W, 3), its seconds from `times` (T,) or from metadata with `fps`.

    Without either, `ASSUMED_FPS` is used with a warning, as other processors of transformers do.
    """
    fps = None if metadata is None else metadata.get("fps")
    if times is None and fps:
        indices = metadata.get("frames_indices") if metadata is not None else None
        times = np.arange(len(pixels)) / fps if indices is None else np.asarray(indices, dtype=np.float64) / fps
    if times is None and len(pixels) == 1:
        times = [0.0]
    if times is None:
        fps = ASSUMED_FPS
        warnings.warn(
            f"an array of {len(pixels)} frames has no times: {fps:g} frames a second are assumed, and "
            "times in the answer may be wrong; give frame_times_s=[...] seconds, or video_metadata with fps, or a path",
            stacklevel=2,
        )
        times = np.arange(len(pixels)) / fps
    times = np.asarray(times, dtype=np.float64)
    gap = float(np.diff(times).mean()) if len(times) > 1 else 1.0
    duration = (metadata or {}).get("duration") or float(times[-1] - times[0]) + gap
    return Frames(pixels, times, duration_s=max(duration, 0.0), fps=float(fps or 1 / gap))


def _is_picture(item: Any) -> bool:
    return (hasattr(item, "convert") and hasattr(item, "getbands")) or getattr(item, "ndim", None) == 3


def _array(item: Any) -> np.ndarray:
    if hasattr(item, "convert") and hasattr(item, "getbands"):  # a PIL image, whatever its mode
        return np.asarray(item.convert("RGB"))  # (H, W, 3)
    array = np.asarray(item.cpu() if hasattr(item, "cpu") else item)
    if array.ndim == 3 and array.shape[-1] not in (1, 3, 4) and array.shape[0] in (1, 3, 4):
        return array.transpose(1, 2, 0)  # (H, W, C)
    return array
