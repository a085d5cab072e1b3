"""The captioner a recipe names: loaded whole, or joined from a tower and an LLM.

In: a recipe's `model`, or its `vision`, `llm`, `resampler` and `video`. Out: model and processor. On the meta device
(for `--plan`) configurations and tokenizer are read, weights are not.
"""

from __future__ import annotations

from typing import Any

import torch


def load_captioner(config: Any, dtype: torch.dtype, quantize: str | None = None) -> tuple[Any, Any]:
    """Captioner and processor of a recipe."""
    from v2t.model import CineloopProcessor, CineloopResamplerConfig
    from v2t.model.parts import from_parts
    from v2t.model.weights import load_model

    if config.model is not None:
        model = load_model(config.model, dtype=dtype, quantize=quantize)
        return model, CineloopProcessor.from_pretrained(config.model)
    return from_parts(
        vision=config.vision,
        llm=config.llm,
        resampler=CineloopResamplerConfig(**config.resampler),
        dtype=dtype,
        quantize=quantize,
        video_settings=config.video,
    )


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

    with torch.device("meta"):
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
