"""Clips for raters on Qwen-VL, as qwen-vl-utils prepares them: which frames, in which size.

In: every frame of a clip. Out: the tensors of the model's processor. Frames are spread evenly over the clip, as many as
2 a second give (an even number, four at least); each is resized (bicubic, antialiased) so that its sides are multiples
of a patch and its pixels within limits. Known values: `tests/eval/raters/test_qwen.py`.
Letters: T frames of the clip, n those shown, H W and h w pixels, L tokens.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from cineloop.errors import ItemError, MissingDependencyError
from cineloop.video.frames import Frames

MIN_PIXELS = 128 * 28 * 28  # of a frame
MAX_PIXELS = 768 * 28 * 28
TOTAL_PIXELS = 24576 * 28 * 28  # of all frames
PAIR = 2  # frames that the model joins in one patch
_LEAST, _MOST = 4, 768  # frames


def open_processor(folder: Path) -> Any:
    """The processor in a model's folder.

    Raises:
        MissingDependencyError: there is none, or it takes no videos.
    """
    from transformers import AutoProcessor

    try:
        processor: Any = AutoProcessor.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, ImportError) as error:
        raise MissingDependencyError(f"no processor in {folder}: {error}", code="MODEL") from error
    if getattr(processor, "video_processor", None) is None:
        raise MissingDependencyError(f"the processor in {folder} takes no videos", code="MODEL")
    return processor


def num_frames_at(num: int, file_fps: float, fps: float) -> int:
    """How many of `num` frames are shown at `fps` a second.

    Raises:
        ItemError: TOO_SHORT, fewer than two.
    """
    most = min(_MOST, num) // PAIR * PAIR
    wanted = min(max(num / file_fps * fps, _LEAST), most)
    shown = min(round(wanted / PAIR) * PAIR, num)
    if shown < PAIR:
        raise ItemError(f"the model joins {PAIR} frames in one, the clip has {num}", code="TOO_SHORT")
    return shown


def even_places(num: int, shown: int) -> np.ndarray:
    """int64 (n,): places of `shown` frames of `num`, the first and the last among them."""
    import torch

    return torch.linspace(0, num - 1, shown).round().long().numpy()


def fitting_size(height: int, width: int, factor: int, least: int, most: int) -> tuple[int, int]:
    """(h, w): multiples of `factor` near the sides, of `least` to `most` pixels in all; `most` goes first."""
    high, wide = (max(factor, round(side / factor) * factor) for side in (height, width))
    if high * wide > most:
        shrink = math.sqrt(height * width / most)
        return math.floor(height / shrink / factor) * factor, math.floor(width / shrink / factor) * factor
    if high * wide < least:
        grow = math.sqrt(least / (height * width))
        return math.ceil(height * grow / factor) * factor, math.ceil(width * grow / factor) * factor
    return high, wide


def resize_frames(pixels: np.ndarray, size: tuple[int, int]) -> Any:
    """uint8 (n, 3, h, w) of uint8 (n, H, W, 3)."""
    import torch
    from torch.nn.functional import interpolate

    values = torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float()  # (n, 3, H, W)
    if tuple(values.shape[2:]) != size:
        values = interpolate(values, size=size, mode="bicubic", antialias=True, align_corners=False)  # (n, 3, h, w)
    return values.round().clamp(0, 255).to(torch.uint8)


def inputs_of(processor: Any, frames: Frames, query: str, *, fps: float, most_pixels: int | None = None) -> Any:
    """The processor's tensors of one turn: the clip, then the query. `most_pixels` of a frame; None for the usual
    limit, which falls with the number of frames.

    Raises:
        ItemError: TOO_SHORT.
    """
    from transformers.video_utils import VideoMetadata

    video = processor.video_processor
    shown = num_frames_at(len(frames), frames.fps, fps)
    if most_pixels is None:
        most_pixels = max(min(MAX_PIXELS, TOTAL_PIXELS // shown * PAIR), int(MIN_PIXELS * 1.05))
    size = fitting_size(*frames.size, video.patch_size * video.merge_size, MIN_PIXELS, most_pixels)
    pixels = resize_frames(frames.pixels[even_places(len(frames), shown)], size)  # (n, 3, h, w)
    turn = [{"role": "user", "content": [{"type": "video"}, {"type": "text", "text": query}]}]
    text = processor.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
    metadata = VideoMetadata(total_num_frames=shown, fps=fps, frames_indices=list(range(shown)))
    return processor(
        text=[text], videos=[pixels], video_metadata=[metadata], do_sample_frames=False, do_resize=False,
        return_tensors="pt",
    )  # fmt: skip


def refuse_control_tokens(tokenizer: Any, prompt: str) -> None:
    """Raises ItemError: PROMPT_REFUSED, a prompt holds one of the tokenizer's control tokens: it would write the
    model's instructions."""
    held = [token for token in tokenizer.get_added_vocab() if token in prompt]
    if held:
        raise ItemError(f"the prompt holds the model's control token {held[0]!r}", code="PROMPT_REFUSED")
