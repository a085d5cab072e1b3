"""The captioner on vLLM's layers: its SigLIP, its LLMs with their caches and parallelism, our resampler and projector.

In: a checkpoint of `v2t.model` and what `processing` makes of a request. Out: hidden states and logits. The resampler
and the projector are the classes of training, relatively small and replicated on every device of a tensor-parallel
group. Letters: V videos, S segments, F frames of a segment, N patches, Q visual tokens of a segment, D_llm width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from vllm.config import VllmConfig
from vllm.model_executor.models.interfaces import SupportsLoRA, SupportsMultiModal, SupportsPP
from vllm.model_executor.models.module_mapping import MultiModelKeys
from vllm.model_executor.models.siglip import SiglipVisionEmbeddings, SiglipVisionTransformer
from vllm.model_executor.models.utils import (
    AutoWeightsLoader,
    WeightsMapper,
    init_vllm_registered_model,
    maybe_prefix,
)
from vllm.multimodal import MULTIMODAL_REGISTRY
from vllm.sequence import IntermediateTensors

from cineloop.errors import UsageError
from v2t.model import CineloopConfig, CineloopProjector, CineloopResampler
from v2t.model.processing import VIDEO_TOKEN
from v2t.model.vision import encode_frames, patch_grid
from v2t.serve.plugin.processing import (
    CineloopDummyInputsBuilder,
    CineloopMultiModalProcessor,
    CineloopProcessingInfo,
)


class _Embeddings(SiglipVisionEmbeddings):
    """vLLM's, except for positions of frames that are not a square of the trained size: those are transformers'."""

    def interpolate_pos_encoding(self, embeddings: Tensor, height: int, width: int) -> Tensor:
        """Position vectors (1, N, D) for a patch grid of any shape."""
        side = self.image_size // self.patch_size
        table = self.position_embedding.weight.view(1, side, side, -1).permute(0, 3, 1, 2)  # (1, D, side, side)
        grid = (height // self.patch_size, width // self.patch_size)
        if grid != (side, side):
            table = nn.functional.interpolate(table, size=grid, mode="bicubic", align_corners=False)
        return table.flatten(2).transpose(1, 2)  # (1, N, D)


class VisionTower(SiglipVisionTransformer):
    """vLLM's SigLIP with the interface of transformers', as `encode_frames` needs."""

    def __init__(self, config: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(config, *args, **kwargs)
        self.embeddings = _Embeddings(config)

    def forward(self, pixel_values: Tensor, **options: Any) -> BaseModelOutput:  # type: ignore[override]
        """Patch tokens (B, N, D) of frames (B, 3, H, W), behind the last norm."""
        return BaseModelOutput(last_hidden_state=super().forward(pixel_values, **options))


@MULTIMODAL_REGISTRY.register_processor(
    CineloopMultiModalProcessor, info=CineloopProcessingInfo, dummy_inputs=CineloopDummyInputsBuilder
)
class CineloopForConditionalGeneration(nn.Module, SupportsMultiModal, SupportsLoRA, SupportsPP):
    """The captioner. Parts: `vision_tower`, `resampler`, `projector`, `language_model` (with its head)."""

    hf_to_vllm_mapper = WeightsMapper(
        orig_to_new_prefix={
            "model.vision_tower.vision_model.": "vision_tower.",  # as transformers before 5.20 wrote it
            "model.vision_tower.": "vision_tower.",
            "model.resampler.": "resampler.",
            "model.projector.": "projector.",
            "model.language_model.": "language_model.model.",
            "lm_head.": "language_model.lm_head.",
        }
    )
    # A folder may hold tensors other than weights, such as those of `v2t.backends.domain`.
    allow_patterns_overrides = ["model*.safetensors"]
    packed_modules_mapping = {"qkv_proj": ["q_proj", "k_proj", "v_proj"], "gate_up_proj": ["gate_proj", "up_proj"]}

    # Of SupportsMultiModal; where vLLM is not installed, a type checker would take them for parts of the model.
    _mark_tower_model: Callable[..., AbstractContextManager[None]]
    _mark_language_model: Callable[..., AbstractContextManager[None]]
    configure_mm_token_handling: Callable[..., None]

    @classmethod
    def get_placeholder_str(cls, modality: str, i: int) -> str:
        """The mark of a video, for chat templates that take plain text."""
        if modality == "video":
            return VIDEO_TOKEN
        raise ValueError(f"this model takes videos, not {modality}; a picture is a video of one frame")

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = "") -> None:
        super().__init__()
        config: CineloopConfig = vllm_config.model_config.hf_config
        self.config = config
        tower, text = config.vision_config, config.text_config
        if tower.model_type != "siglip_vision_model":
            raise UsageError(f"a vision tower of type {tower.model_type!r} is not served by vLLM, only SigLIP")
        with self._mark_tower_model(vllm_config, "video"):
            self.vision_tower = VisionTower(
                tower, vllm_config.quant_config, require_post_norm=True, prefix=maybe_prefix(prefix, "vision_tower")
            )
            self.resampler = CineloopResampler(config.resampler_config, tower.hidden_size)
            self.projector = CineloopProjector(
                config.resampler_config.hidden_size, text.hidden_size, config.projector_hidden_act
            )
        text.tie_word_embeddings = config.tie_word_embeddings
        with self._mark_language_model(vllm_config):
            self.language_model = init_vllm_registered_model(
                vllm_config=vllm_config,
                hf_config=text,
                # Its config may name the body it was saved as, or nothing.
                architectures=[MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(text.model_type) or text.architectures[0]],
                prefix=maybe_prefix(prefix, "language_model"),
            )
        self.packed_modules_mapping = getattr(
            self.language_model, "packed_modules_mapping", type(self).packed_modules_mapping
        )
        self.make_empty_intermediate_tensors = self.language_model.make_empty_intermediate_tensors
        self.configure_mm_token_handling(text.vocab_size, [config.video_token_id])
        settings = vllm_config.model_config.try_get_generation_config() or {}
        self._suppressed = sorted({config.video_token_id, *(settings.get("suppress_tokens") or ())})
        # On a CPU the tower's activations should stay in its caches, and a video's numbers depend on itself alone.
        whole = config.vision_chunk_frames
        on_cpu = vllm_config.device_config.device_type == "cpu"
        self._chunk_frames = min(whole, config.resampler_config.segment_frames) if on_cpu else whole

    def embed_multimodal(self, **kwargs: Any) -> tuple[Tensor, ...]:
        """Visual tokens of each video, (its segments * Q, D_llm).

        Args:
            kwargs: pixel_values_videos (S, F, 3, H, W), frame_times_bits (S, F) float32 seconds as int32,
                frame_mask (S, F), num_segments (V,); nothing without a video.
        """
        pixels = kwargs.get("pixel_values_videos")
        if pixels is None:
            return ()
        mask = kwargs["frame_mask"].bool()
        times = kwargs["frame_times_bits"].view(torch.float32)  # (S, F)
        grid = patch_grid(self.config.vision_config, pixels.shape[-2:])
        patches = encode_frames(self.vision_tower, pixels, mask, self._chunk_frames)  # (S, F, N, D_vision)
        tokens = self.projector(self.resampler(patches, times, mask, grid))  # (S, Q, D_llm)
        counts = kwargs["num_segments"].flatten().tolist()
        return tuple(video.flatten(0, 1) for video in tokens.split(counts))

    def forward(
        self,
        input_ids: Tensor | None,
        positions: Tensor,
        intermediate_tensors: IntermediateTensors | None = None,
        inputs_embeds: Tensor | None = None,
        **kwargs: Any,
    ) -> Tensor | IntermediateTensors:
        """Hidden states of the LLM, or what the next pipeline stage needs."""
        if intermediate_tensors is not None:
            inputs_embeds = None
        return self.language_model.model(input_ids, positions, intermediate_tensors, inputs_embeds=inputs_embeds)

    def compute_logits(self, hidden_states: Tensor) -> Tensor | None:
        """Logits, in which placeholders cannot be chosen: an LLM must not write a video."""
        logits = self.language_model.compute_logits(hidden_states)
        if logits is not None:
            logits[..., self._suppressed] = float("-inf")
        return logits

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> set[str]:
        """From a checkpoint of `save_pretrained`; the tower's pooling head, where there is one, is left out."""
        return AutoWeightsLoader(self).load_weights(weights, mapper=self.hf_to_vllm_mapper)

    def get_mm_mapping(self) -> MultiModelKeys:
        """Which modules are LLM, connector and tower."""
        return MultiModelKeys.from_string_field(
            language_model="language_model", connector=["resampler", "projector"], tower_model="vision_tower"
        )
