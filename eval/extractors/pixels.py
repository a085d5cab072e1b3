"""From stored frames to what a model takes: resize, crop, normalise, without torchvision.

In: uint8 (n, H, W, 3). Out: float32 (n, 3, h, w). Two ways that are not the same: PIL (antialiased, rounded to whole
numbers between its two passes, as CLIP's own preprocessing) and tensors (no antialias, no rounding and no clamp, so
that a bicubic filter may overshoot, as VBench does it: on 0..255, then divided by 255).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def shortest_to(size: tuple[int, int], side: int, *, ceil: bool = False) -> tuple[int, int]:
    """(h, w) with the shorter side `side` and the shape of (H, W); the longer side is cut to whole pixels, or raised.

    Cutting is what torchvision and transformers do; raising belongs to the common preprocessing of FVD.
    """
    height, width = size
    whole = math.ceil if ceil else int
    if height < width:
        return side, max(side, whole(side * width / height))
    return max(side, whole(side * height / width)), side


def resize_pil(pixels: np.ndarray, size: tuple[int, int], filter: str = "bicubic") -> np.ndarray:
    """uint8 (n, h, w, 3): each frame through PIL's "bicubic", "bilinear", "lanczos" or "nearest" filter."""
    from PIL import Image

    method = Image.Resampling[filter.upper()]
    height, width = size
    return np.stack([np.asarray(Image.fromarray(frame).resize((width, height), method)) for frame in pixels])


def resize_tensor(values: Tensor, size: tuple[int, int], filter: str = "bicubic") -> Tensor:
    """(n, 3, h, w) of floats (n, 3, H, W), half-pixel centres; "bicubic" or "bilinear"."""
    from torch.nn.functional import interpolate

    return interpolate(values, size=size, mode=filter, align_corners=False)


def crop_start(length: int, side: int, *, floor: bool = False) -> int:
    """Where the middle `side` of `length` pixels begin: half to even as torchvision, or cut off as transformers."""
    return (length - side) // 2 if floor else round((length - side) / 2)


def to_floats(pixels: np.ndarray, device: str) -> Tensor:
    """float32 (n, 3, H, W) in 0..255."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(pixels)).to(device).permute(0, 3, 1, 2).float()


def normalise(values: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """(v - mean) / std for each channel of (n, 3, h, w)."""
    import torch

    mean_, std_ = (torch.tensor(v, dtype=torch.float32, device=values.device).view(3, 1, 1) for v in (mean, std))
    return (values - mean_) / std_


def pil_square(
    pixels: np.ndarray, side: int | tuple[int, int], device: str, *, squash: bool = False, filter: str = "bicubic",
    crop: int | tuple[int, int] | None = None, floor: bool = False,
) -> Tensor:  # fmt: skip
    """float32 (n, 3, h, w) in 0..1, as CLIP prepares pictures: resized by PIL, the middle cut out.

    Args:
        side: what the shorter side becomes, or (h, w) where frames are squashed.
        crop: what is cut out of the middle; `side` when None.
        floor: see `crop_start`.
    """
    square = (side, side) if isinstance(side, int) else side
    target = square if squash else shortest_to(pixels.shape[1:3], min(square))
    resized = pixels if pixels.shape[1:3] == target else resize_pil(pixels, target, filter)
    cut = square if crop is None else (crop, crop) if isinstance(crop, int) else crop
    return to_floats(_middle(resized, cut, floor), device) / 255


def tensor_square(pixels: np.ndarray, side: int, device: str, *, filter: str = "bicubic", crop: bool = True) -> Tensor:
    """float32 (n, 3, h, w) around 0..1, as VBench: shorter side to `side` without antialias, the middle cut out."""
    values = resize_tensor(to_floats(pixels, device), shortest_to(pixels.shape[1:3], side), filter)
    if crop:
        top, left = (crop_start(length, side) for length in values.shape[2:])
        values = values[:, :, top : top + side, left : left + side]
    return values / 255


def _middle(pixels: np.ndarray, size: tuple[int, int], floor: bool) -> np.ndarray:
    height, width = size
    missing = [max(0, want - have) for want, have in zip(size, pixels.shape[1:3], strict=True)]
    if any(missing):  # a picture smaller than the crop stands in the middle of black, as in both libraries
        around = [(0, 0), *((gap // 2, gap - gap // 2) for gap in missing), (0, 0)]
        pixels = np.pad(pixels, around)
    top, left = (crop_start(have, want, floor=floor) for have, want in zip(pixels.shape[1:3], size, strict=True))
    return pixels[:, top : top + height, left : left + width]
