"""Attention of the video transformer: the module, its processor, and how tokens are grouped before they attend.

In: tokens (B, N, D), text (B, L, D) with a mask, rotary tables. Out: tokens (B, N, D). Module and parameter names are
those of diffusers' Wan (`to_q`, `to_k`, `to_v`, `to_out.0`, `norm_q`, `norm_k`), so that its weights, LoRA files and
attention backends fit. Grouping: all tokens of a clip together; each frame and then each place alone as in Latte
(arXiv:2401.03048); or 3D windows that shift every second block as in Video Swin (arXiv:2106.13230).
Letters: B batch, N tokens, L text, D width, H heads, d channels of a head, G groups of a clip, S tokens of a group.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from diffusers.models.attention import AttentionModuleMixin
from diffusers.models.attention_dispatch import dispatch_attention_fn
from torch import Tensor, nn
from torch.nn import functional as nnf

from t2v.model.norms import RMSNorm
from t2v.model.rotary import rotate

ATTENTION_KINDS = ("full", "factorised", "windowed")
# Plain attention keeps its probabilities: beyond this many of them the fused kernel is used on the CPU too.
PLAIN_SCORES = 1 << 26


@dataclass(frozen=True, kw_only=True)
class TokenGroups:
    """Which tokens of a (frames, rows, columns) grid attend to each other: boxes of size `window`.

    `shift` moves the borders of the boxes; the grid is padded at both ends to whole boxes and padding is masked, never
    wrapped around, so the first frame does not see the last. `window == grid` is full attention.
    """

    grid: tuple[int, int, int]
    window: tuple[int, int, int]
    shift: tuple[int, int, int] = (0, 0, 0)

    @property
    def is_whole(self) -> bool:
        """Whether all tokens are one group."""
        return self.window == self.grid and not any(self.shift)

    @property
    def boxes(self) -> tuple[int, int, int]:
        """How many boxes lie along each axis."""
        n = [math.ceil((g + s) / w) for g, w, s in zip(self.grid, self.window, self.shift, strict=True)]
        return (n[0], n[1], n[2])

    def split(self, x: Tensor) -> Tensor:
        """(B, N, D) to (B * G, S, D)."""
        if self.is_whole:
            return x
        (t, h, w), (wt, wh, ww), (nt, nh, nw) = self.grid, self.window, self.boxes
        x = nnf.pad(x.unflatten(1, (t, h, w)), self._padding())  # (B, nt*wt, nh*wh, nw*ww, D)
        x = x.unflatten(3, (nw, ww)).unflatten(2, (nh, wh)).unflatten(1, (nt, wt))  # (B, nt, wt, nh, wh, nw, ww, D)
        return x.permute(0, 1, 3, 5, 2, 4, 6, 7).reshape(-1, wt * wh * ww, x.shape[-1])  # (B*G, S, D)

    def merge(self, x: Tensor) -> Tensor:
        """(B * G, S, D) back to (B, N, D)."""
        if self.is_whole:
            return x
        (t, h, w), (st, sh, sw) = self.grid, self.shift
        x = x.reshape(-1, *self.boxes, *self.window, x.shape[-1])  # (B, nt, nh, nw, wt, wh, ww, D)
        x = x.permute(0, 1, 4, 2, 5, 3, 6, 7).flatten(5, 6).flatten(3, 4).flatten(1, 2)  # (B, nt*wt, nh*wh, nw*ww, D)
        return x[:, st : st + t, sh : sh + h, sw : sw + w].flatten(1, 3)  # (B, N, D)

    def mask(self, batch: int, device: torch.device) -> Tensor | None:
        """True where a token of a group is real: (B * G, 1, 1, S); None if there is no padding."""
        if not any(self._padding()):
            return None
        real = torch.ones(1, math.prod(self.grid), 1, device=device)
        kept = self.split(real)[:, None, None, :, 0] > 0  # (G, 1, 1, S)
        return kept.repeat(batch, 1, 1, 1)  # (B*G, 1, 1, S)

    def _padding(self) -> list[int]:
        """Amounts for `pad`, last axis first: none on channels, then columns, rows, frames."""
        amounts = [0, 0]
        for g, w, s, n in reversed(list(zip(self.grid, self.window, self.shift, self.boxes, strict=True))):
            amounts += [s, n * w - s - g]
        return amounts


def token_groups(kind: str, grid: tuple[int, int, int], window: tuple[int, int, int] | None, index: int) -> TokenGroups:
    """The groups of block `index` for attention `kind` ("full", "factorised", "windowed") on a grid of tokens."""
    if kind == "full":
        return TokenGroups(grid=grid, window=grid)
    if kind == "factorised":
        return TokenGroups(grid=grid, window=(1, *grid[1:]) if index % 2 == 0 else (grid[0], 1, 1))
    if window is None:
        raise ValueError("windowed attention needs attention_window=(frames, rows, columns), got None")
    box = tuple(min(w, g) for w, g in zip(window, grid, strict=True))
    shift = tuple(w // 2 if w < g and index % 2 else 0 for w, g in zip(box, grid, strict=True))
    return TokenGroups(grid=grid, window=(box[0], box[1], box[2]), shift=(shift[0], shift[1], shift[2]))


def plain_attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
    """Attention by two matrix products and a softmax: (B, S, H, d) each, `mask` True where a key counts.

    In bfloat16 on the CPU its forward and backward pass together take a fifth of the fused kernel's time at 80 tokens
    and half at 1280; in float32, and without a backward pass for a few clips, the fused kernel is a little faster.
    """
    heads = query.shape[2]
    query, key, value = (x.transpose(1, 2).flatten(0, 1) for x in (query, key, value))  # (B*H, S, d)
    scores = query @ (key * key.shape[-1] ** -0.5).transpose(1, 2)  # (B*H, S, keys)
    if mask is not None:
        scores = scores.unflatten(0, (-1, heads)).masked_fill(~mask, float("-inf")).flatten(0, 1)
    return (scores.softmax(dim=-1) @ value).unflatten(0, (-1, heads)).transpose(1, 2)  # (B, S, H, d)


class CineloopAttnProcessor:
    """Projects, normalises, rotates and attends; the backend is diffusers' unless plain attention is faster here."""

    _attention_backend = None
    _parallel_config = None

    def __call__(
        self,
        attn: CineloopAttention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        rotary_emb: Tensor | None = None,
        encoder_hidden_states_image: Tensor | None = None,
    ) -> Tensor:
        """Attention of `hidden_states` (B, S, D) over itself or the text (B, L, D), and the image (B, I, D) if given.

        `attention_mask` is bool (B, 1, 1, keys), True where a key counts; it concerns no image. `rotary_emb` is
        (1, S, 1, d/2) complex.
        """
        query, key, value = attn.project(hidden_states, encoder_hidden_states)  # (B, S, H*d) each
        query, key = attn.norm_q(query), attn.norm_k(key)
        query, key, value = (x.unflatten(2, (attn.heads, -1)) for x in (query, key, value))  # (B, S, H, d)
        if rotary_emb is not None:
            query, key = rotate(query, rotary_emb), rotate(key, rotary_emb)
        attended = self.attend(query, key, value, attention_mask, is_cross=encoder_hidden_states is not None)
        if encoder_hidden_states_image is not None:
            image = attn.project_image(encoder_hidden_states_image)  # two of (B, I, H, d)
            attended = attended + self.attend(query, *image, None, is_cross=True)
        attended = attended.flatten(2, 3).type_as(hidden_states)  # (B, S, H*d)
        return attn.to_out[1](attn.to_out[0](attended))

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, *, is_cross: bool) -> Tensor:
        """(B, S, H, d) each to (B, S, H, d)."""
        num_scores = query.shape[0] * query.shape[2] * query.shape[1] * key.shape[1]
        is_free = self._attention_backend is None and self._parallel_config is None
        is_faster = query.device.type == "cpu" and query.dtype == torch.bfloat16 and query.requires_grad
        if is_free and is_faster and num_scores <= PLAIN_SCORES:
            return plain_attention(query, key, value, mask)
        return dispatch_attention_fn(
            query,
            key,
            value,
            attn_mask=mask,
            backend=self._attention_backend,
            parallel_config=None if is_cross else self._parallel_config,
        )


class CineloopAttention(nn.Module, AttentionModuleMixin):
    """Self-attention, or cross-attention to text: biased projections, RMS norm of queries and keys over all heads.

    `image_dim` adds keys and values for image features of that width, as Wan's image-to-video has them.
    """

    _default_processor_cls = CineloopAttnProcessor
    _available_processors = [CineloopAttnProcessor]
    processor: CineloopAttnProcessor
    to_qkv: nn.Linear  # these two exist while the projections are fused
    to_kv: nn.Linear

    def __init__(
        self, dim: int, heads: int, eps: float, is_cross_attention: bool = False, image_dim: int | None = None
    ) -> None:
        super().__init__()
        self.heads, self.use_bias, self.is_cross_attention = heads, True, is_cross_attention
        self.to_q = nn.Linear(dim, dim)
        self.to_k = nn.Linear(dim, dim)
        self.to_v = nn.Linear(dim, dim)
        self.to_out = nn.ModuleList([nn.Linear(dim, dim), nn.Dropout(0.0)])
        self.norm_q = RMSNorm(dim, eps=eps)
        self.norm_k = RMSNorm(dim, eps=eps)
        if image_dim is not None:
            self.add_k_proj = nn.Linear(image_dim, dim)
            self.add_v_proj = nn.Linear(image_dim, dim)
            self.norm_added_k = RMSNorm(dim, eps=eps)
        self.processor = CineloopAttnProcessor()

    def project(self, hidden_states: Tensor, encoder_hidden_states: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key and value, each (B, S or L, H*d), by the fused projection where there is one."""
        if self.fused_projections and not self.is_cross_attention:
            query, key, value = self.to_qkv(hidden_states).chunk(3, dim=-1)
            return query, key, value
        source = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        if self.fused_projections:
            key, value = self.to_kv(source).chunk(2, dim=-1)
            return self.to_q(hidden_states), key, value
        return self.to_q(hidden_states), self.to_k(source), self.to_v(source)

    def project_image(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values (B, I, H, d) of image features (B, I, image_dim)."""
        key, value = self.norm_added_k(self.add_k_proj(image)), self.add_v_proj(image)
        return key.unflatten(2, (self.heads, -1)), value.unflatten(2, (self.heads, -1))

    def forward(
        self,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        rotary_emb: Tensor | None = None,
        encoder_hidden_states_image: Tensor | None = None,
    ) -> Tensor:
        """See the processor."""
        return self.processor(
            self, hidden_states, encoder_hidden_states, attention_mask, rotary_emb, encoder_hidden_states_image
        )
