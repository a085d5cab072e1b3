"""The captioner as a training task: next-token loss on answers, and fact heads on a few query tokens.

In: a batch of `v2t.data.collate.clip_batch`. Out: loss sums and what was right. A clip's visual tokens are computed
once and serve all its conversations; the vocabulary's logits are computed at answer tokens only.
The fact heads are linear maps from named query tokens to facts the world knows; they teach the resampler what to look
for (a Q-Former from nothing learns motion by them and hardly without) and are dropped when the model is used.
Letters: S segments, Q query tokens, R rows, L text, D width, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from cineloop.training.sharding import is_sharded
from v2t.data.chat import IGNORE
from v2t.data.collate import MULTIPLE, Batch, normalise
from v2t.data.packing import pack

ROW_GROUPS = 3
# Logits at labelled positions are filled up to a multiple of it: kernels are prepared per shape, and a new shape at
# every step costs time and memory.
_FILL = 128
FactTargets = Mapping[str, tuple[int, int]]  # name → (query token, classes)


class FactHeads(nn.Module):
    """One linear head per fact, each on its own query token."""

    def __init__(self, targets: FactTargets, width: int) -> None:
        super().__init__()
        self.queries = {name: query for name, (query, _) in targets.items()}
        self.heads = nn.ModuleDict({name: nn.Linear(width, classes) for name, (_, classes) in targets.items()})

    def forward(self, query_tokens: torch.Tensor) -> dict[str, torch.Tensor]:
        """Logits (S, K) per fact from query tokens (S, Q, D)."""
        return {name: head(query_tokens[:, self.queries[name]]).float() for name, head in self.heads.items()}

    def loss(self, query_tokens: torch.Tensor, batch: Batch) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
        """The sum of cross-entropies of the facts that are known, and how many are right of how many."""
        loss, right, count = (torch.zeros((), device=query_tokens.device) for _ in range(3))
        for name, logits in self(query_tokens).items():
            truth = batch[f"fact_{name}"]
            loss = loss + F.cross_entropy(logits, truth, ignore_index=IGNORE, reduction="sum")
            right = right + (logits.argmax(-1) == truth).sum()
            count = count + (truth != IGNORE).sum()
        return loss, (right, count)


class CaptionTask(nn.Module):
    """A captioner with its losses.

    Args:
        heads: fact heads on the resampler's query tokens, or None.
        speaks: False leaves the LLM out (a cheap first phase for resampler and heads).
        row_tokens: conversations are packed into rows of so many tokens; 0 gives each a row of its own.
    """

    def __init__(self, model: Any, heads: FactHeads | None = None, *, speaks: bool = True, row_tokens: int = 0) -> None:
        super().__init__()
        self.model: Any = model
        self.heads, self.speaks, self.row_tokens = heads, speaks, row_tokens

    def forward(self, batch: Batch) -> dict[str, Any]:
        """Loss sums "answers" and "facts", and shares right."""
        query_tokens = self.query_tokens(batch)  # (S, Q, D)
        terms: dict[str, torch.Tensor] = {}
        metrics: dict[str, Any] = {}
        if self.heads is not None:
            terms["facts"], metrics["facts_right"] = self.heads.loss(query_tokens, batch)
        if self.speaks:
            terms["answers"], metrics["tokens_right"] = self.answers(batch, query_tokens)
        if "replaced" in batch:  # bad samples of shards, for each sample
            metrics["replaced"] = (batch["replaced"].sum(), len(batch["replaced"]))
        return {"terms": terms, "metrics": metrics}

    def query_tokens(self, batch: Batch) -> torch.Tensor:
        """(S, Q, D) of the resampler, from pixels or patch tokens kept of a frozen tower; or those that were kept."""
        if "query_tokens" in batch:
            return batch["query_tokens"]
        if "patch_tokens" in batch:
            kept = batch["patch_tokens"].float()  # (S, F, N, D_vision)
            return self.model.get_query_tokens(None, batch["times_s"], batch["mask"], vision_hidden_states=kept)
        return self.model.get_query_tokens(normalise(batch["pixels"]), batch["times_s"], batch["mask"])

    def answers(self, batch: Batch, query_tokens: torch.Tensor) -> tuple[torch.Tensor, tuple[torch.Tensor, int]]:
        """Loss sum over answer tokens; how many are guessed right, of how many."""
        device = query_tokens.device
        loss, right = torch.zeros((), device=device), torch.zeros((), dtype=torch.long, device=device)
        count = 0
        for hidden, labels, _ in self.passes(batch, query_tokens):
            part, part_right, part_count = answer_loss(hidden, labels, self.model.lm_head)
            loss, right, count = loss + part, right + part_right, count + part_count
        return loss, (right, count)

    def log_probs(self, batch: Batch, query_tokens: torch.Tensor) -> torch.Tensor:
        """The log-probability (R,) of each conversation's answer tokens, their sum."""
        sums = torch.zeros(len(batch["row_lengths"]), device=query_tokens.device)
        for hidden, labels, owners in self.passes(batch, query_tokens):
            values, places = answer_log_probs(hidden, labels, self.model.lm_head)
            sums = sums.index_add(0, owners[:, 1:].flatten()[places], values)
        return sums

    def passes(
        self, batch: Batch, query_tokens: torch.Tensor
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        """The LLM's passes over all conversations: hidden states (rows, L, D_llm), labels and the conversation that
        each token is of (rows, L)."""
        visual = self.model.model.projector(query_tokens)  # (S, Q, D_llm)
        segments = batch["row_segments"].split(batch["row_counts"].tolist())
        if self.row_tokens:
            yield self._pack(batch, visual, segments)
            return
        # Rows of like length go together, so that little of the work is spent on padding; all of them in one pass where
        # weights are sharded, as all processes must pass equally often.
        for rows in batch["row_lengths"].argsort().chunk(1 if is_sharded(self) else ROW_GROUPS):
            length = -(-int(batch["row_lengths"][rows].max()) // MULTIPLE) * MULTIPLE
            # Padding stands on the right, so causal attention needs no mask.
            hidden = self.model.model(
                input_ids=batch["input_ids"][rows, :length],
                visual_tokens=visual[torch.cat([segments[row] for row in rows.tolist()])],
                use_cache=False,
            ).last_hidden_state  # (rows, length, D_llm)
            labels = batch["labels"][rows, :length]
            yield hidden, labels, rows[:, None].expand(labels.shape)

    def _pack(
        self, batch: Batch, visual: torch.Tensor, segments: Sequence[torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """All conversations in one pass over packed rows."""
        flash = "flash" in self.model.model.language_model.config._attn_implementation
        # Flash attention tells conversations apart in a single row only, and has no work between them there.
        packed, order = pack(batch, int(batch["row_lengths"].sum()) if flash else self.row_tokens)
        hidden = self.model.model(
            input_ids=packed["input_ids"],
            position_ids=packed["position_ids"],
            visual_tokens=visual[torch.cat([segments[row] for row in order])],
            use_cache=False,
        ).last_hidden_state  # (P, L, D_llm)
        return hidden, packed["labels"], packed["owners"]

    def parts(self) -> dict[str, list[nn.Module]]:
        """The parts that config gives learning rates: those of the captioner, and the heads."""
        inner = self.model.model
        parts: dict[str, list[nn.Module]] = {
            "vision_tower": [inner.vision_tower],
            "resampler": [inner.resampler],
            "projector": [inner.projector],
            "language_model": [inner.language_model, self.model.lm_head],
        }
        return parts if self.heads is None else parts | {"heads": [self.heads]}


# ---- next-token loss on the tokens that are asked for, and on no other


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
    filled = F.pad(where, (0, -count % _FILL))  # position 0 fills up; its label is IGNORE below
    truth = F.pad(targets.flatten()[where], (0, -count % _FILL), value=IGNORE)
    chosen = hidden[:, :-1].flatten(0, 1)[filled]  # (filled tokens, D)
    return head(chosen).float(), truth, where
