"""Patch tokens of a frozen vision tower, computed once per clip and reused for several wordings.

In: a `ClipSource` and the tower. Out: its batches with `patch_tokens` (S, F, N, D) in place of `pixels`. The stream
goes through blocks of clips, each block `rounds` times with fresh words, so the tower's work is done once a clip, in
the data worker, beside the training of the rest. Still a pure function of the sample numbers, so resume is exact.
Letters: S segments, F frames of a segment, N patches kept of a frame, D width of the tower.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from cineloop.training.loader import Source
from v2t.data.collate import Batch, ClipSample, clip_batch
from v2t.data.pixels import normalise
from v2t.data.world import ClipSource
from v2t.model.resampler import average_to, square_grid

PatchTokens = tuple[
    np.ndarray, np.ndarray, np.ndarray
]  # patch tokens float16 (s, F, N, D), seconds (s, F), mask (s, F)


@dataclass(frozen=True)
class PatchTokenSource:
    """See the module's head. `side` is the grid the resampler pools a frame's patches to (0: all are kept)."""

    clips: ClipSource
    tower: nn.Module
    side: int
    block: int
    rounds: int
    _kept: dict[int, PatchTokens] = field(default_factory=dict)

    def __call__(self, start: int, count: int) -> Batch:
        """Samples `start` … `start + count - 1`; the same clip comes back `block` samples later, worded anew."""
        wanted = [self.place(number) for number in range(start, start + count)]
        blocks = {index // self.block for index, _ in wanted}  # two or more where the batch straddles blocks
        for old in [index for index in self._kept if index // self.block not in blocks]:
            del self._kept[old]
        for index in {index for index, _ in wanted} - self._kept.keys():
            self._kept[index] = self._encode(index)
        samples = []
        for index, paraphrase in wanted:
            tokens, times, mask = self._kept[index]
            rows = self.clips.rows(index, times, mask, paraphrase)
            samples.append(ClipSample(tokens, times, mask, rows, self.clips.facts(index)))
        batch = clip_batch(samples, self.clips.pad_id)
        return {**{k: v for k, v in batch.items() if k != "pixels"}, "patch_tokens": batch["pixels"]}

    def place(self, number: int) -> tuple[int, int]:
        """(clip, how often it was shown before) of sample `number`."""
        block, within = divmod(number, self.block * self.rounds)
        paraphrase, slot = divmod(within, self.block)
        return block * self.block + slot, paraphrase

    def _encode(self, index: int) -> PatchTokens:
        # One clip at a time, so that its tokens do not depend on the batch; on a CPU a batch of clips is no faster.
        segments, times, mask = self.clips.cut(index)
        pixels = torch.from_numpy(segments)  # (s, F, H, W, 3)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            tokens: Any = self.tower(normalise(pixels.flatten(0, 1))).last_hidden_state  # (s*F, N, D)
        tokens = tokens.unflatten(0, pixels.shape[:2])  # (s, F, N, D)
        if self.side:
            tokens = average_to(tokens.float(), square_grid(tokens.shape[2]), self.side)  # (s, F, side*side, D)
        return tokens.half().numpy(), times, mask


def precomputed(clips: ClipSource, model: Any, block: int, rounds: int) -> Source:
    """`clips` as they are for one round; for more, its patch tokens from a copy of the captioner's tower on the CPU."""
    if rounds == 1:
        return clips
    shape = model.config.resampler_config
    tower = copy.deepcopy(model.model.vision_tower).cpu().eval()
    tower.set_attn_implementation("eager")  # at these sizes a fifth faster on a CPU than the fused kernel
    return PatchTokenSource(clips, tower, shape.frame_grid if shape.kind == "qformer" else 0, block, rounds)


def check_rounds(config: Any) -> None:
    """ValueError unless `rounds` and `block` of a recipe make sense together with its frozen tower."""
    if config.rounds < 1 or config.block < 1:
        raise ValueError("rounds and block must be at least 1")
    if config.rounds > 1 and config.loop.optim.lr.get("vision_tower", 1.0) != 0:
        raise ValueError("rounds above 1 keep the tower's tokens; freeze it with loop.optim.lr.vision_tower=0")
