"""Presence and frequency penalties for `generate` of transformers, as OpenAI defines them.

In: tokens and logits. Out: logits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


class AnswerPenalties:
    """A logits processor for one call of `generate`: see `Decoding.presence_penalty`."""

    def __init__(self, presence: float, frequency: float) -> None:
        self._presence, self._frequency = presence, frequency
        self._prompt_length: int | None = None

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Logits (B, vocabulary) after the tokens (B, L) so far; the first call has the prompt alone."""
        import torch

        if self._prompt_length is None:
            self._prompt_length = input_ids.shape[1]
        answer = input_ids[:, self._prompt_length :]  # (B, n)
        counts = torch.zeros_like(scores).scatter_add_(1, answer, torch.ones_like(answer, dtype=scores.dtype))
        return scores - self._presence * (counts > 0) - self._frequency * counts
