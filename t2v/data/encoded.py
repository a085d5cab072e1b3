"""Training batches of a set whose latents and prompts are cached: a pure function of the sample numbers.

In: samples of `t2v.data.clips` with the keys of their tensors, the batches of `t2v.data.buckets`. Out: batches with
`latents` (n, c, t, h, w) and `text` as the model's family wants it. Which of its prompts a clip gets, and whether it
gets the empty one, is drawn from the seed and the number of the sample. Letters: n clips.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from cineloop.tensor_cache import TensorCache
from t2v.data.buckets import BucketBatches

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class EncodedKeys:
    """Keys of a sample's latents and of its prompts."""

    latents: str
    prompts: tuple[str, ...]


@dataclass(frozen=True)
class EncodedSource:
    """Picklable.

    Args:
        clips: all samples; `batches` names them by position.
        latents, texts: caches that hold their keys.
        empty: key of the empty prompt.
        text_dropout: share of samples that get it.
        collate: prompts of a batch into one set of tensors.
    """

    clips: Sequence[EncodedKeys]
    batches: BucketBatches
    latents: TensorCache
    texts: TensorCache
    empty: str
    text_dropout: float
    seed: int
    collate: Callable[[Sequence[Tensors]], Tensors]

    def __call__(self, start: int, count: int) -> dict[str, Any]:
        """Samples `start` … `start + count - 1`, all of one step."""
        _, positions = self.batches(start, count)
        keys, share = [], len(positions) // count  # clips of a sample
        for sample in range(count):
            rng = np.random.default_rng([self.seed, start + sample])
            for position in positions[sample * share : (sample + 1) * share]:
                prompts, choice, left_out = self.clips[position].prompts, rng.random(), rng.random() < self.text_dropout
                keys.append(self.empty if left_out else prompts[int(choice * len(prompts))])
        return self.batch(positions, keys)

    def batch(self, positions: Sequence[int], prompts: Sequence[str] | None = None) -> dict[str, Any]:
        """A batch of these clips, all of one bucket, under the prompts of these keys (each clip's first when None)."""
        keys = prompts or [self.clips[position].prompts[0] for position in positions]
        latents = torch.stack([self.latents.get(self.clips[n].latents)["latents"].float() for n in positions])
        return {"latents": latents, "text": self.collate([self.texts.get(key) for key in keys])}
