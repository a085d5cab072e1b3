"""The text-and-video block of BLIP-2's first stage: does this caption fit, and which word comes next.

In: caption tokens and the patch tokens of a clip's frames. Out: losses of matching (ITM) and of captioning (ITG). One
small stack serves both, with a causal mask for the second, as in BLIP-2 (arXiv:2301.12597); it teaches the vision tower
and is dropped after training.
Letters: B captions, L tokens, M visual tokens, D width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


class Fusion(nn.Module):
    """Text attends itself, then the clip."""

    def __init__(self, vocab_size: int, length: int, width: int, heads: int, layers: int, pad_id: int) -> None:
        super().__init__()
        self.pad_id = pad_id
        self.embed = nn.Embedding(vocab_size, width)
        self.positions = nn.Parameter(torch.randn(length, width) * 0.02)
        layer = nn.TransformerDecoderLayer(
            width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerDecoder(layer, layers, norm=nn.LayerNorm(width))
        self.match_head = nn.Linear(width, 1)
        self.word_head = nn.Linear(width, vocab_size)

    def match(self, ids: torch.Tensor, visual: torch.Tensor) -> torch.Tensor:
        """Logit (B,) that captions (B, L) tell of clips (B, M, D)."""
        hidden = self._read(ids, visual, causal=False)  # (B, L, D)
        real = (ids != self.pad_id).float()[..., None]  # (B, L, 1)
        return self.match_head((hidden * real).sum(1) / real.sum(1).clamp(min=1)).squeeze(-1).float()

    def next_word_loss(self, ids: torch.Tensor, visual: torch.Tensor) -> torch.Tensor:
        """Loss sum over the words of captions (B, L) but the first, told of clips (B, M, D)."""
        hidden = self._read(ids, visual, causal=True)
        logits = self.word_head(hidden[:, :-1]).float()  # (B, L-1, vocabulary)
        return F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), ignore_index=self.pad_id, reduction="sum")

    def _read(self, ids: torch.Tensor, visual: torch.Tensor, *, causal: bool) -> torch.Tensor:
        text = self.embed(ids) + self.positions[: ids.shape[1]]  # (B, L, D)
        mask = nn.Transformer.generate_square_subsequent_mask(ids.shape[1], device=ids.device) if causal else None
        padding = torch.zeros(ids.shape, device=ids.device).masked_fill(ids == self.pad_id, float("-inf"))
        return self.blocks(text, visual, tgt_mask=mask, tgt_key_padding_mask=padding, tgt_is_causal=causal)
