"""The captioner a recipe names: loaded whole, or joined from a tower and an LLM.

In: a recipe's `model`, or its `vision`, `llm`, `resampler` and `video`. Out: model and processor. On the meta device
(for `--plan`) configurations and tokenizer are read, weights are not.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from cineloop.errors import MissingDependencyError, UsageError


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

    with _named(config):
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

    with torch.device("meta"), _named(config):
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
def _named(config: Any) -> Iterator[None]:
    """What transformers could not find, with the recipe's words for it."""
    try:
        yield
    except OSError as error:
        names = [name for name in (config.model, config.vision, config.llm) if name is not None]
        raise MissingDependencyError(
            f"cannot load {' and '.join(names)}: {str(error).splitlines()[0]}",
            code="MODEL_NOT_FOUND",
            hint="train the stage before this one, or name a folder or a hub id that can be reached",
        ) from error
