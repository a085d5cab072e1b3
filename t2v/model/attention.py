"""Attention of the video transformer: the module and its processor.

In: tokens (B, N, D), text (B, L, D) with a mask, rotary tables. Out: tokens (B, N, D). Module and parameter names are
those of diffusers' Wan (`to_q`, `to_k`, `to_v`, `to_out.0`, `norm_q`, `norm_k`), so that its weights, LoRA files and
attention backends fit. Letters: B batch, N tokens, L text, D width, H heads, d channels of a head, S tokens.
"""

from __future__ import annotations

import torch
from diffusers.models.attention import AttentionModuleMixin
from diffusers.models.attention_dispatch import dispatch_attention_fn
from torch import Tensor, nn

from t2v.model.norms import RMSNorm
from t2v.model.rotary import rotate

# Plain attention keeps its probabilities: beyond this many of them the fused kernel is used on the CPU too.
PLAIN_SCORES = 1 << 26


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
