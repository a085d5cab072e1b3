"""The resampler: patch tokens of a segment of frames to a fixed number of query tokens, never seeing the question.

In: patch tokens (S, F, N, D_vision), frame times in seconds (S, F), which frames are real (S, F). Out: query tokens
(S, Q, D). Time enters as continuous Fourier features, so there is no table over frames to outgrow; space likewise, so
any patch grid fits. `qformer` follows BLIP-2 (arXiv:2301.12597), in its two-level form TimeChat (arXiv:2312.02051):
first the queries of a frame read that frame, then all queries of the segment mix and read the whole segment. `pool`
is the 2-D adaptive average pooling of DeCo (arXiv:2405.20985). Weights start at fan-in scale, so that patch, place and
time enter with equal strength and attention is not flat at the start.
Letters: S segments, F frames, N patches of a frame, Q queries, G groups of a segment's frames, D width, h heads.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as nnf
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.modeling_layers import GradientCheckpointingLayer

from cineloop.errors import UsageError
from v2t.model.configuration import CineloopResamplerConfig

SECONDS_PERIODS = (0.5, 512.0)
FRAMES_PERIODS = (2.0, 128.0)


def fourier(values: Tensor, periods: Tensor) -> Tensor:
    """Sines and cosines of `values` (...) at `periods` (K,): (..., 2K)."""
    angles = values[..., None] * (2 * math.pi / periods)  # (..., K)
    return torch.cat((angles.sin(), angles.cos()), dim=-1)  # (..., 2K)


def time_features(frame_times_s: Tensor, frame_mask: Tensor, num_features: int) -> Tensor:
    """Two clocks of every frame, and the mean spacing of its segment: (S, F, 2 * num_features + 1) float32.

    The first clock counts seconds since the segment's first frame, the second the same in mean frame spacings: speed
    needs the one, order the other when frames are a minute apart. Neither depends on the segment's position in the
    clip, so equal footage gives equal tokens; the position is in the prompt's timestamp text.
    """
    seconds = (frame_times_s - frame_times_s[:, :1]).double()  # (S, F)
    seconds = seconds.masked_fill(~frame_mask, 0)
    gaps = (frame_mask.sum(1) - 1).clamp(min=1)  # (S,)
    spacing = (seconds.amax(1) / gaps)[:, None]  # (S, 1)
    frames = torch.where(spacing > 0, seconds / spacing.clamp(min=1e-6), 0.0)  # (S, F)
    clocks = []
    for clock, (low, high) in ((seconds, SECONDS_PERIODS), (frames, FRAMES_PERIODS)):
        exponents = torch.linspace(0, 1, num_features // 2, device=clock.device, dtype=clock.dtype)
        clocks.append(fourier(clock, low * (high / low) ** exponents))
    log_spacing = (spacing + 0.01).log().expand_as(seconds)[..., None]  # (S, F, 1)
    return torch.cat((*clocks, log_spacing), dim=-1).float()  # (S, F, 2K + 1)


def spatial_features(grid: tuple[int, int], num_features: int, device: torch.device) -> Tensor:
    """Position features of each cell of a grid, in [0, 1] on each axis: (rows * columns, 2 * num_features)."""
    periods = 2 / torch.arange(1, num_features // 2 + 1, device=device)
    axes = [fourier((torch.arange(n, device=device) + 0.5) / n, periods) for n in grid]  # (n, features) each
    rows, columns = axes[0][:, None].expand(-1, grid[1], -1), axes[1][None].expand(grid[0], -1, -1)
    return torch.cat((rows, columns), dim=-1).flatten(0, 1)  # (rows * columns, 2 * features)


class Attention(nn.Module):
    """Multi-head attention of `states` over `memory`."""

    def __init__(self, config: CineloopResamplerConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.num_heads = config.num_heads
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.o_proj = nn.Linear(width, width)

    def forward(self, states: Tensor, memory: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, L, D) over (B, M, D), `mask` (B, M) True where a key may be seen: (B, L, D); zeros where none may."""
        query, key, value = (
            proj(x).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)  # (B, h, L or M, D/h)
            for proj, x in ((self.q_proj, states), (self.k_proj, memory), (self.v_proj, memory))
        )
        if mask is None:
            read = _attend(query, key, value)
        else:
            # A row without any key is undefined in some kernels: let it attend to all, then zero its output.
            alive = mask.any(1)  # (B,)
            seen = (mask | ~alive[:, None])[:, None, None]  # (B, 1, 1, M)
            read = _attend(query, key, value, seen)
            read = read * alive[:, None, None, None]
        out = self.o_proj(read.transpose(1, 2).flatten(2))  # (B, L, D)
        return out if mask is None else out * alive[:, None, None]


def _attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
    """Torch's fused attention; in training on a CPU plain products, whose backward pass is three times as fast there.

    Args:
        query: (B, h, L, K); key, value: (B, h, M, K).
        mask: bool, broadcast to (B, h, L, M); True where a key may be seen.
    """
    if query.device.type != "cpu" or not query.requires_grad:
        return nnf.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    weights = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5  # (B, h, L, M)
    if mask is not None:
        weights = weights.masked_fill(~mask, torch.finfo(weights.dtype).min)
    return weights.softmax(-1).to(value.dtype) @ value  # (B, h, L, K)


class FeedForward(nn.Module):
    """GELU or SwiGLU feed-forward part, (..., D) to (..., D)."""

    def __init__(self, config: CineloopResamplerConfig) -> None:
        super().__init__()
        self.gated = config.ffn == "swiglu"
        self.up_proj = nn.Linear(config.hidden_size, config.ffn_size * (2 if self.gated else 1))
        self.down_proj = nn.Linear(config.ffn_size, config.hidden_size)

    def forward(self, states: Tensor) -> Tensor:
        """(..., D) to (..., D)."""
        inner = self.up_proj(states)
        if self.gated:
            gate, inner = inner.chunk(2, dim=-1)
            return self.down_proj(nnf.silu(gate) * inner)
        return self.down_proj(nnf.gelu(inner))


class ResamplerBlock(GradientCheckpointingLayer):
    """Pre-norm block: self-attention, cross-attention to a memory (left out for `pool`), feed-forward."""

    def __init__(self, config: CineloopResamplerConfig, *, cross: bool) -> None:
        super().__init__()
        width, eps = config.hidden_size, config.layer_norm_eps
        self.self_norm = nn.LayerNorm(width, eps=eps)
        self.self_attn = Attention(config)
        if cross:
            self.cross_norm = nn.LayerNorm(width, eps=eps)
            self.cross_attn = Attention(config)
        self.ffn_norm = nn.LayerNorm(width, eps=eps)
        self.ffn = FeedForward(config)
        self.cross = cross

    def forward(self, states: Tensor, memory: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """States (B, L, D), memory (B, M, D), mask (B, M), of the states themselves where there is no memory."""
        normed = self.self_norm(states)
        states = states + self.self_attn(normed, normed, None if self.cross else mask)
        if self.cross:
            states = states + self.cross_attn(self.cross_norm(states), memory, mask)
        return states + self.ffn(self.ffn_norm(states))


class CineloopResampler(PreTrainedModel):
    """Patch tokens of each segment to `config.tokens_per_segment` query tokens.

    Args:
        config: kind, widths and depths.
        vision_size: D_vision, width of the patch tokens.
    """

    config_class = CineloopResamplerConfig
    main_input_name = "patch_tokens"
    supports_gradient_checkpointing = True
    # Attention is torch's fused kernel, independent of the setting of the LLM and the tower.
    _supports_sdpa = _supports_flash_attn = _supports_flex_attn = _supports_attention_backend = True
    _no_split_modules = ["ResamplerBlock"]

    def __init__(self, config: CineloopResamplerConfig, vision_size: int) -> None:
        super().__init__(config)
        width, eps = config.hidden_size, config.layer_norm_eps
        self.patch_proj = nn.Linear(vision_size, width)
        self.space_proj = nn.Linear(2 * config.spatial_features, width)
        self.time_mlp = nn.Sequential(
            nn.Linear(2 * config.time_features + 1, width), nn.SiLU(), nn.Linear(width, width)
        )
        is_qformer = config.kind == "qformer"
        if is_qformer:
            self.groups = math.gcd(config.segment_frames, config.num_queries) if config.queries == "per_frame" else 1
            # Queries of every frame group share their vectors and differ by their time: what a frame's query learns
            # on one frame holds for all.
            self.query_tokens = nn.Parameter(torch.empty(config.num_queries // self.groups, width))
            self.memory_norm = nn.LayerNorm(width, eps=eps)
        self.blocks = nn.ModuleList(ResamplerBlock(config, cross=is_qformer) for _ in range(config.num_layers))
        self.final_norm = nn.LayerNorm(width, eps=eps)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            init.normal_(module.weight, std=module.in_features**-0.5)
            init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm):
            init.ones_(module.weight)
            init.zeros_(module.bias)
        elif isinstance(module, Attention | FeedForward):
            # Residual updates stay small relative to the residual stream, whatever the depth.
            out = module.o_proj if isinstance(module, Attention) else module.down_proj
            init.normal_(out.weight, std=(out.in_features * 3 * self.config.num_layers) ** -0.5)
        elif isinstance(module, CineloopResampler) and self.config.kind == "qformer":
            init.normal_(module.query_tokens, std=1.0)

    def forward(
        self,
        patch_tokens: Tensor,
        frame_times_s: Tensor,
        frame_mask: Tensor | None = None,
        grid: tuple[int, int] | None = None,
    ) -> Tensor:
        """Query tokens (S, Q, D).

        Args:
            patch_tokens: (S, F, N, D_vision).
            frame_times_s: (S, F) seconds within the clip; values at padding frames are ignored.
            frame_mask: (S, F) bool, True for real frames, which come first; None means all are.
            grid: rows and columns of the patches; None takes a square.

        Raises:
            UsageError: frames other than `segment_frames`, times or mask of another shape, or a patch count that is
                not a grid.
        """
        if frame_mask is not None:
            frame_mask = frame_mask.bool()
        self._check(patch_tokens, frame_times_s, frame_mask)
        times = self._time_embedding(frame_times_s, frame_mask)  # (S, F, D)
        if frame_mask is not None and bool(frame_mask.all()):
            frame_mask = None
        if frame_mask is not None:
            patch_tokens = patch_tokens.masked_fill(~frame_mask[..., None, None], 0)
        grid = grid or square_grid(patch_tokens.shape[2])
        if self.config.kind == "pool":
            return self._pool(patch_tokens, times, frame_mask, grid)
        return self._query(patch_tokens, times, frame_mask, grid)

    def _query(self, patch_tokens: Tensor, times: Tensor, frame_mask: Tensor | None, grid: tuple[int, int]) -> Tensor:
        config = self.config
        side = config.frame_grid
        if side and (side, side) != grid:
            patch_tokens, grid = average_to(patch_tokens, grid, side), (side, side)
        memory = self.memory_norm(self._embed(patch_tokens, times, grid))  # (S, F, N, D)
        segments, frames, patches = memory.shape[:3]
        states = self.query_tokens.repeat(self.groups, 1).expand(segments, -1, -1)  # (S, Q, D)
        frame_layers = 0
        if config.queries == "per_frame":
            frame_of_query = torch.arange(config.num_queries, device=times.device) * frames // config.num_queries
            states = states + times[:, frame_of_query]  # (S, Q, D)
            frame_layers = config.frame_layers
        for index, block in enumerate(self.blocks):
            # Frame level: each group of frames with its own queries is a separate batch entry.
            folds = segments * self.groups if index < frame_layers else segments
            mask = None if frame_mask is None else frame_mask.repeat_interleave(patches, 1).view(folds, -1)
            states = block(
                states.reshape(folds, -1, config.hidden_size), memory.view(folds, -1, config.hidden_size), mask
            )
        return self.final_norm(states.view(segments, config.num_queries, -1))  # (S, Q, D)

    def _pool(self, patch_tokens: Tensor, times: Tensor, frame_mask: Tensor | None, grid: tuple[int, int]) -> Tensor:
        side = self.config.pool_grid
        pooled = average_to(patch_tokens, grid, side)  # (S, F, g*g, D_vision)
        states = self._embed(pooled, times, (side, side)).flatten(1, 2)  # (S, F*g*g, D)
        mask = None if frame_mask is None else frame_mask.repeat_interleave(side * side, 1)  # (S, F*g*g)
        for block in self.blocks:
            states = block(states, None, mask)
        return self.final_norm(states)  # (S, F*g*g, D)

    def _embed(self, patch_tokens: Tensor, times: Tensor, grid: tuple[int, int]) -> Tensor:
        places = spatial_features(grid, self.config.spatial_features, patch_tokens.device)  # (N, 2K)
        places = self.space_proj(places.to(self.space_proj.weight.dtype))  # (N, D)
        return self.patch_proj(patch_tokens.to(self.patch_proj.weight.dtype)) + places + times[:, :, None]  # (S,F,N,D)

    def _time_embedding(self, frame_times_s: Tensor, frame_mask: Tensor | None) -> Tensor:
        real = torch.ones_like(frame_times_s, dtype=torch.bool) if frame_mask is None else frame_mask
        features = time_features(frame_times_s, real, self.config.time_features)  # (S, F, 2K + 1)
        times = self.time_mlp(features.to(self.space_proj.weight.dtype))  # (S, F, D)
        return times * real[..., None]

    def _check(self, patch_tokens: Tensor, frame_times_s: Tensor, frame_mask: Tensor | None) -> None:
        if patch_tokens.ndim != 4 or patch_tokens.shape[1] != self.config.segment_frames:
            raise UsageError(
                f"patch tokens: expected (segments, {self.config.segment_frames} frames, patches, width), "
                f"got {tuple(patch_tokens.shape)}",
                hint="the processor fills the last segment with masked frames",
            )
        for name, value in (("frame_times_s", frame_times_s), ("frame_mask", frame_mask)):
            if value is not None and value.shape != patch_tokens.shape[:2]:
                raise UsageError(f"{name}: expected {tuple(patch_tokens.shape[:2])}, got {tuple(value.shape)}")


def square_grid(num_patches: int) -> tuple[int, int]:
    """Side lengths of a square grid of `num_patches`; UsageError if it is not a square."""
    side = math.isqrt(num_patches)
    if side * side != num_patches:
        raise UsageError(f"{num_patches} patches are not a square grid", hint="pass grid=(rows, columns)")
    return side, side


def average_to(patch_tokens: Tensor, grid: tuple[int, int], side: int) -> Tensor:
    """Adaptive average pooling of each frame's patch grid: (S, F, rows*columns, D) to (S, F, side*side, D)."""
    images = patch_tokens.flatten(0, 1).transpose(1, 2).unflatten(2, grid)  # (S*F, D, rows, columns)
    pooled = nnf.adaptive_avg_pool2d(images, side).flatten(2).transpose(1, 2)  # (S*F, side*side, D)
    return pooled.unflatten(0, patch_tokens.shape[:2])  # (S, F, side*side, D)
