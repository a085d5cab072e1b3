"""The vision tower: SigLIP on every frame by itself, frames folded into the batch.

In: pixels (S, F, 3, H, W), normalised floats. Out: patch tokens (S, F, N, D). Padding frames are never computed: their
tokens are zeros. Follows SigLIP (arXiv:2303.15343) through transformers' `SiglipVisionModel`.
Letters: S segments, F frames of a segment, N patches of a frame, D width of the tower.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from transformers import AutoModel

from cineloop.errors import UsageError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel


def build_vision_tower(config: PreTrainedConfig) -> PreTrainedModel:
    """A tower with fresh weights; its pooling head, where it has one, is not used by the captioner."""
    return AutoModel.from_config(config)


def patch_grid(config: PreTrainedConfig, size: Sequence[int]) -> tuple[int, int]:
    """Rows and columns of the patches that a tower of this configuration cuts pixels of `size` (H, W) into."""
    patch = config.patch_size
    rows, columns = (patch, patch) if isinstance(patch, int) else patch
    return size[0] // rows, size[1] // columns


def encode_frames(
    tower: PreTrainedModel, pixel_values_videos: Tensor, frame_mask: Tensor | None = None, chunk_frames: int = 256
) -> Tensor:
    """Patch tokens of every frame.

    Args:
        tower: a `SiglipVisionModel`.
        pixel_values_videos: (S, F, 3, H, W) float.
        frame_mask: (S, F) bool, False for padding frames; None means all frames are real.
        chunk_frames: frames per call of the tower while no gradient is wanted.

    Returns:
        (S, F, N, D), zeros at padding frames.
    """
    if pixel_values_videos.ndim != 5:
        raise UsageError(f"pixel_values_videos: expected (segments, frames, 3, H, W), got {pixel_values_videos.shape}")
    segments, frames_per_segment = pixel_values_videos.shape[:2]
    pixels = pixel_values_videos.flatten(0, 1).to(tower.dtype)  # (S*F, 3, H, W)
    keep = None if frame_mask is None or bool(frame_mask.all()) else frame_mask.flatten()
    if keep is not None:
        pixels = pixels[keep]  # (real frames, 3, H, W)
    size = tower.config.image_size
    trained_size = (size, size) if isinstance(size, int) else tuple(size)
    options = {"interpolate_pos_encoding": True} if tuple(pixels.shape[-2:]) != trained_size else {}
    step = len(pixels) if torch.is_grad_enabled() else chunk_frames
    parts = [tower(chunk, **options).last_hidden_state for chunk in pixels.split(max(step, 1))]
    tokens = parts[0] if len(parts) == 1 else torch.cat(parts)
    if keep is not None:
        everywhere = tokens.new_zeros(segments * frames_per_segment, *tokens.shape[1:])
        tokens = everywhere.masked_scatter(keep[:, None, None], tokens)  # (S*F, N, D)
    return tokens.unflatten(0, (segments, frames_per_segment))  # (S, F, N, D)
