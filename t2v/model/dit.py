"""The video diffusion transformer: noisy latents, a noise level and text go in, the predicted velocity comes out.

In: latents (B, C, T, H, W) of any size the patch divides, timestep (B) or one for each token (B, N) in 0..1000 = 1000
sigma, text (B, L, text_dim) with a mask, a pooled text vector. Out: (B, C_out, T, H, W). Structure and parameter names
are those of diffusers' `WanTransformer3DModel` (Wan, arXiv:2503.20314), whose weights load into this class; blocks are
adaLN-Zero (DiT, arXiv:2212.09748) with one shared time projection and a table a block (PixArt, arXiv:2310.00426).
Letters: B batch, C channels, T frames, H W latent size, N tokens, L text, D width, P pooled width.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.loaders import FromOriginalModelMixin, PeftAdapterMixin
from diffusers.models._modeling_parallel import ContextParallelInput, ContextParallelOutput
from diffusers.models.attention import AttentionMixin, FeedForward
from diffusers.models.cache_utils import CacheMixin
from diffusers.models.embeddings import PixArtAlphaTextProjection, TimestepEmbedding, Timesteps
from diffusers.models.modeling_outputs import Transformer2DModelOutput
from diffusers.models.modeling_utils import ModelMixin
from diffusers.utils import scale_lora_layers, unscale_lora_layers
from torch import Tensor, nn

from t2v.model.attention import CineloopAttention, TokenGroups, token_groups
from t2v.model.norms import LayerNorm, gated_sum, modulated_norm
from t2v.model.rotary import RotaryEmbedding3D

ATTENTION_KINDS = ("full", "factorised", "windowed")


class CineloopConditionEmbedding(nn.Module):
    """Noise level, text and pooled text to the width of the transformer."""

    def __init__(self, dim: int, freq_dim: int, text_dim: int, pooled_dim: int | None) -> None:
        super().__init__()
        self.timesteps_proj = Timesteps(num_channels=freq_dim, flip_sin_to_cos=True, downscale_freq_shift=0)
        self.time_embedder = TimestepEmbedding(in_channels=freq_dim, time_embed_dim=dim)
        self.act_fn = nn.SiLU()
        self.time_proj = nn.Linear(dim, 6 * dim)
        self.text_embedder = PixArtAlphaTextProjection(text_dim, dim, act_fn="gelu_tanh")
        self.pooled_embedder = None
        if pooled_dim is not None:
            self.pooled_embedder = PixArtAlphaTextProjection(pooled_dim, dim, act_fn="silu")

    def forward(self, timestep: Tensor, text: Tensor, pooled: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """(B[, N]), (B, L, text_dim), (B, P) to embedding (B[, N], D), modulation (B[, N], 6, D), text (B, L, D)."""
        waves = self.timesteps_proj(timestep.flatten()).unflatten(0, timestep.shape)  # (B[, N], freq_dim)
        dtype = self.time_embedder.linear_1.weight.dtype
        if dtype.is_floating_point:
            waves = waves.to(dtype)
        temb = self.time_embedder(waves).type_as(text)  # (B[, N], D)
        if self.pooled_embedder is not None:
            pooled = self.pooled_embedder(pooled)  # (B, D)
            temb = temb + (pooled if temb.ndim == 2 else pooled[:, None])
        modulation = self.time_proj(self.act_fn(temb)).unflatten(-1, (6, -1))  # (B[, N], 6, D)
        return temb, modulation, self.text_embedder(text)


class CineloopTransformerBlock(nn.Module):
    """Self-attention, cross-attention to text, feed-forward; the first and last scaled, shifted and gated by time."""

    def __init__(
        self, dim: int, ffn_dim: int, num_heads: int, cross_attn_norm: bool, eps: float, activation: str
    ) -> None:
        super().__init__()
        self.norm1 = LayerNorm(dim, eps, elementwise_affine=False)
        self.attn1 = CineloopAttention(dim, num_heads, dim // num_heads, eps)
        self.attn2 = CineloopAttention(dim, num_heads, dim // num_heads, eps, is_cross_attention=True)
        self.norm2 = LayerNorm(dim, eps, elementwise_affine=True) if cross_attn_norm else nn.Identity()
        self.ffn = FeedForward(dim, inner_dim=ffn_dim, activation_fn=activation)
        self.norm3 = LayerNorm(dim, eps, elementwise_affine=False)
        self.scale_shift_table = nn.Parameter(torch.randn(1, 6, dim) / dim**0.5)

    def forward(
        self,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        temb: Tensor,
        rotary_emb: tuple[Tensor, Tensor],
        groups: TokenGroups | None = None,
        group_mask: Tensor | None = None,
        encoder_attention_mask: Tensor | None = None,
    ) -> Tensor:
        """(B, N, D) to (B, N, D); text (B, L, D) with mask (B, 1, 1, L), temb (B, 6, D) or (B, N, 6, D)."""
        temb = self.scale_shift_table + temb.float()  # (B[, N], 6, D)
        parts = temb.unbind(-2) if temb.ndim == 4 else temb.split(1, dim=1)  # six of (B, 1 or N, D)
        shift, scale, gate, ffn_shift, ffn_scale, ffn_gate = parts

        x = modulated_norm(self.norm1, hidden_states, shift, scale)
        x = x if groups is None else groups.split(x)  # (B*G, S, D)
        x = self.attn1(x, None, group_mask, rotary_emb)
        x = x if groups is None else groups.merge(x)  # (B, N, D)
        hidden_states = gated_sum(hidden_states, x, gate)

        x = self.norm2(hidden_states)
        hidden_states = hidden_states + self.attn2(x, encoder_hidden_states, encoder_attention_mask)

        x = modulated_norm(self.norm3, hidden_states, ffn_shift, ffn_scale)
        return gated_sum(hidden_states, self.ffn(x), ffn_gate)


class CineloopTransformer3DModel(
    ModelMixin, ConfigMixin, PeftAdapterMixin, FromOriginalModelMixin, CacheMixin, AttentionMixin
):
    """The transformer; every size is a config key, from 3 M parameters to Wan's billions.

    Keys beyond Wan's: `attention` ("full", "factorised": blocks look at one frame and at one place in turn,
    "windowed": 3D boxes of `attention_window` = (frames, rows, columns) tokens, shifted every second block),
    `pooled_dim` (width P of a pooled text vector added to the time embedding), `rope_axes_dim` (channels of a head
    that turn with time, rows, columns), `ffn_activation` (any of diffusers' `FeedForward`; on the CPU "gelu" is much
    faster than Wan's and differs by less than bfloat16 shows), `zero_init` (fresh blocks are the identity and the
    output is zero), and the size a pipeline makes when it is not told one: `sample_height`, `sample_width` in pixels,
    `sample_frames`, `sample_fps`. `rope_max_seq_len` is accepted for Wan's configs and limits nothing.
    Raises ValueError for an unknown attention kind, a window that is missing or not positive, an odd rope axis.
    """

    _supports_gradient_checkpointing = True
    _skip_layerwise_casting_patterns = ["patch_embedding", "condition_embedder", "norm"]
    _no_split_modules = ["CineloopTransformerBlock"]
    _keep_in_fp32_modules = ["rope", "time_embedder", "scale_shift_table", "norm1", "norm2", "norm3"]
    _keys_to_ignore_on_load_unexpected = ["norm_added_q"]
    _repeated_blocks = ["CineloopTransformerBlock"]
    _cp_plan: dict[str, Any] | None = {
        "rope": {
            0: ContextParallelInput(split_dim=1, expected_dims=4, split_output=True),
            1: ContextParallelInput(split_dim=1, expected_dims=4, split_output=True),
        },
        "blocks.0": {"hidden_states": ContextParallelInput(split_dim=1, expected_dims=3, split_output=False)},
        "proj_out": ContextParallelOutput(gather_dim=1, expected_dims=3),
        "": {"timestep": ContextParallelInput(split_dim=1, expected_dims=2, split_output=False)},
    }

    @register_to_config
    def __init__(
        self,
        patch_size: tuple[int, int, int] = (1, 2, 2),
        num_attention_heads: int = 40,
        attention_head_dim: int = 128,
        in_channels: int = 16,
        out_channels: int | None = 16,
        text_dim: int = 4096,
        freq_dim: int = 256,
        ffn_dim: int = 13824,
        num_layers: int = 40,
        cross_attn_norm: bool = True,
        qk_norm: str | None = "rms_norm_across_heads",
        eps: float = 1e-6,
        rope_max_seq_len: int = 1024,
        pooled_dim: int | None = None,
        attention: str = "full",
        attention_window: tuple[int, int, int] | None = None,
        rope_axes_dim: tuple[int, int, int] | None = None,
        rope_theta: float = 10_000.0,
        ffn_activation: str = "gelu-approximate",
        zero_init: bool = True,
        sample_height: int = 64,
        sample_width: int = 64,
        sample_frames: int = 17,
        sample_fps: float = 8.0,
    ) -> None:
        super().__init__()
        if attention not in ATTENTION_KINDS:
            raise ValueError(f"attention must be one of {ATTENTION_KINDS}, got {attention!r}")
        window = attention_window or ()
        if attention == "windowed" and (len(window) != 3 or min(window) < 1):
            raise ValueError(f"attention_window must be (frames, rows, columns) >= 1, got {attention_window}")
        dim = num_attention_heads * attention_head_dim
        out_channels = out_channels or in_channels
        self.rope = RotaryEmbedding3D(attention_head_dim, rope_axes_dim, rope_theta)
        patch = (patch_size[0], patch_size[1], patch_size[2])
        self.patch_embedding = nn.Conv3d(in_channels, dim, kernel_size=patch, stride=patch)
        self.condition_embedder = CineloopConditionEmbedding(dim, freq_dim, text_dim, pooled_dim)
        self.blocks = nn.ModuleList(
            [
                CineloopTransformerBlock(dim, ffn_dim, num_attention_heads, cross_attn_norm, eps, ffn_activation)
                for _ in range(num_layers)
            ]
        )
        self.norm_out = LayerNorm(dim, eps, elementwise_affine=False)
        self.proj_out = nn.Linear(dim, out_channels * math.prod(patch_size))
        self.scale_shift_table = nn.Parameter(torch.randn(1, 2, dim) / dim**0.5)
        self.gradient_checkpointing = False
        if attention != "full":
            self._cp_plan = None  # a split of the token sequence would cut through frames and windows
        self.initialize_weights(zero=zero_init)

    @torch.no_grad()
    def initialize_weights(self, zero: bool = True) -> None:
        """Fan-scaled projections; with `zero`, gates, cross-attention output and head start at zero (adaLN-Zero)."""
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv3d):
                nn.init.xavier_uniform_(module.weight.flatten(1))
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        if not zero:
            return
        gates = [2, 5]  # of shift, scale, gate for attention and the same for the feed-forward
        for name, parameter in self.named_parameters():
            if name.endswith(("attn2.to_out.0.weight", "proj_out.weight")):
                parameter.zero_()
            elif name.endswith("time_proj.weight"):
                parameter.view(6, -1, parameter.shape[1])[gates] = 0
            elif name.startswith("blocks.") and name.endswith("scale_shift_table"):
                parameter[:, gates] = 0

    def forward(
        self,
        hidden_states: Tensor,
        timestep: Tensor,
        encoder_hidden_states: Tensor,
        encoder_attention_mask: Tensor | None = None,
        pooled_projections: Tensor | None = None,
        attention_kwargs: dict[str, Any] | None = None,
        return_dict: bool = True,
    ) -> Transformer2DModelOutput | tuple[Tensor]:
        """Predict the velocity of `hidden_states` (B, C, T, H, W), in the same shape with C_out channels.

        `timestep` (B) or (B, N), 0..1000; text (B, L, text_dim); `encoder_attention_mask` (B, L) bool, True where a
        token counts, at least one a row; `pooled_projections` (B, P) if and only if the config has `pooled_dim`;
        `attention_kwargs={"scale": s}` scales LoRA layers. Raises ValueError for shapes that do not fit.
        """
        lora_scale = (attention_kwargs or {}).get("scale", 1.0)
        scale_lora_layers(self, lora_scale)
        try:
            sample = self._predict(
                hidden_states, timestep, encoder_hidden_states, encoder_attention_mask, pooled_projections
            )
        finally:
            unscale_lora_layers(self, lora_scale)
        return Transformer2DModelOutput(sample=sample) if return_dict else (sample,)

    def _predict(
        self, latents: Tensor, timestep: Tensor, text: Tensor, text_mask: Tensor | None, pooled: Tensor | None
    ) -> Tensor:
        grid = self._check_inputs(latents, timestep, text, text_mask, pooled)
        x = self.patch_embedding(latents).flatten(2).transpose(1, 2).contiguous()  # (B, N, D)
        temb, modulation, text = self.condition_embedder(timestep, text, pooled)
        mask = None if text_mask is None else text_mask.bool()[:, None, None, :]  # (B, 1, 1, L)
        layouts = self._layouts(grid, x)
        for index, block in enumerate(self.blocks):
            groups, group_mask, rotary = layouts[index % len(layouts)]
            inputs = (x, text, modulation, rotary, groups, group_mask, mask)
            if torch.is_grad_enabled() and self.gradient_checkpointing:
                x = self._gradient_checkpointing_func(block, *inputs)
            else:
                x = block(*inputs)
        temb = temb[:, None] if temb.ndim == 2 else temb  # (B, 1 or N, D)
        shift, scale = (self.scale_shift_table + temb[:, :, None].float()).unbind(2)  # (B, 1 or N, D)
        x = self.proj_out(modulated_norm(self.norm_out, x, shift.to(x.device), scale.to(x.device)))
        return self._unpatchify(x, grid)

    def _layouts(
        self, grid: tuple[int, int, int], x: Tensor
    ) -> list[tuple[TokenGroups, Tensor | None, tuple[Tensor, Tensor]]]:
        """Groups, padding mask and rotary tables of the blocks, which repeat after one or two.

        Rotary attention knows only differences of place, so the tables of one group serve all.
        """
        kinds = 1 if self.config.attention == "full" else 2
        layouts = []
        for index in range(kinds):
            groups = token_groups(self.config.attention, grid, self.config.attention_window, index)
            layouts.append((groups, groups.mask(x.shape[0], x.device), self.rope(groups.window, x.device)))
        return layouts

    def _unpatchify(self, x: Tensor, grid: tuple[int, int, int]) -> Tensor:
        """(B, N, pt * ph * pw * C) to (B, C, T, H, W)."""
        x = x.reshape(x.shape[0], *grid, *self.config.patch_size, -1)  # (B, t, h, w, pt, ph, pw, C)
        return x.permute(0, 7, 1, 4, 2, 5, 3, 6).flatten(6, 7).flatten(4, 5).flatten(2, 3)  # (B, C, T, H, W)

    def _check_inputs(
        self, latents: Tensor, timestep: Tensor, text: Tensor, mask: Tensor | None, pooled: Tensor | None
    ) -> tuple[int, int, int]:
        """The token grid (frames, rows, columns); raises ValueError where the inputs do not fit each other."""
        patch = self.config.patch_size
        if latents.ndim != 5 or any(n % p or n == 0 for n, p in zip(latents.shape[2:], patch, strict=True)):
            raise ValueError(f"latents must be (B, C, T, H, W), T, H, W multiples of {patch}; got {latents.shape}")
        t, h, w = (n // p for n, p in zip(latents.shape[2:], patch, strict=True))
        batch = latents.shape[0]
        if timestep.shape not in ((batch,), (batch, t * h * w)):
            raise ValueError(f"timestep must be ({batch},) or ({batch}, {t * h * w}), got {tuple(timestep.shape)}")
        if mask is not None and mask.shape != text.shape[:2]:
            raise ValueError(f"encoder_attention_mask must be {tuple(text.shape[:2])}, got {tuple(mask.shape)}")
        if (pooled is None) != (self.config.pooled_dim is None):
            raise ValueError(
                f"pooled_projections must be given if and only if the config has pooled_dim: pooled_dim is "
                f"{self.config.pooled_dim}, pooled_projections is {'missing' if pooled is None else 'given'}"
            )
        return t, h, w
