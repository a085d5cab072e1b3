"""From stored frames to what a SigLIP tower sees.

In: uint8 frames, channels last. Out: floats in [-1, 1], channels first, the normalisation of SigLIP and of the
starter's video processor (mean and deviation one half).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def normalise(pixels: Tensor) -> Tensor:
    """uint8 (…, H, W, 3) in [0, 255] → float32 (…, 3, H, W) in [-1, 1], on the same device."""
    return pixels.movedim(-1, -3).float().div(127.5).sub(1.0)  # (…, 3, H, W)
