"""Patch tokens of a frozen vision tower, computed once per clip and reused for several wordings.

In: a `ClipSource` and the tower. Out: its batches with `patch_tokens` (S, F, N, D) in place of `pixels`. The stream
goes through blocks of clips, each block `rounds` times with fresh words, so the tower's work is done once a clip, in
the data worker, beside the training of the rest. Still a pure function of the sample numbers, so resume is exact.
With a cache they are computed before the first step and kept in files, which serve every later run on the same clips;
its folder is named by what the tokens depend on: the tower's weights, the stream, and the pixels of its first clips.
Letters: S segments, F frames of a segment, N patches kept of a frame, D width of the tower.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from cineloop.tensor_cache import TensorCache
from cineloop.training.loader import Source
from v2t.data.collate import Batch, ClipSample, clip_batch, normalise
from v2t.data.world import ClipSource
from v2t.model.resampler import average_to, square_grid

# What decides a clip's frames, not its words.
FRAMES = ("num_frames", "size", "solo_share", "every_motion_share", "fewer_share", "seconds", "augment")

PatchTokens = tuple[
    np.ndarray, np.ndarray, np.ndarray
]  # patch tokens float16 (s, F, N, D), seconds (s, F), mask (s, F)


def place(number: int, block: int, rounds: int) -> tuple[int, int]:
    """(clip, how often it was shown before) of sample `number`, where each block of clips comes `rounds` times."""
    first, within = divmod(number, block * rounds)
    shown, slot = divmod(within, block)
    return first * block + slot, shown


def keep_blocks(kept: dict[int, Any], wanted: Sequence[int], block: int, make: Callable[[int], Any]) -> None:
    """Have in `kept` what `make` gives for the wanted clips; what it holds of clips of other blocks is let go."""
    blocks = {index // block for index in wanted}  # two or more where the batch straddles blocks
    for old in [index for index in kept if index // block not in blocks]:
        del kept[old]
    for index in set(wanted) - kept.keys():
        kept[index] = make(index)


@dataclass(frozen=True)
class PatchTokenSource:
    """See the module's head. `side` is the grid the resampler pools a frame's patches to (0: all are kept), `cache` is
    filled with tokens, or None."""

    clips: ClipSource
    tower: nn.Module
    side: int
    block: int
    rounds: int
    cache: TensorCache | None = None
    _kept: dict[int, PatchTokens] = field(default_factory=dict)

    def __call__(self, start: int, count: int) -> Batch:
        """Samples `start` … `start + count - 1`; the same clip comes back `block` samples later, worded anew."""
        wanted = [self.place(number) for number in range(start, start + count)]
        keep_blocks(self._kept, [index for index, _ in wanted], self.block, self._tokens)
        samples = []
        for index, paraphrase in wanted:
            tokens, times, mask = self._kept[index]
            rows = self.clips.rows(index, times, mask, paraphrase)
            samples.append(ClipSample(tokens, times, mask, rows, self.clips.facts(index)))
        batch = clip_batch(samples, self.clips.pad_id)
        return {**{k: v for k, v in batch.items() if k != "pixels"}, "patch_tokens": batch["pixels"]}

    def place(self, number: int) -> tuple[int, int]:
        """(clip, how often it was shown before) of sample `number`."""
        return place(number, self.block, self.rounds)

    def _tokens(self, index: int) -> PatchTokens:
        if self.cache is None:
            return self.encode(index)
        kept = self.cache.get(str(index))
        return kept["tokens"].numpy(), kept["times_s"].numpy(), kept["mask"].numpy()

    def encode(self, index: int) -> PatchTokens:
        # One clip at a time, so that its tokens do not depend on the batch; on a CPU a batch of clips is no faster.
        segments, times, mask = self.clips.cut(index)
        pixels = torch.from_numpy(segments)  # (s, F, H, W, 3)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            tokens: Any = self.tower(normalise(pixels.flatten(0, 1))).last_hidden_state  # (s*F, N, D)
        tokens = tokens.unflatten(0, pixels.shape[:2])  # (s, F, N, D)
        if self.side:
            tokens = average_to(tokens.float(), square_grid(tokens.shape[2]), self.side)  # (s, F, side*side, D)
        return tokens.half().numpy(), times, mask


def precompute(
    clips: ClipSource, model: Any, block: int, rounds: int, cache: Path | None = None, samples: int = 0
) -> Source:
    """`clips` as they are for one round; for more, its patch tokens from a copy of the captioner's tower on the CPU.
    With a `cache` in any case the tokens, of which that folder then holds those of the first `samples` samples."""
    if rounds == 1 and cache is None:
        return clips
    shape = model.config.resampler_config
    tower = copy.deepcopy(model.model.vision_tower).cpu().eval()
    tower.set_attn_implementation("eager")  # at these sizes a fifth faster on a CPU than the fused kernel
    source = PatchTokenSource(clips, tower, shape.frame_grid if shape.kind == "qformer" else 0, block, rounds)
    if cache is None:
        return source
    whole, rest = divmod(samples, block * rounds)
    return with_cache(source, cache, whole * block + min(rest, block))


def cache_key(source: PatchTokenSource) -> str:
    """What the cached tokens depend on, as 16 hexadecimal digits."""
    clips = source.clips
    stream = [clips.split, clips.seed, clips.segment_frames, source.side, *(getattr(clips.config, n) for n in FRAMES)]
    digest = hashlib.sha256(repr(stream).encode())
    for name, weight in sorted(source.tower.state_dict().items()):
        digest.update(name.encode() + weight.detach().float().numpy().tobytes())
    for index in range(4):
        digest.update(clips.cut(index)[0].tobytes())
    return digest.hexdigest()[:16]


def with_cache(source: PatchTokenSource, folder: Path, num_clips: int) -> PatchTokenSource:
    """The source with a cache below `folder` of the first `num_clips` clips; what it lacks is computed first."""
    cache = TensorCache(folder / cache_key(source), "tokens")

    def make(index: int) -> dict[str, torch.Tensor]:
        return dict(zip(("tokens", "times_s", "mask"), map(torch.from_numpy, source.encode(index)), strict=True))

    cache.fill(((str(index), index) for index in range(num_clips)), make)
    return replace(source, cache=cache)


def check_rounds(config: Any) -> None:
    """ValueError unless `rounds` and `block` of a recipe make sense together with its frozen tower."""
    if config.rounds < 1 or config.block < 1:
        raise ValueError("rounds and block must be at least 1")
    keeps = config.rounds > 1 or getattr(config, "cache", None) is not None
    if keeps and config.loop.optim.lr.get("vision_tower", 1.0) != 0:
        raise ValueError("rounds above 1 and a cache keep the tower's tokens; freeze it: loop.optim.lr.vision_tower=0")
