"""Auxiliary heads of the generator's training: what the prompt asks for, and what is where in the clip.

In: the text encoder's output, or the tokens of a middle block of the transformer, and exact labels of the world
(`t2v.data.latents`). Out: losses per clip. Both are dropped when training ends.
Letters: n clips, N tokens, L text, D width, F factors, t latent frames, h w cells of a latent frame.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from cineloop.world import vocabulary as words
from t2v.data.facts import UNASKED, VALUES

COVERED = 0.02  # share of a token's pixels that the figure must cover before the token is asked what figure it is


class FactHead(nn.Module):
    """Each factor of the prompt, linearly from the pooled vector and from the mean of the token vectors."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.pooled = nn.ModuleDict({name: nn.Linear(width, len(values)) for name, values in VALUES.items()})
        self.tokens = nn.ModuleDict({name: nn.Linear(width, len(values)) for name, values in VALUES.items()})

    def forward(self, text: Any, mask: torch.Tensor, facts: torch.Tensor) -> torch.Tensor:
        """Mean cross-entropy (n,) over what the prompt asks for; `text` is the encoder's output, mask (n, L), facts
        (n, F)."""
        asked = (facts != UNASKED).sum(1).clamp(min=1)  # (n,)
        losses = [
            F.cross_entropy(head(x).float(), facts[:, column], reduction="none", ignore_index=UNASKED)
            for heads, x in self._inputs(text, mask)
            for column, head in enumerate(heads.values())
        ]
        return torch.stack(losses).sum(0) / (2 * asked)

    @torch.no_grad()
    def right(self, text: Any, mask: torch.Tensor, facts: torch.Tensor) -> dict[str, float]:
        """The share of asked values that the pooled vector's heads name, by factor, and `joint` over prompts."""
        (heads, pooled), _ = self._inputs(text, mask)
        hits = torch.stack([head(pooled).argmax(1) for head in heads.values()], 1) == facts  # (n, F)
        asked = facts != UNASKED
        shares = {
            name: float(hits[asked[:, column], column].float().mean())
            for column, name in enumerate(VALUES)
            if asked[:, column].any()
        }
        return {"joint": float((hits | ~asked).all(1).float().mean()), **shares}

    def _inputs(self, text: Any, mask: torch.Tensor) -> list[tuple[Any, torch.Tensor]]:
        share = mask.to(text.last_hidden_state.dtype)[..., None]  # (n, L, 1)
        mean = (text.last_hidden_state * share).sum(1) / share.sum(1)  # (n, D)
        return [(self.pooled, text.pooler_output), (self.tokens, mean)]


class StateHead(nn.Module):
    """What is where, from a middle block: the figure's silhouette in every token, and its kind, colour and facing in
    the tokens that it covers.

    Args:
        width: D.
        cells: (latent frames, rows, columns) of cells in a token, rows and columns of `t2v.data.latents.CELL` pixels.
    """

    def __init__(self, width: int, cells: tuple[int, int, int]) -> None:
        super().__init__()
        self.cells = cells
        self.silhouette = nn.Linear(width, 4 * cells[0] * cells[1] * cells[2])
        self.kind, self.color = nn.Linear(width, len(words.KINDS)), nn.Linear(width, len(words.COLORS))
        self.facing = nn.Linear(width, 2)

    def forward(self, tokens: torch.Tensor, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Loss of each clip (n,): cross-entropy of the silhouette, and of the names where the figure is."""
        occupancy = batch["occupancy"]  # (n, t, 4, h, w)
        n, t, _, h, w = occupancy.shape
        pt, ph, pw = self.cells
        truth = occupancy.reshape(n, t // pt, pt, 4, h // ph, ph, w // pw, pw)
        truth = truth.permute(0, 1, 4, 6, 2, 3, 5, 7).reshape(n, tokens.shape[1], -1)  # (n, N, pt*4*ph*pw)
        logits = self.silhouette(tokens).float()
        loss = F.binary_cross_entropy_with_logits(logits, truth, reduction="none").mean((1, 2))  # (n,)
        covers = (truth.mean(2) > COVERED).float()  # (n, N)
        places = tokens.shape[1] // (t // pt)
        color = batch["color"][:, ::pt].repeat_interleave(places, 1)  # (n, N)
        kind, facing = (batch[name][:, None].expand_as(color) for name in ("kind", "facing"))
        named = sum(
            F.cross_entropy(head(tokens).float().transpose(1, 2), wanted, reduction="none")
            for head, wanted in ((self.kind, kind), (self.color, color), (self.facing, facing))
        )  # (n, N)
        return loss + 0.1 * (named * covers).sum(1) / covers.sum(1).clamp(min=1)
