"""From samples to a batch of tensors.

In: clips cut in segments, and the conversations about them. Out: one dict of tensors: each clip's pixels once, however
many conversations it carries.
Letters: S segments of all clips, F frames of a segment, R rows (conversations), L text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from v2t.data.chat import IGNORE, LabelledTokens

Batch = dict[str, torch.Tensor]
MULTIPLE = 16


@dataclass(frozen=True)
class ClipSample:
    """One clip: uint8 segments (s, F, H, W, 3), seconds and mask (s, F), its conversations, and named facts."""

    pixels: np.ndarray
    times_s: np.ndarray
    mask: np.ndarray
    rows: list[LabelledTokens]
    facts: dict[str, int] = field(default_factory=dict)


def text_batch(rows: Sequence[LabelledTokens], pad_id: int, max_length: int | None = None) -> Batch:
    """`input_ids`, `labels` (R, L), padded on the right, where a causal model needs no mask, `row_lengths` (R,).

    L is a multiple of `MULTIPLE` (kernels are prepared per shape), unless `max_length` cuts it.
    """
    length = -(-max(len(row.ids) for row in rows) // MULTIPLE) * MULTIPLE
    length = length if max_length is None else min(length, max_length)
    ids = torch.full((len(rows), length), pad_id, dtype=torch.long)
    labels = torch.full((len(rows), length), IGNORE, dtype=torch.long)
    for number, row in enumerate(rows):
        kept = min(length, len(row.ids))
        ids[number, :kept] = torch.tensor(row.ids[:kept])
        labels[number, :kept] = torch.tensor(row.labels[:kept])
    lengths = torch.tensor([min(length, len(row.ids)) for row in rows])
    return {"input_ids": ids, "labels": labels, "row_lengths": lengths}


def clip_batch(samples: Sequence[ClipSample], pad_id: int, max_length: int | None = None) -> Batch:
    """Clips and their conversations.

    Returns:
        `pixels` uint8 (S, F, H, W, 3), `times_s` (S, F) float, `mask` (S, F) bool, `row_segments` (long): the
        segments of each row's clip, row after row (none for a row of text alone), `row_counts` (R,) how many each has;
        `input_ids`, `labels` (R, L) where there are conversations, `row_lengths` (R,) their tokens without padding;
        `fact_<name>` (S,) long, the clip's fact where the clip is one segment, -100 elsewhere.
    """
    batch: Batch = {
        "pixels": torch.from_numpy(np.concatenate([s.pixels for s in samples])),
        "times_s": torch.from_numpy(np.concatenate([s.times_s for s in samples])).float(),
        "mask": torch.from_numpy(np.concatenate([s.mask for s in samples])),
    }
    firsts = np.cumsum([0, *(len(s.pixels) for s in samples)])
    order: list[int] = []
    counts: list[int] = []
    for sample, first in zip(samples, firsts, strict=False):
        for row in sample.rows:
            shown = range(first, first + len(sample.pixels)) if row.num_clips else ()
            order += shown
            counts.append(len(shown))
    batch["row_segments"] = torch.tensor(order, dtype=torch.long)
    batch["row_counts"] = torch.tensor(counts, dtype=torch.long)
    rows = [row for s in samples for row in s.rows]
    if rows:
        batch |= text_batch(rows, pad_id, max_length)
    for name in samples[0].facts:
        values = [s.facts[name] if len(s.pixels) == 1 else IGNORE for s in samples for _ in range(len(s.pixels))]
        batch[f"fact_{name}"] = torch.tensor(values, dtype=torch.long)
    return batch


def num_targets(batch: dict[str, Any]) -> int:
    """Positions of a batch that carry a loss once labels are shifted by one."""
    return int((batch["labels"][:, 1:] != IGNORE).sum()) if "labels" in batch else 0


def normalise(pixels: torch.Tensor) -> torch.Tensor:
    """uint8 (…, H, W, 3) in [0, 255] → float32 (…, 3, H, W) in [-1, 1], the normalisation of SigLIP."""
    return pixels.movedim(-1, -3).float().div(127.5).sub(1.0)  # (…, 3, H, W)
