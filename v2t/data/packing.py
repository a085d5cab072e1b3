"""Several conversations in one row of the language model, each blind to the others.

In: how many tokens each conversation has, or a padded batch of them. Out: which conversations stand in which row (first
fit, the longest first), and the rows. Positions begin anew with each conversation; by them, where there is neither a
mask nor a cache, transformers keeps the conversations apart. With its default `use_cache=True` it does not: the second
conversation would see the first. Letters: P packed rows, L tokens of the fullest.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from v2t.data.chat import IGNORE
from v2t.data.collate import MULTIPLE, Batch


def first_fit(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Positions in `lengths` for each row of `capacity`; what is longer stands alone; of equals the first leads.

    Source: first fit decreasing; at most 11/9 of the fewest rows possible, and one more (Johnson 1973).
    """
    rows: list[list[int]] = []
    free: list[int] = []
    for position in sorted(range(len(lengths)), key=lambda position: (-lengths[position], position)):
        row = next((number for number, left in enumerate(free) if left >= lengths[position]), len(rows))
        if row == len(rows):
            rows.append([])
            free.append(capacity)
        rows[row].append(position)
        free[row] -= lengths[position]
    return rows


def pack(batch: Batch, capacity: int) -> tuple[Batch, list[int]]:
    """Conversations of a batch of `clip_batch` in rows of about `capacity` tokens.

    Returns:
        `input_ids`, `labels`, `position_ids` and `owners` (P, L), the conversation each token is of (0 at padding); and
        the conversations in the order they stand in.
    """
    lengths = batch["row_lengths"].tolist()
    rows = first_fit(lengths, capacity)
    longest = max(sum(lengths[number] for number in row) for row in rows)
    shape, first = (len(rows), -(-longest // MULTIPLE) * MULTIPLE), batch["input_ids"][0, 0]
    packed = {
        "input_ids": first.expand(shape).clone(),  # a conversation's first token is no placeholder of a video
        "labels": batch["labels"].new_full(shape, IGNORE),
        "position_ids": batch["input_ids"].new_zeros(shape),
        "owners": batch["input_ids"].new_zeros(shape),
    }
    for number, row in enumerate(rows):
        begin = 0
        for position in row:
            end = begin + lengths[position]
            packed["input_ids"][number, begin:end] = batch["input_ids"][position, : end - begin]
            # The last token of one conversation is not asked for the first of the next.
            packed["labels"][number, begin + 1 : end] = batch["labels"][position, 1 : end - begin]
            packed["position_ids"][number, begin:end] = torch.arange(end - begin)
            packed["owners"][number, begin:end] = position
            begin = end
        packed["position_ids"][number, begin:] = torch.arange(shape[1] - begin)
    return packed, [position for row in rows for position in row]
