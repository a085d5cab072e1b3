"""The starter's dual encoder as a reward with a gradient: what metric `clipsim` measures, on pixels as tensors.

In: pixels (n, T, H, W, 3) in [0, 1], prompts. Out: rewards (n,), the mean over frames of the cosine of frame and
prompt. The metric rounds pixels to bytes and resizes by PIL, so the two differ a little. Single frames are looked at:
what moves, and how, is not rewarded.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn.functional import normalize

from v2t_eval.core.features import open_extractor


class Reward:
    """See the module's head; `device` is that of the pixels."""

    def __init__(self, device: str) -> None:
        self.extractor = open_extractor("starter", device=device)

    def __call__(self, pixels: torch.Tensor, prompts: Sequence[str]) -> torch.Tensor:
        num, frames = pixels.shape[:2]
        texts = torch.from_numpy(self.extractor.embed_texts(prompts)).to(pixels)  # (n, D)
        features = self.extractor.embed_tensor(pixels.flatten(0, 1)).reshape(num, frames, -1)  # (n, T, D)
        return (normalize(features, dim=-1) * normalize(texts, dim=-1)[:, None]).sum(-1).mean(1)  # (n,)
