"""Assembly of a captioner from an existing vision tower and LLM.

In: a vision tower and an LLM from a hub id, a folder or memory. Out: the captioner with a fresh resampler and
projector, and its processor.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from cineloop.errors import UsageError
from v2t.model.configuration import CineloopConfig, CineloopResamplerConfig
from v2t.model.modeling import CineloopForConditionalGeneration
from v2t.model.processing import VIDEO_TOKEN, CineloopProcessor
from v2t.model.projector import CineloopProjector
from v2t.model.resampler import CineloopResampler
from v2t.model.video_processing import CineloopVideoProcessor

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CHAT_TOKENS = ("<|im_start|>", "<|im_end|>", VIDEO_TOKEN)
# Causal LLMs whose class changes the logits after the head: the captioner's plain head would be wrong.
LOGIT_CHANGES = ("final_logit_softcapping", "logit_scale", "logits_scaling", "lm_head_multiplier")


def from_parts(
    *,
    vision: str | os.PathLike[str] | PreTrainedModel,
    llm: str | os.PathLike[str] | PreTrainedModel,
    resampler: CineloopResamplerConfig,
    tokenizer: Any = None,
    dtype: torch.dtype | None = None,
    quantize: str | None = None,
    video_settings: Mapping[str, Any] | None = None,
) -> tuple[CineloopForConditionalGeneration, CineloopProcessor]:
    """A captioner from an existing tower and LLM, with a fresh resampler and projector, and its processor.

    Args:
        vision: hub id or folder of a SigLIP (2) checkpoint, or a `SiglipVisionModel`.
        llm: hub id or folder of a causal LLM, or such a model.
        resampler: its shape.
        tokenizer: None loads the one next to `llm`; chat and video tokens are added where they are missing.
        dtype: of all parts; None keeps those of the checkpoints.
        quantize: `nf4` or `int8` packs the LLM while it is loaded (QLoRA); `llm` must be an id or folder then.
        video_settings: for `CineloopVideoProcessor`; size and segment length follow from the parts.

    Raises:
        UsageError: an LLM whose head this class cannot stand in for, or a missing tokenizer.
    """
    tower = _load_tower(vision, dtype)
    tokenizer = _load_tokenizer(llm, tokenizer)
    language = _load_llm(llm, dtype, quantize)
    head = _plain_head(language)
    if len(tokenizer) > language.get_input_embeddings().num_embeddings:
        language.resize_token_embeddings(len(tokenizer))
        head = language.get_output_embeddings()
    config = CineloopConfig(
        vision_config=tower.config,
        resampler_config=resampler,
        text_config=language.config,
        video_token_id=tokenizer.convert_tokens_to_ids(VIDEO_TOKEN),
    )
    with torch.device("meta"):  # the parts exist already: nothing is allocated twice
        model = CineloopForConditionalGeneration(config)
    model.model.vision_tower = tower
    model.model.resampler = CineloopResampler(resampler, tower.config.hidden_size)
    model.model.projector = CineloopProjector(
        resampler.hidden_size, language.config.hidden_size, config.projector_hidden_act
    )
    model.model.projector.apply(model._init_weights)
    for fresh in (model.model.resampler, model.model.projector):
        fresh.to(dtype or tower.dtype)
    model.model.language_model = language.base_model
    model.lm_head = head
    _set_generation(model, tokenizer)
    size = tower.config.image_size
    settings = {"size": {"height": size, "width": size}, "segment_frames": resampler.segment_frames}
    videos = CineloopVideoProcessor(**{**settings, **(video_settings or {})})
    processor = CineloopProcessor(videos, tokenizer, tokens_per_segment=resampler.tokens_per_segment)
    return model, processor


def _load_tower(vision: Any, dtype: torch.dtype | None) -> PreTrainedModel:
    from transformers import SiglipVisionConfig, SiglipVisionModel

    if isinstance(vision, nn.Module):
        return vision if dtype is None else vision.to(dtype)
    path = os.fspath(vision)
    config = SiglipVisionConfig.from_pretrained(path)
    config.vision_use_head = False  # the pooling head reads what the resampler replaces
    return SiglipVisionModel.from_pretrained(path, config=config, dtype=dtype or "auto")


def _load_tokenizer(llm: Any, tokenizer: Any) -> Any:
    from transformers import AutoTokenizer

    if tokenizer is None:
        if isinstance(llm, nn.Module):
            raise UsageError("an LLM from memory needs its tokenizer", hint="from_parts(tokenizer=...)")
        tokenizer = AutoTokenizer.from_pretrained(os.fspath(llm))
    known = tokenizer.get_vocab()
    missing = [token for token in CHAT_TOKENS if token not in known]
    if missing:
        tokenizer.add_tokens(missing, special_tokens=True)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or "<|im_end|>"
    return tokenizer


def _load_llm(llm: Any, dtype: torch.dtype | None, quantize: str | None) -> PreTrainedModel:
    from transformers import AutoModelForCausalLM

    if isinstance(llm, nn.Module):
        if quantize is not None:
            raise UsageError("quantisation packs weights while they are loaded", hint="give the LLM as id or folder")
        return llm if dtype is None else llm.to(dtype)
    options = {}
    if quantize is not None:
        from v2t.model.weights import quantization

        options["quantization_config"] = quantization(quantize)
    return AutoModelForCausalLM.from_pretrained(os.fspath(llm), dtype=dtype or "auto", **options)


def _plain_head(language: PreTrainedModel) -> nn.Linear:
    """The LLM's head, where it is a plain linear layer without bias and nothing happens to the logits after it."""
    head = language.get_output_embeddings()
    changes = [name for name in LOGIT_CHANGES if getattr(language.config, name, None) not in (None, 1, 1.0)]
    if head is None or getattr(head, "bias", None) is not None or changes:
        raise UsageError(
            f"{type(language).__name__} does not end in a plain linear head"
            + (f" (its config sets {', '.join(changes)})" if changes else ""),
            hint="choose an LLM of the Llama, Qwen, Mistral or SmolLM kind",
        )
    return head


def _set_generation(model: CineloopForConditionalGeneration, tokenizer: Any) -> None:
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    settings = model.generation_config
    settings.eos_token_id = sorted({end, tokenizer.eos_token_id} - {None})
    settings.pad_token_id = tokenizer.pad_token_id
    settings.suppress_tokens = [model.config.video_token_id]
