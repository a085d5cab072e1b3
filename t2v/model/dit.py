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
from diffusers.models.attention import AttentionMixin
from diffusers.models.cache_utils import CacheMixin
from diffusers.models.modeling_outputs import Transformer2DModelOutput
from diffusers.models.modeling_utils import ModelMixin
from diffusers.utils import scale_lora_layers, unscale_lora_layers
from torch import Tensor, nn

from t2v.model.dit_blocks import CineloopConditionEmbedding, CineloopTransformerBlock
from t2v.model.norms import LayerNorm, modulated_norm, modulation_dtype
from t2v.model.rotary import RotaryEmbedding3D


class CineloopTransformer3DModel(
    ModelMixin, ConfigMixin, PeftAdapterMixin, FromOriginalModelMixin, CacheMixin, AttentionMixin
):
    """The transformer; every size is a config key, from 3 M parameters to Wan's billions.

    Keys beyond Wan's: `pooled_dim` (width P of a pooled text vector added to the time embedding), `rope_axes_dim`
    (channels of a head that turn with time, rows, columns), `ffn_activation` (any of diffusers' `FeedForward`; on the
    CPU "gelu" is much faster than Wan's and differs by less than bfloat16 shows), `ffn_conv` (a depthwise convolution
    in the feed-forward, see `ConvFeedForward`; not with context parallelism), `zero_init` (fresh blocks are the
    identity and the output is zero), and what a pipeline makes by default: `sample_height`, `sample_width` in pixels,
    `sample_frames`, `sample_fps`, in `sample_steps` steps with guidance `sample_guidance`. `rope_max_seq_len` is
    accepted for Wan's configs and limits nothing.
    Raises ValueError for an unknown `qk_norm`, and for rope axes that do not fit the head.
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
        image_dim: int | None = None,
        added_kv_proj_dim: int | None = None,
        rope_max_seq_len: int = 1024,
        pos_embed_seq_len: int | None = None,
        pooled_dim: int | None = None,
        rope_axes_dim: tuple[int, int, int] | None = None,
        rope_theta: float = 10_000.0,
        ffn_activation: str = "gelu-approximate",
        ffn_conv: bool = False,
        zero_init: bool = True,
        sample_height: int = 64,
        sample_width: int = 64,
        sample_frames: int = 17,
        sample_fps: float = 8.0,
        sample_steps: int = 24,
        sample_guidance: float = 2.0,
    ) -> None:
        super().__init__()
        if qk_norm != "rms_norm_across_heads":
            raise ValueError(f"qk_norm must be 'rms_norm_across_heads', the only one Wan has, got {qk_norm!r}")
        dim = num_attention_heads * attention_head_dim
        out_channels = out_channels or in_channels
        self.rope = RotaryEmbedding3D(attention_head_dim, rope_axes_dim, rope_theta)
        patch = (patch_size[0], patch_size[1], patch_size[2])
        self.patch_embedding = nn.Conv3d(in_channels, dim, kernel_size=patch, stride=patch)
        self.condition_embedder = CineloopConditionEmbedding(
            dim, freq_dim, text_dim, pooled_dim, image_dim, pos_embed_seq_len
        )
        sizes = (dim, ffn_dim, num_attention_heads, cross_attn_norm, eps, ffn_activation, added_kv_proj_dim, ffn_conv)
        self.blocks = nn.ModuleList([CineloopTransformerBlock(*sizes) for _ in range(num_layers)])
        self.norm_out = LayerNorm(dim, eps, elementwise_affine=False)
        self.proj_out = nn.Linear(dim, out_channels * math.prod(patch_size))
        self.scale_shift_table = nn.Parameter(torch.randn(1, 2, dim) / dim**0.5)
        self.gradient_checkpointing = False
        self.initialize_weights(zero=zero_init)

    @torch.no_grad()
    def initialize_weights(self, zero: bool = True) -> None:
        """Fan-scaled projections; with `zero`, gates, cross-attention output and head start at zero (adaLN-Zero)."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):  # at first the feed-forward is as without it
                module.weight.zero_()
                if module.bias is not None:
                    module.bias.zero_()
            elif isinstance(module, nn.Linear | nn.Conv3d):
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

    def enable_cache(self, config: Any) -> None:
        """Reuse of block outputs between steps by diffusers' caches, which must know what a block returns."""
        from diffusers.hooks._helpers import TransformerBlockMetadata, TransformerBlockRegistry

        TransformerBlockRegistry.register(CineloopTransformerBlock, TransformerBlockMetadata(0))
        super().enable_cache(config)

    def forward(
        self,
        hidden_states: Tensor,
        timestep: Tensor,
        encoder_hidden_states: Tensor,
        encoder_attention_mask: Tensor | None = None,
        pooled_projections: Tensor | None = None,
        attention_kwargs: dict[str, Any] | None = None,
        return_dict: bool = True,
        encoder_hidden_states_image: Tensor | None = None,
    ) -> Transformer2DModelOutput | tuple[Tensor]:
        """Predict the velocity of `hidden_states` (B, C, T, H, W), in the same shape with C_out channels.

        `timestep` (B) or (B, N), 0..1000; text (B, L, text_dim); `encoder_attention_mask` (B, L) bool, True where a
        token counts, at least one a row; `pooled_projections` (B, P) if and only if the config has `pooled_dim`;
        `encoder_hidden_states_image` (B, I, image_dim) if and only if it has `image_dim`;
        `attention_kwargs={"scale": s}` scales LoRA layers. Raises ValueError for shapes that do not fit.
        """
        text, mask = encoder_hidden_states, encoder_attention_mask
        grid = self._token_grid(hidden_states, timestep)
        self._check_conditions(text, mask, pooled_projections, encoder_hidden_states_image)
        lora_scale = (attention_kwargs or {}).get("scale", 1.0)
        if lora_scale != 1.0:
            scale_lora_layers(self, lora_scale)
        try:
            x = self.patch_embedding(hidden_states).flatten(2).transpose(1, 2).contiguous()  # (B, N, D)
            temb, modulation, text = self.condition_embedder(timestep, text, pooled_projections)
            image = self.condition_embedder.embed_image(encoder_hidden_states_image)  # (B, I, D)
            mask = None if mask is None else mask.bool()[:, None, None, :]  # (B, 1, 1, L)
            x = self._run_blocks(x, text, modulation, grid, mask, image)
            temb = temb[:, None] if temb.ndim == 2 else temb  # (B, 1 or N, D)
            shift, scale = (self.scale_shift_table + temb[:, :, None].float()).unbind(2)  # (B, 1 or N, D)
            where = {"device": x.device, "dtype": modulation_dtype(x)}
            x = self.proj_out(modulated_norm(self.norm_out, x, shift.to(**where), scale.to(**where)))
        finally:
            if lora_scale != 1.0:
                unscale_lora_layers(self, lora_scale)
        sample = self._unpatchify(x, grid)
        return Transformer2DModelOutput(sample=sample) if return_dict else (sample,)

    def _run_blocks(
        self,
        x: Tensor,
        text: Tensor,
        modulation: Tensor,
        grid: tuple[int, int, int],
        mask: Tensor | None,
        image: Tensor | None,
    ) -> Tensor:
        """(B, N, D) through all blocks."""
        turns = torch.complex(*self.rope(grid, x.device))  # (1, N, 1, d/2)
        for block in self.blocks:
            inputs = (x, text, modulation, turns, mask, image, grid)
            if torch.is_grad_enabled() and self.gradient_checkpointing:
                x = self._gradient_checkpointing_func(block, *inputs)
            else:
                x = block(*inputs)
        return x

    def _unpatchify(self, x: Tensor, grid: tuple[int, int, int]) -> Tensor:
        """(B, N, pt * ph * pw * C) to (B, C, T, H, W)."""
        x = x.reshape(x.shape[0], *grid, *self.config.patch_size, -1)  # (B, t, h, w, pt, ph, pw, C)
        return x.permute(0, 7, 1, 4, 2, 5, 3, 6).flatten(6, 7).flatten(4, 5).flatten(2, 3)  # (B, C, T, H, W)

    def _token_grid(self, latents: Tensor, timestep: Tensor) -> tuple[int, int, int]:
        """The grid (frames, rows, columns) of tokens; raises ValueError where latents or timestep do not fit."""
        patch = self.config.patch_size
        if latents.ndim != 5 or any(n % p or not n for n, p in zip(latents.shape[2:], patch, strict=True)):
            expected = f"(B, {self.config.in_channels}, T, H, W) with T, H, W multiples of {tuple(patch)}"
            raise ValueError(f"latents must be {expected}, got {tuple(latents.shape)}")
        t, h, w = (n // p for n, p in zip(latents.shape[2:], patch, strict=True))
        batch = latents.shape[0]
        if tuple(timestep.shape) not in ((batch,), (batch, t * h * w)):
            raise ValueError(f"timestep must be ({batch},) or ({batch}, {t * h * w}), got {tuple(timestep.shape)}")
        return t, h, w

    def _check_conditions(self, text: Tensor, mask: Tensor | None, pooled: Tensor | None, image: Tensor | None) -> None:
        """Raises ValueError where text, mask, pooled text or image do not fit the config or each other."""
        if text.ndim != 3 or text.shape[-1] != self.config.text_dim:
            raise ValueError(f"text must be (B, L, {self.config.text_dim}), got {tuple(text.shape)}")
        if mask is not None and mask.shape != text.shape[:2]:
            raise ValueError(f"encoder_attention_mask must be {tuple(text.shape[:2])}, got {tuple(mask.shape)}")
        if mask is not None and mask.device.type == "cpu" and not mask.any(dim=1).all():
            raise ValueError("encoder_attention_mask hides every token of a row; keep at least one")
        for name, given, key in (
            ("pooled_projections", pooled, "pooled_dim"),
            ("encoder_hidden_states_image", image, "image_dim"),
        ):
            width = self.config[key]
            if (given is None) != (width is None) or (given is not None and given.shape[-1] != width):
                got = "nothing" if given is None else tuple(given.shape)
                raise ValueError(f"{name} must fit {key}={width} of the config, got {got}")
