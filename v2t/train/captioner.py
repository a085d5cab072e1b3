"""The captioner a recipe names: loaded whole, or joined from a tower and an LLM.

In: a recipe's `model`, or its `vision`, `llm`, `resampler` and `video`. Out: model and processor. On the meta device
(for `--plan`) configurations and tokenizer are read, weights are not.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from cineloop.errors import MissingDependencyError, UsageError, first_line
from cineloop.training.plan import ModelPart, causal_mask
from cineloop.training.runtime import checkpoint_blocks
from v2t.data.world import ClipsConfig, ClipSource
from v2t.model.vision import patch_grid

ANSWER_TOKENS = 60  # of one conversation about a clip, beside its visual tokens; an estimate


def check_parts(config: Any) -> None:
    """ValueError unless a recipe names what `load_captioner` needs."""
    if (config.model is None) == (config.vision is None):
        raise ValueError("give either model, or both vision and llm")
    if config.model is None and config.llm is None:
        raise ValueError("vision needs llm beside it")


def load_captioner(config: Any, dtype: torch.dtype, quantize: str | None = None) -> tuple[Any, Any]:
    """Captioner and processor of a recipe.

    Raises:
        MissingDependencyError: a folder or hub id of the recipe is not there.
    """
    from v2t.model import CineloopProcessor, CineloopResamplerConfig
    from v2t.model.parts import from_parts
    from v2t.model.weights import load_model

    with _name_missing(config):
        if config.model is not None:
            model = load_model(config.model, dtype=dtype, quantize=quantize)
            if config.llm is not None:
                _take_llm(model, config.llm)
            processor = CineloopProcessor.from_pretrained(config.model)
        else:
            model, processor = from_parts(
                vision=config.vision,
                llm=config.llm,
                resampler=CineloopResamplerConfig(**config.resampler),
                dtype=dtype,
                quantize=quantize,
                video_settings=config.video,
            )
    if not torch.cuda.is_available():
        # On a CPU the fused kernel's backward pass costs a fifth of a small captioner's training.
        model.model.language_model.set_attn_implementation("eager")
    return model, processor


def world_clips(
    processor: Any, clips: ClipsConfig, split: str, seed: int, *, speaks: bool = True, with_facts: bool = False
) -> ClipSource:
    """Clips of the world as a captioner with this processor sees them; `speaks` False: without conversations."""
    return ClipSource(
        config=clips,
        split=split,
        seed=seed,
        segment_frames=processor.video_processor.segment_frames,
        tokens_per_segment=processor.tokens_per_segment,
        tokenizer=processor.tokenizer if speaks else None,
        with_facts=with_facts,
    )


def _take_llm(model: Any, llm: str) -> None:
    """Put the weights of a causal LLM of the same shape in place of the captioner's own."""
    from transformers import AutoModelForCausalLM

    other = AutoModelForCausalLM.from_pretrained(llm, dtype=model.dtype)
    try:
        model.model.language_model.load_state_dict(other.model.state_dict())
        model.lm_head.load_state_dict(other.lm_head.state_dict())
    except RuntimeError as error:
        raise UsageError(f"{llm} has not the shape of the captioner's LLM: {str(error).splitlines()[-1]}") from error


def empty_captioner(config: Any) -> tuple[Any, Any]:
    """The same shapes on the meta device: nothing is allocated, no weight is read."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, SiglipVisionConfig, SiglipVisionModel

    from v2t.model import (
        CineloopConfig,
        CineloopForConditionalGeneration,
        CineloopProcessor,
        CineloopResamplerConfig,
    )
    from v2t.model.parts import from_parts

    with torch.device("meta"), _name_missing(config):
        if config.model is not None:
            shapes = CineloopConfig.from_pretrained(config.model)
            return CineloopForConditionalGeneration(shapes), CineloopProcessor.from_pretrained(config.model)
        vision = SiglipVisionConfig.from_pretrained(config.vision)
        vision.vision_use_head = False
        return from_parts(
            vision=SiglipVisionModel(vision),
            llm=AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(config.llm)),
            tokenizer=AutoTokenizer.from_pretrained(config.llm),
            resampler=CineloopResamplerConfig(**config.resampler),
            video_settings=config.video,
        )


@contextmanager
def _name_missing(config: Any) -> Iterator[None]:
    """What transformers could not find, with the recipe's words for it."""
    try:
        yield
    except OSError as error:
        names = [name for name in (config.model, config.vision, config.llm) if name is not None]
        raise MissingDependencyError(
            f"cannot load {' and '.join(names)}: {first_line(error)}",
            code="MODEL_NOT_FOUND",
            hint="train the stage before this one, or name a folder or a hub id that can be reached",
        ) from error


def plan_pieces(config: Any) -> tuple[list[ModelPart], str]:
    """The parts that `--plan` counts, and what a sample is."""
    model, processor = empty_captioner(config)
    model.float()  # as `ModelPart` counts activations, whatever the checkpoint was saved in
    if getattr(config, "lora", None) is not None:
        from v2t.model.weights import LoraSettings, apply_lora

        apply_lora(model, LoraSettings(**vars(config.lora)))
    if config.runtime.checkpointing == "full":
        checkpoint_blocks(model)
        model.train()
    video, inner, shape = processor.video_processor, model.model, model.config.resampler_config
    manifests = getattr(config, "manifests", ()) or getattr(config, "shards", ())
    frames = video.num_frames if manifests else config.clips.num_frames
    if manifests and video.sampler in ("segment", "fps"):
        frames = video.max_frames
    conversations = getattr(config, "conversations", 1) if manifests else len(config.clips.texts)
    segments = shape.num_segments(frames)
    visual = segments * shape.tokens_per_segment
    length = visual + 12 * segments + ANSWER_TOKENS * (4 if manifests else 1)
    length = min(length, getattr(config, "max_length", length))
    width, rows = shape.segment_frames, conversations if getattr(config, "speaks", True) else 0
    pixels = torch.empty(segments * width, 3, video.size["height"], video.size["width"])
    grid = patch_grid(model.config.vision_config, (video.size["height"], video.size["width"]))
    patches = grid[0] * grid[1]
    seen = torch.empty(segments, width, patches, model.config.vision_config.hidden_size)
    times = torch.zeros(segments, width)
    queries = torch.empty(segments, shape.tokens_per_segment, shape.hidden_size)
    embeds = torch.empty(max(1, rows), length, model.config.text_config.hidden_size)

    def speak() -> torch.Tensor:
        hidden = inner.language_model(
            inputs_embeds=embeds, attention_mask=causal_mask(embeds), use_cache=False
        ).last_hidden_state
        return model.lm_head(hidden[:, : length - visual])

    pieces = [
        ModelPart("vision_tower", [inner.vision_tower], lambda: inner.vision_tower(pixels).last_hidden_state,
              len(pixels) * patches),
        ModelPart("resampler", [inner.resampler], lambda: inner.resampler(seen, times, None, grid), visual),
    ]  # fmt: skip
    if rows:
        llm = [inner.language_model, model.lm_head]
        pieces += [
            ModelPart("projector", [inner.projector], lambda: inner.projector(queries), visual),
            ModelPart("language_model", llm, speak, rows * length, main=True, packed=getattr(config, "quantize", None)),
        ]
    return pieces, (
        f"a sample is a clip of {frames} frames ({visual} visual tokens) with {rows} conversation(s) of {length} "
        f"tokens, chat marks included"
    )
