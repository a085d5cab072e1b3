"""Log-probabilities of many answers in one forward pass: common prefixes are computed once.

In: a language model, prompts and answers as token ids. Out: log-probabilities of the answers. Prompts and answers go in
as one sequence, a trie: each common prefix occurs once, and under the attention mask every node attends to its own
ancestors only, so the model computes at a node what it would compute in that row alone. All questions about a clip
share the clip; all answers to a question share the question.
Letters: N nodes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

_Steps = list[list[tuple[int, int]]]  # for each answer to a question: the node that predicts a token, the token
_MAX_NODES = 1536  # of one forward pass; the mask grows with the square


@dataclass
class Trie:
    """Nodes in the order they were added; a parent always precedes its children."""

    tokens: list[int] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    depths: list[int] = field(default_factory=list)
    _children: dict[tuple[int, int], int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.tokens)

    def add(self, tokens: Iterable[int], at: int = -1) -> int:
        """Insert tokens after node `at` (-1: at the root); returns the node of the last one."""
        for token in tokens:
            node = self._children.get((at, token))
            if node is None:
                node = self._children[at, token] = len(self.tokens)
                self.tokens.append(token)
                self.parents.append(at)
                self.depths.append(self.depths[at] + 1 if at >= 0 else 0)
            at = node
        return at

    def attention_mask(self) -> np.ndarray:
        """Bool (N, N): row i is True at node i and its ancestors."""
        mask = np.eye(len(self), dtype=bool)  # (N, N)
        for node, parent in enumerate(self.parents):
            if parent >= 0:
                mask[node] |= mask[parent]
        return mask


def answer_log_probs(
    model: Any, rows: Iterable[tuple[Sequence[int], Sequence[Sequence[int]]]], visual_tokens: Tensor
) -> list[list[float]]:
    """The log-probability of each answer after its prompt, in nats: the sum over its tokens, at temperature 1.

    Args:
        model: of `v2t.model`, with an attention that takes a custom mask (sdpa or eager).
        rows: prompts, all about the one clip, each with its answers.
        visual_tokens: of that clip (S, Q, D_llm).
    """
    log_probs: list[list[float]] = []
    trie = Trie()
    steps: list[_Steps] = []
    for prompt, answers in rows:
        if len(trie) > _MAX_NODES:
            log_probs += _log_probs(model, trie, steps, visual_tokens)
            trie, steps = Trie(), []
        end = trie.add(prompt)
        # A token is predicted by the node before it.
        steps.append([[(trie.add(ids[:i], end), token) for i, token in enumerate(ids)] for ids in answers])
    return log_probs + (_log_probs(model, trie, steps, visual_tokens) if steps else [])


def _log_probs(model: Any, trie: Trie, steps: list[_Steps], visual_tokens: Tensor) -> list[list[float]]:
    import torch

    kept = sorted({node for question in steps for answer in question for node, _ in answer})
    hidden = torch.from_numpy(~trie.attention_mask()).to(model.device)  # (N, N)
    mask = torch.zeros(hidden.shape, dtype=model.dtype, device=model.device)
    mask = mask.masked_fill(hidden, torch.finfo(model.dtype).min)[None, None]  # (1, 1, N, N)
    with torch.inference_mode():
        logits = model(
            input_ids=torch.tensor([trie.tokens], device=model.device),
            attention_mask=mask,
            position_ids=torch.tensor([trie.depths], device=model.device),
            visual_tokens=visual_tokens,
            logits_to_keep=torch.tensor(kept, device=model.device),
            use_cache=False,
        ).logits[0]  # (kept, vocabulary)
        logs = logits.float().log_softmax(-1).double().cpu().numpy()
    row = {node: number for number, node in enumerate(kept)}
    return [[sum(float(logs[row[node], token]) for node, token in ids) for ids in question] for question in steps]
