"""Next-token loss on the tokens that are asked for, and on no other.

In: hidden states, labels, the head. Out: loss sum, how many tokens are guessed right, how many there are; or the
log-probability of each. The vocabulary's logits, the largest tensor of a small LLM's training, are computed at labelled
positions only. Their number is filled up to a multiple of `MULTIPLE`: kernels are prepared per shape, and a new shape
at every step costs time and memory.
Letters: R rows, L text, D width.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from v2t.data.chat import IGNORE

MULTIPLE = 128


def answer_loss(hidden: torch.Tensor, labels: torch.Tensor, head: Any) -> tuple[torch.Tensor, torch.Tensor, int]:
    """(loss sum, tokens right, tokens) from hidden states (R, L, D) and labels (R, L), shifted here."""
    logits, truth, where = _logits(hidden, labels, head)
    loss = F.cross_entropy(logits, truth, ignore_index=IGNORE, reduction="sum")
    return loss, (logits.argmax(-1) == truth).sum(), len(where)


def answer_log_probs(hidden: torch.Tensor, labels: torch.Tensor, head: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Of each labelled token its log-probability (tokens,), and its place (tokens,) among the R * (L - 1) targets."""
    logits, truth, where = _logits(hidden, labels, head)
    return -F.cross_entropy(logits[: len(where)], truth[: len(where)], reduction="none"), where


def _logits(hidden: torch.Tensor, labels: torch.Tensor, head: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits (filled tokens, vocabulary), labels (filled tokens,), IGNORE where filled up, and places (tokens,)."""
    targets = labels[:, 1:]  # (R, L-1)
    where = (targets != IGNORE).flatten().nonzero().squeeze(1)  # (tokens,)
    count = len(where)
    filled = F.pad(where, (0, -count % MULTIPLE))  # position 0 fills up; its label is IGNORE below
    truth = F.pad(targets.flatten()[where], (0, -count % MULTIPLE), value=IGNORE)
    chosen = hidden[:, :-1].flatten(0, 1)[filled]  # (filled tokens, D)
    return head(chosen).float(), truth, where
