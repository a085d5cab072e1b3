"""Pictures on their way in and out of a pipeline: the first frame that is given, the clips that come back.

In: a picture file; what a pipeline of diffusers returned. Out: a PIL image; `Frames`. Letters: B clips, T frames, H W
pixels.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cineloop.errors import ItemError, Notice, first_line
from cineloop.video.frames import Frames

_SOUNDS = ("audio", "audios", "sound")  # where pipelines return what is heard beside the frames
SOUND_DROPPED = Notice("SOUND_DROPPED", "the pipeline made sound beside the frames; the clip is written without it")


def read_picture(path: Path) -> Any:
    """A first frame as an upright RGB PIL image.

    Raises:
        ItemError: NOT_FOUND or NOT_MEDIA.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            return ImageOps.exif_transpose(image).convert("RGB")
    except FileNotFoundError as error:
        raise ItemError(f"no such picture: {path}", code="NOT_FOUND") from error
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise ItemError(f"{path} is no picture: {first_line(error)}", code="NOT_MEDIA") from error


def to_frames(result: Any, num_clips: int, fps: float, name: str) -> list[Frames]:
    """What a pipeline returned, as frames of each clip.

    Args:
        result: an output with `.frames`, or a tuple with them first: floats in [0, 1] or uint8, an array
            (B, T, H, W, 3) or a tensor (B, T, 3, H, W), or lists of either or of PIL images.
        num_clips: B.
        fps: frames a second.
        name: of the generator.

    Returns:
        Frames; with the warning SOUND_DROPPED where the pipeline made sound too.

    Raises:
        ItemError: MODEL_ERROR, another number of clips, another form, or values that are no numbers.
    """
    clips = getattr(result, "frames", None)
    clips = result[0] if clips is None else clips
    if len(clips) != num_clips:
        raise ItemError(f"the model made {len(clips)} clips of {num_clips}", code="MODEL_ERROR")
    warnings = () if all(getattr(result, sound, None) is None for sound in _SOUNDS) else (SOUND_DROPPED,)
    return [replace(Frames.from_pixels(_pixels(clip), fps, decoder=name), warnings=warnings) for clip in clips]


def _pixels(clip: Any) -> np.ndarray:
    """One clip as uint8 (T, H, W, 3)."""
    if hasattr(clip, "detach"):
        clip = clip.detach().float().cpu().numpy()
    pixels = np.stack([np.asarray(frame) for frame in clip])
    if pixels.ndim == 4 and pixels.shape[-1] != 3 and pixels.shape[1] == 3:
        pixels = pixels.transpose(0, 2, 3, 1)  # (T, H, W, 3)
    if pixels.ndim != 4 or pixels.shape[-1] != 3:
        raise ItemError(f"the model gave no RGB frames but an array of {pixels.shape}", code="MODEL_ERROR")
    if pixels.dtype == np.uint8:
        return pixels
    if not np.isfinite(pixels).all():
        raise ItemError(
            "the model made no picture: its values are no numbers (NaN)",
            code="MODEL_ERROR",
            hint="many models overflow in float16: --dtype bfloat16 or float32",
        )
    return np.rint(np.clip(pixels, 0.0, 1.0) * 255).astype(np.uint8)
