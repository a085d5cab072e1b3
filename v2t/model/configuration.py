"""Shapes of the captioner: vision tower, resampler, projector and language model, and the placeholder token of video.

In: keyword arguments or a `config.json`. Out: `CineloopConfig` with three sub-configs, in transformers' form.
The handwritten `__init__` with a `sub_configs` class variable is the one form that transformers 5.16 to 5.23 all read.
Letters: F frames of a segment, Q visual tokens of a segment, T frames of a clip.
"""

from __future__ import annotations

from typing import Any

from transformers import AutoConfig, PreTrainedConfig

from cineloop.errors import UsageError

RESAMPLER_KINDS = ("qformer", "pool")
QUERY_FORMS = ("per_frame", "free")
FFN_KINDS = ("swiglu", "gelu")


class CineloopResamplerConfig(PreTrainedConfig):
    """How the patch tokens of one segment become a fixed number of query tokens.

    Args:
        kind: `qformer` (learned queries that attend patches) or `pool` (2-D average pooling per frame).
        segment_frames: F, frames of a full segment; the last segment of a clip may hold fewer (masked).
        num_queries: Q of `qformer`, tokens per segment.
        queries: `per_frame` ties query k to frame floor(k*F/Q): it carries that frame's time and, in the first
            `frame_layers` blocks, sees only the patches of its own frame (two levels, as TimeChat). `free`: Q
            unconstrained learned queries over the whole segment from the first block on (Video-LLaMA, BLIP-2).
        hidden_size, num_layers, num_heads, intermediate_size: width and depth of the blocks; `num_layers` counts all
            blocks. `intermediate_size` None means four widths for `gelu`, eight thirds (rounded to 32) for `swiglu`.
        frame_layers: blocks at frame level, `per_frame` only; 0 to `num_layers`.
        ffn: `gelu` or `swiglu`.
        time_features: Fourier features of each of the two clocks of a frame (seconds since the segment began, and the
            same in units of the mean frame spacing); even, half sines and half cosines.
        frame_grid: patches of a frame are average-pooled to frame_grid x frame_grid before queries attend; 0 keeps all.
        pool_grid: `pool` only: tokens per frame are pool_grid squared, so Q = F * pool_grid squared.
        spatial_features: Fourier features of each image axis for patch positions; even.

    Raises:
        UsageError: a value out of range or an unknown choice.
    """

    model_type = "cineloop_resampler"
    base_config_key = "resampler_config"

    def __init__(
        self,
        kind: str = "qformer",
        segment_frames: int = 16,
        num_queries: int = 32,
        queries: str = "per_frame",
        hidden_size: int = 256,
        num_layers: int = 3,
        frame_layers: int = 1,
        num_heads: int = 4,
        intermediate_size: int | None = None,
        ffn: str = "gelu",
        time_features: int = 32,
        spatial_features: int = 16,
        frame_grid: int | None = 0,
        pool_grid: int = 2,
        layer_norm_eps: float = 1e-6,
        **kwargs: Any,
    ) -> None:
        self.kind = kind
        self.segment_frames = segment_frames
        self.num_queries = num_queries
        self.queries = queries
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.frame_layers = frame_layers
        self.num_heads = num_heads
        self.intermediate_size = intermediate_size
        self.ffn = ffn
        self.time_features = time_features
        self.spatial_features = spatial_features
        self.frame_grid = frame_grid or 0
        self.pool_grid = pool_grid
        self.layer_norm_eps = layer_norm_eps
        self._check()
        super().__init__(**kwargs)

    @property
    def tokens_per_segment(self) -> int:
        """Visual tokens of one segment, whatever the kind."""
        return self.num_queries if self.kind == "qformer" else self.segment_frames * self.pool_grid**2

    @property
    def ffn_size(self) -> int:
        """Inner width of the feed-forward part."""
        if self.intermediate_size is not None:
            return self.intermediate_size
        return 4 * self.hidden_size if self.ffn == "gelu" else -(-8 * self.hidden_size // 96) * 32

    def num_segments(self, num_frames: int) -> int:
        """Segments of a clip of `num_frames` >= 1 frames: ceil(T / F)."""
        if num_frames < 1:
            raise UsageError(f"a clip has at least one frame, got num_frames={num_frames}")
        return -(-num_frames // self.segment_frames)

    def num_visual_tokens(self, num_frames: int) -> int:
        """Visual tokens of a clip of `num_frames` >= 1 frames: ceil(T / F) * Q."""
        return self.num_segments(num_frames) * self.tokens_per_segment

    def _check(self) -> None:
        for name, choices in (("kind", RESAMPLER_KINDS), ("queries", QUERY_FORMS), ("ffn", FFN_KINDS)):
            if getattr(self, name) not in choices:
                raise UsageError(f"resampler {name}={getattr(self, name)!r}; choose one of {', '.join(choices)}")
        for name in ("segment_frames", "num_queries", "hidden_size", "num_heads", "pool_grid"):
            if getattr(self, name) < 1:
                raise UsageError(f"resampler {name} must be at least 1, got {getattr(self, name)}")
        if self.hidden_size % self.num_heads:
            raise UsageError(f"resampler hidden_size={self.hidden_size}: not a multiple of num_heads={self.num_heads}")
        for name in ("time_features", "spatial_features"):
            if getattr(self, name) < 2 or getattr(self, name) % 2:
                raise UsageError(f"resampler {name} must be even and at least 2, got {getattr(self, name)}")
        if self.kind == "qformer" and self.num_layers < 1:
            raise UsageError("a qformer needs num_layers >= 1")
        if self.kind == "qformer" and self.queries == "per_frame" and not 0 <= self.frame_layers <= self.num_layers:
            raise UsageError(f"frame_layers={self.frame_layers} must be in 0..num_layers={self.num_layers}")


class CineloopConfig(PreTrainedConfig):
    """The whole captioner.

    Args:
        vision_config: a `SiglipVisionConfig` or its dict.
        resampler_config: a `CineloopResamplerConfig` or its dict.
        text_config: config of any causal LLM of transformers, or its dict with `model_type`.
        video_token_id: id of the placeholder token `<video>`, one per visual token.
        projector_hidden_act: activation between the projector's two layers.
        vision_chunk_frames: frames the tower sees at once when no gradient is wanted; bounds memory on long clips.
        tie_word_embeddings: None takes the text config's choice.
    """

    model_type = "cineloop"
    sub_configs = {
        "vision_config": AutoConfig,
        "resampler_config": CineloopResamplerConfig,
        "text_config": AutoConfig,
    }

    def __init__(
        self,
        vision_config: dict | PreTrainedConfig | None = None,
        resampler_config: dict | PreTrainedConfig | None = None,
        text_config: dict | PreTrainedConfig | None = None,
        video_token_id: int = 0,
        projector_hidden_act: str = "gelu",
        vision_chunk_frames: int = 256,
        tie_word_embeddings: bool | None = None,
        **kwargs: Any,
    ) -> None:
        self.vision_config = _sub_config(vision_config, default_type="siglip_vision_model")
        self.text_config = _sub_config(text_config, default_type="qwen3")
        if resampler_config is None or isinstance(resampler_config, dict):
            resampler_config = CineloopResamplerConfig(**(resampler_config or {}))
        self.resampler_config = resampler_config
        self.video_token_id = video_token_id
        self.projector_hidden_act = projector_hidden_act
        self.vision_chunk_frames = vision_chunk_frames
        if tie_word_embeddings is None:
            tie_word_embeddings = bool(self.text_config.tie_word_embeddings)
        super().__init__(tie_word_embeddings=tie_word_embeddings, **kwargs)

    def num_visual_tokens(self, num_frames: int) -> int:
        """Visual tokens of a clip of `num_frames` >= 1 frames: ceil(T / F) * Q."""
        return self.resampler_config.num_visual_tokens(num_frames)


def _sub_config(value: dict | PreTrainedConfig | None, *, default_type: str) -> PreTrainedConfig:
    if isinstance(value, PreTrainedConfig):
        return value
    fields = dict(value or {})
    return AutoConfig.for_model(fields.pop("model_type", default_type), **fields)
