"""The parts of the video transformer: what embeds its conditions, and one block.

In: timestep (B) or (B, N), text (B, L, text_dim), pooled text (B, P), tokens (B, N, D). Out: modulation, embedded text,
tokens. Parameter names are those of diffusers' Wan; see `t2v.model.dit` for the whole and the papers.
Letters: B batch, N tokens, L text, I image tokens, D width, P pooled width.
"""

from __future__ import annotations

import torch
from diffusers.models.attention import FeedForward
from diffusers.models.embeddings import PixArtAlphaTextProjection, TimestepEmbedding, Timesteps
from torch import Tensor, nn

from t2v.model.attention import CineloopAttention
from t2v.model.norms import LayerNorm, gated_sum, modulated_norm, modulation_dtype


class CineloopConditionEmbedding(nn.Module):
    """Noise level, text, pooled text and image features to the width of the transformer."""

    def __init__(
        self,
        dim: int,
        freq_dim: int,
        text_dim: int,
        pooled_dim: int | None = None,
        image_dim: int | None = None,
        image_positions: int | None = None,
    ) -> None:
        super().__init__()
        self.timesteps_proj = Timesteps(num_channels=freq_dim, flip_sin_to_cos=True, downscale_freq_shift=0)
        self.time_embedder = TimestepEmbedding(in_channels=freq_dim, time_embed_dim=dim)
        self.act_fn = nn.SiLU()
        self.time_proj = nn.Linear(dim, 6 * dim)
        self.text_embedder = PixArtAlphaTextProjection(text_dim, dim, act_fn="gelu_tanh")
        self.pooled_embedder: nn.Module | None = None
        self.image_embedder: nn.Module | None = None
        if pooled_dim is not None:
            self.pooled_embedder = PixArtAlphaTextProjection(pooled_dim, dim, act_fn="silu")
        if image_dim is not None:
            from diffusers.models.transformers.transformer_wan import WanImageEmbedding

            self.image_embedder = WanImageEmbedding(image_dim, dim, pos_embed_seq_len=image_positions)

    def forward(self, timestep: Tensor, text: Tensor, pooled: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """(B[, N]), (B, L, text_dim), (B, P) to embedding (B[, N], D), modulation (B[, N], 6, D), text (B, L, D)."""
        waves = self.timesteps_proj(timestep.flatten()).unflatten(0, timestep.shape)  # (B[, N], freq_dim)
        dtype = self.time_embedder.linear_1.weight.dtype
        temb = self.time_embedder(waves.to(dtype) if dtype.is_floating_point else waves).type_as(text)  # (B[, N], D)
        if self.pooled_embedder is not None and pooled is not None:
            embedded = self.pooled_embedder(pooled.type_as(text))  # (B, D)
            temb = temb + (embedded if temb.ndim == 2 else embedded[:, None])
        modulation = self.time_proj(self.act_fn(temb)).unflatten(-1, (6, -1))  # (B[, N], 6, D)
        return temb, modulation, self.text_embedder(text)

    def embed_image(self, image: Tensor | None) -> Tensor | None:
        """Image features (B, I, image_dim) to (B, I, D); none to none."""
        return image if image is None or self.image_embedder is None else self.image_embedder(image)


class ConvFeedForward(FeedForward):
    """A feed-forward with a depthwise 3 × 3 convolution over rows and columns of its inner channels, around which a
    shortcut goes: tokens see their neighbours without attention (Mix-FFN of SANA, arXiv:2410.10629, no gate)."""

    def __init__(self, dim: int, inner_dim: int, activation_fn: str) -> None:
        super().__init__(dim, inner_dim=inner_dim, activation_fn=activation_fn)
        self.conv = nn.Conv2d(inner_dim, inner_dim, 3, padding=1, groups=inner_dim)

    def forward(self, hidden_states: Tensor, grid: tuple[int, int, int]) -> Tensor:  # type: ignore[override]
        """(B, N, D) to (B, N, D) for tokens of `grid` = (frames, rows, columns)."""
        project, dropout, out = self.net
        inner = dropout(project(hidden_states))  # (B, N, inner)
        pixels = inner.reshape(-1, *grid[1:], inner.shape[-1]).permute(0, 3, 1, 2)  # (B*t, inner, h, w), channels last
        mixed = self.conv(pixels).permute(0, 2, 3, 1).reshape(inner.shape)  # (B, N, inner)
        return out(inner + mixed)


class CineloopTransformerBlock(nn.Module):
    """Self-attention, cross-attention to text, feed-forward; the first and last scaled, shifted and gated by time."""

    def __init__(
        self,
        dim: int,
        ffn_dim: int,
        num_heads: int,
        cross_attn_norm: bool = True,
        eps: float = 1e-6,
        activation: str = "gelu-approximate",
        image_dim: int | None = None,
        ffn_conv: bool = False,
    ) -> None:
        super().__init__()
        self.norm1 = LayerNorm(dim, eps, elementwise_affine=False)
        self.attn1 = CineloopAttention(dim, num_heads, eps)
        self.attn2 = CineloopAttention(dim, num_heads, eps, is_cross_attention=True, image_dim=image_dim)
        self.norm2 = LayerNorm(dim, eps, elementwise_affine=True) if cross_attn_norm else nn.Identity()
        feed_forward = ConvFeedForward if ffn_conv else FeedForward
        self.ffn = feed_forward(dim, inner_dim=ffn_dim, activation_fn=activation)
        self.norm3 = LayerNorm(dim, eps, elementwise_affine=False)
        self.scale_shift_table = nn.Parameter(torch.randn(1, 6, dim) / dim**0.5)

    def forward(
        self,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        temb: Tensor,
        rotary_emb: Tensor,
        encoder_attention_mask: Tensor | None = None,
        encoder_hidden_states_image: Tensor | None = None,
        grid: tuple[int, int, int] | None = None,
    ) -> Tensor:
        """(B, N, D) to (B, N, D); `temb` (B[, N], 6, D), text (B, L, D), mask (B, 1, 1, L), image (B, I, D); `grid` of
        the tokens, which a feed-forward with a convolution needs."""
        temb = (self.scale_shift_table + temb.float()).to(modulation_dtype(hidden_states))  # (B[, N], 6, D)
        parts = temb.unbind(-2) if temb.ndim == 4 else temb.split(1, dim=1)  # six of (B, 1 or N, D)
        shift, scale, gate, ffn_shift, ffn_scale, ffn_gate = parts

        x = modulated_norm(self.norm1, hidden_states, shift, scale)
        x = self.attn1(x, None, None, rotary_emb)
        hidden_states = gated_sum(hidden_states, x, gate)

        x = self.norm2(hidden_states)
        x = self.attn2(x, encoder_hidden_states, encoder_attention_mask, None, encoder_hidden_states_image)
        hidden_states = hidden_states + x

        x = modulated_norm(self.norm3, hidden_states, ffn_shift, ffn_scale)
        x = self.ffn(x, grid) if isinstance(self.ffn, ConvFeedForward) else self.ffn(x)
        return gated_sum(hidden_states, x, ffn_gate)
