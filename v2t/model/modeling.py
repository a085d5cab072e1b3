"""The captioner in transformers' form: vision tower, resampler, projector, language model, head.

In: `input_ids` with one `<video>` placeholder for each visual token, and the segments of all videos of the
batch in prompt order: pixels (S, F, 3, H, W), times (S, F) in seconds, mask (S, F). Out: logits, loss, tokens.
Structure and names follow transformers' LLaVA classes, so that tools and serving engines find the parts.
A video's tokens depend on the video alone: `get_video_features` computes them once, `visual_tokens=` reuses them.
Letters: B batch, L text, S segments, F frames of a segment, N patches, Q visual tokens of a segment, D width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModel, GenerationMixin, PreTrainedModel
from transformers.cache_utils import Cache
from transformers.modeling_outputs import BaseModelOutputWithPast, BaseModelOutputWithPooling
from transformers.utils import ModelOutput

from cineloop.errors import UsageError
from v2t.model.configuration import CineloopConfig
from v2t.model.projector import CineloopProjector
from v2t.model.resampler import CineloopResampler
from v2t.model.vision import build_vision_tower, encode_frames, patch_grid

VIDEO_INPUTS = ("pixel_values_videos", "frame_times_s", "frame_mask", "vision_hidden_states", "visual_tokens")


@dataclass
class CineloopModelOutput(BaseModelOutputWithPast):
    """What the body returns: the LLM's output, and the visual tokens (S, Q, D_llm) that went in."""

    visual_tokens: Tensor | None = None


@dataclass
class CineloopOutput(ModelOutput):
    """What the captioner returns.

    Args:
        loss: () mean cross-entropy over labelled positions.
        logits: (B, L or fewer, vocabulary).
        past_key_values: the LLM's cache.
        hidden_states, attentions: of the LLM, if requested.
        visual_tokens: (S, Q, D_llm) where videos were given.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    past_key_values: Cache | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None
    visual_tokens: Tensor | None = None


class CineloopPreTrainedModel(PreTrainedModel):
    """Common base class: names and supported features."""

    config_class = CineloopConfig
    base_model_prefix = "model"
    input_modalities = ("video", "text")
    main_input_name = "input_ids"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _skip_keys_device_placement = ["past_key_values"]
    _no_split_modules = ["ResamplerBlock", "SiglipEncoderLayer"]


class CineloopModel(CineloopPreTrainedModel):
    """Everything but the head. Parts: `vision_tower`, `resampler`, `projector`, `language_model`."""

    def __init__(self, config: CineloopConfig) -> None:
        super().__init__(config)
        self.vision_tower = build_vision_tower(config.vision_config)
        self.resampler = CineloopResampler(config.resampler_config, config.vision_config.hidden_size)
        self.projector = CineloopProjector(
            config.resampler_config.hidden_size, config.text_config.hidden_size, config.projector_hidden_act
        )
        self.language_model = AutoModel.from_config(config.text_config)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """The LLM's word embeddings."""
        return self.language_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replaces the LLM's word embeddings."""
        self.language_model.set_input_embeddings(value)

    def get_query_tokens(
        self,
        pixel_values_videos: Tensor | None,
        frame_times_s: Tensor | None,
        frame_mask: Tensor | None = None,
        vision_hidden_states: Tensor | None = None,
    ) -> Tensor:
        """The resampler's query tokens of each segment, before the projector: (S, Q, D_resampler).

        Args:
            pixel_values_videos: (S, F, 3, H, W); may be None where `vision_hidden_states` is given.
            frame_times_s: (S, F) seconds within the clip.
            frame_mask: (S, F) bool, True for real frames, which come first; None means all.
            vision_hidden_states: (S, F, N, D_vision) patch tokens kept from a frozen tower, instead of pixels; of
                frames that are not square (S, F, rows, columns, D_vision).
        """
        if frame_times_s is None:
            raise UsageError("frame_times_s is missing: the resampler needs the seconds of every frame")
        mask = None if frame_mask is None else frame_mask.bool()
        grid = None
        if (pixel_values_videos is None) == (vision_hidden_states is None):
            raise UsageError("give either pixel_values_videos or vision_hidden_states")
        if pixel_values_videos is not None:
            vision_hidden_states = encode_frames(
                self.vision_tower, pixel_values_videos, mask, self.config.vision_chunk_frames
            )  # (S, F, N, D_vision)
            grid = patch_grid(self.config.vision_config, pixel_values_videos.shape[-2:])
        elif vision_hidden_states is not None and vision_hidden_states.ndim == 5:
            grid = vision_hidden_states.shape[2], vision_hidden_states.shape[3]
            vision_hidden_states = vision_hidden_states.flatten(2, 3)  # (S, F, N, D_vision)
        return self.resampler(vision_hidden_states, frame_times_s, mask, grid)  # (S, Q, D_resampler)

    def get_video_features(
        self,
        pixel_values_videos: Tensor | None = None,
        frame_times_s: Tensor | None = None,
        frame_mask: Tensor | None = None,
        vision_hidden_states: Tensor | None = None,
        return_dict: bool = False,
    ) -> Tensor | BaseModelOutputWithPooling:
        """Visual tokens of each segment, ready for the LLM: (S, Q, D_llm).

        Arguments as `get_query_tokens`. With `return_dict` an object whose `pooler_output` holds them and whose
        `last_hidden_state` holds the query tokens, as serving engines ask.
        """
        query_tokens = self.get_query_tokens(pixel_values_videos, frame_times_s, frame_mask, vision_hidden_states)
        visual_tokens = self.projector(query_tokens)  # (S, Q, D_llm)
        if return_dict:
            return BaseModelOutputWithPooling(last_hidden_state=query_tokens, pooler_output=visual_tokens)
        return visual_tokens

    def place_visual_tokens(self, input_ids: Tensor, inputs_embeds: Tensor, visual_tokens: Tensor) -> Tensor:
        """Puts visual tokens (any shape ending in D_llm) at the placeholders of `input_ids`: (B, L, D_llm).

        Raises:
            UsageError: the prompt holds another number of placeholders than there are visual tokens.
        """
        where = input_ids == self.config.video_token_id  # (B, L)
        placeholders, tokens = int(where.sum()), visual_tokens.shape[:-1].numel()
        if placeholders != tokens:
            raise UsageError(
                f"the prompts hold {placeholders} video placeholders, but the videos give {tokens} visual tokens",
                hint=f"each segment of {self.config.resampler_config.segment_frames} frames gives "
                f"{self.config.resampler_config.tokens_per_segment}; let the processor write the prompt, untruncated",
            )
        # The total may be right where one prompt's tokens went to another.
        each, in_rows = self.config.resampler_config.tokens_per_segment, where.sum(1)  # (B,)
        if bool((wrong := in_rows % each > 0).any()):
            row = int(wrong.nonzero()[0])
            raise UsageError(
                f"prompt {row} holds {int(in_rows[row])} video placeholders, not a multiple of the {each} of a segment",
                hint="let the processor write the prompt, untruncated",
            )
        visual_tokens = visual_tokens.to(inputs_embeds.device, inputs_embeds.dtype)
        return inputs_embeds.masked_scatter(where[..., None], visual_tokens)  # (B, L, D_llm)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        pixel_values_videos: Tensor | None = None,
        frame_times_s: Tensor | None = None,
        frame_mask: Tensor | None = None,
        vision_hidden_states: Tensor | None = None,
        visual_tokens: Tensor | None = None,
        **kwargs: Any,
    ) -> CineloopModelOutput:
        """Hidden states of the LLM; arguments as `CineloopForConditionalGeneration.forward`."""
        if (input_ids is None) == (inputs_embeds is None):
            raise UsageError("give either input_ids or inputs_embeds")
        if visual_tokens is None and (pixel_values_videos is not None or vision_hidden_states is not None):
            visual_tokens = self.get_video_features(
                pixel_values_videos, frame_times_s, frame_mask, vision_hidden_states
            )  # (S, Q, D_llm)
        if inputs_embeds is None:
            inputs_embeds = self.get_input_embeddings()(input_ids)  # (B, L, D_llm)
        if visual_tokens is not None:
            if input_ids is None:
                raise UsageError("videos need input_ids, which hold their placeholders")
            inputs_embeds = self.place_visual_tokens(input_ids, inputs_embeds, visual_tokens)
        elif input_ids is not None and (past_key_values is None or past_key_values.get_seq_length() == 0):
            # Later steps may carry a placeholder the LLM wrote itself; a first step without video may not.
            self.place_visual_tokens(input_ids, inputs_embeds, inputs_embeds[:0, 0])
        outputs = self.language_model(
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            **{**kwargs, "return_dict": True},
        )
        return CineloopModelOutput(**outputs, visual_tokens=visual_tokens)


class CineloopForConditionalGeneration(CineloopPreTrainedModel, GenerationMixin):
    """The captioner: `model` and `lm_head`; `forward(labels=…)` trains it, `generate` writes."""

    def __init__(self, config: CineloopConfig) -> None:
        super().__init__(config)
        self.model = CineloopModel(config)
        self.lm_head = nn.Linear(config.text_config.hidden_size, config.text_config.vocab_size, bias=False)
        # The LLM may be of any family: the name of its embedding is looked up, not assumed.
        embeddings = self.model.get_input_embeddings().weight
        source = next(name for name, weight in self.model.named_parameters() if weight is embeddings)
        self._tied_weights_keys = {"lm_head.weight": f"model.{source}"}
        self.post_init()

    def get_output_embeddings(self) -> nn.Module:
        """The head."""
        return self.lm_head

    def set_output_embeddings(self, value: nn.Module) -> None:
        """Replaces the head."""
        self.lm_head = value  # type: ignore[assignment]

    def get_input_embeddings(self) -> nn.Module:
        """The LLM's word embeddings."""
        return self.model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replaces the LLM's word embeddings."""
        self.model.set_input_embeddings(value)

    def get_query_tokens(self, *args: Any, **kwargs: Any) -> Tensor:
        """See `CineloopModel.get_query_tokens`."""
        return self.model.get_query_tokens(*args, **kwargs)

    def get_video_features(self, *args: Any, **kwargs: Any) -> Tensor | BaseModelOutputWithPooling:
        """See `CineloopModel.get_video_features`."""
        return self.model.get_video_features(*args, **kwargs)

    def num_visual_tokens(self, num_frames: int) -> int:
        """Visual tokens of a clip of `num_frames` >= 1 frames: ceil(T / F) * Q."""
        return self.config.num_visual_tokens(num_frames)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        pixel_values_videos: Tensor | None = None,
        frame_times_s: Tensor | None = None,
        frame_mask: Tensor | None = None,
        vision_hidden_states: Tensor | None = None,
        visual_tokens: Tensor | None = None,
        labels: Tensor | None = None,
        logits_to_keep: int | Tensor = 0,
        return_dict: bool | None = None,
        **kwargs: Any,
    ) -> CineloopOutput | tuple:
        """Logits, and the loss where labels are given.

        Args:
            input_ids: (B, L), one `<video>` placeholder for each visual token.
            attention_mask: (B, L), 0 at padding.
            position_ids, past_key_values, inputs_embeds: as in any causal LLM of transformers.
            pixel_values_videos: (S, F, 3, H, W), segments of all videos of the batch in prompt order.
            frame_times_s, frame_mask: (S, F) seconds within each clip; bool, False at padding (None: all are real).
            vision_hidden_states: (S, F, N, D_vision) kept patch tokens, instead of pixels.
            visual_tokens: (…, D_llm) kept visual tokens, instead of both; see `get_video_features`.
            labels: (B, L), -100 where no loss is wanted.
            logits_to_keep: number of last positions, or their indices, to compute logits for; 0 means all.

        Raises:
            UsageError: placeholders and visual tokens differ in number.
        """
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            pixel_values_videos=pixel_values_videos,
            frame_times_s=frame_times_s,
            frame_mask=frame_mask,
            vision_hidden_states=vision_hidden_states,
            visual_tokens=visual_tokens,
            **kwargs,
        )
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(outputs.last_hidden_state[:, kept])  # (B, L, vocabulary)
        loss = None
        if labels is not None:
            loss = self.loss_function(logits, labels, vocab_size=self.config.text_config.vocab_size, **kwargs)
        output = CineloopOutput(
            loss=loss,
            logits=logits,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            visual_tokens=outputs.visual_tokens,
        )
        return output.to_tuple() if return_dict is False else output

    def prepare_inputs_for_generation(
        self, input_ids: Tensor, *args: Any, is_first_iteration: bool | None = False, **kwargs: Any
    ) -> dict[str, Any]:
        """Videos go in with the first step only: from then on the cache holds them."""
        inputs = super().prepare_inputs_for_generation(
            input_ids, *args, is_first_iteration=is_first_iteration, **kwargs
        )
        if not is_first_iteration and inputs.get("use_cache", True):
            for name in VIDEO_INPUTS:
                inputs[name] = None
        return inputs

    def _expand_inputs_for_generation(
        self,
        expand_size: int = 1,
        is_encoder_decoder: bool = False,
        input_ids: Tensor | None = None,
        **model_kwargs: Any,
    ) -> tuple[Tensor, dict[str, Any]]:
        """Copies of a prompt (beams, several answers) each carry all segments of their prompt, in order."""
        videos = {name: model_kwargs.pop(name) for name in VIDEO_INPUTS if model_kwargs.get(name) is not None}
        if expand_size > 1 and videos:
            per_segment = self.config.resampler_config.tokens_per_segment
            segments = ((input_ids == self.config.video_token_id).sum(1) // per_segment).tolist()
            for name, value in videos.items():
                parts = value.split(segments)
                videos[name] = torch.cat([part for part in parts for _ in range(expand_size)])
        input_ids, model_kwargs = super()._expand_inputs_for_generation(
            expand_size, is_encoder_decoder, input_ids, **model_kwargs
        )
        return input_ids, {**model_kwargs, **videos}
