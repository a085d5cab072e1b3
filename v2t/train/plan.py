"""What a run of the captioner's training would cost: the parts of each stage, for `cineloop.training.plan`.

In: a stage's recipe. Out: the plan, with the true classes on the meta device; hub ids are asked for their configuration
and tokenizer only.
"""

from __future__ import annotations

from typing import Any

import torch

from cineloop.training import plan
from cineloop.training.plan import Piece, Pieces, Plan
from v2t.data.chat import MARKS
from v2t.model.vision import patch_grid

ANSWER_TOKENS = 60  # of one conversation about a clip, beside its visual tokens; an estimate


def make_plan(stage: Any, config: Any) -> Plan:
    """Count; see `cineloop.training.plan.make_plan`."""
    return plan.make_plan(config, PIECES)


def print_plan(stage: Any, config: Any, *, as_json: bool = False) -> None:
    """The plan on stdout."""
    plan.print_plan(make_plan(stage, config), as_json=as_json)


def _tower(config: Any) -> tuple[list[Piece], str]:
    from transformers import SiglipVisionModel

    from v2t.train.tower import siglip_config

    tower: Any = SiglipVisionModel(siglip_config(config.vision))
    side = tower.config.image_size
    pixels = torch.empty(1, 3, side, side)
    tokens = (side // tower.config.patch_size) ** 2
    return [
        Piece("tower", [tower], lambda: tower(pixels).last_hidden_state, tokens, main=True)
    ], f"frames of {side}×{side}, {tokens} patches"


def _language(config: Any) -> tuple[list[Piece], str]:
    from transformers import AutoConfig, AutoModelForCausalLM

    fields = dict(config.llm)
    shapes = AutoConfig.for_model(fields.pop("model_type"), **fields, vocab_size=config.vocab_size)
    llm: Any = AutoModelForCausalLM.from_config(shapes)
    ids = torch.empty(1, config.sequence_length, dtype=torch.long)
    piece = Piece(
        "llm",
        [llm],
        lambda: llm(input_ids=ids, attention_mask=_causal(ids), use_cache=False).logits,
        config.sequence_length,
        main=True,
    )
    return [piece], f"sequences of {config.sequence_length} tokens"


def _captioner(config: Any) -> tuple[list[Piece], str]:
    from v2t.train.captioner import empty_captioner

    model, processor = empty_captioner(config)
    if getattr(config, "lora", None) is not None:
        from v2t.model.weights import LoraSettings, apply_lora

        apply_lora(model, LoraSettings(**vars(config.lora)))
    if getattr(config, "gradient_checkpointing", False):
        model.gradient_checkpointing_enable()
        model.train()
    video, inner, shape = processor.video_processor, model.model, model.config.resampler_config
    manifests = getattr(config, "manifests", ())
    frames = video.num_frames if manifests else config.clips.num_frames
    if manifests and video.sampler in ("segment", "fps"):
        frames = video.max_frames
    conversations = 1 if manifests else len(config.clips.texts)
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
            inputs_embeds=embeds, attention_mask=_causal(embeds), use_cache=False
        ).last_hidden_state
        return model.lm_head(hidden[:, : length - visual])

    pieces = [
        Piece("vision_tower", [inner.vision_tower], lambda: inner.vision_tower(pixels).last_hidden_state,
              len(pixels) * patches),
        Piece("resampler", [inner.resampler], lambda: inner.resampler(seen, times, None, grid), visual),
    ]  # fmt: skip
    if rows:
        llm = [inner.language_model, model.lm_head]
        pieces += [
            Piece("projector", [inner.projector], lambda: inner.projector(queries), visual),
            Piece("language_model", llm, speak, rows * length, main=True, packed=getattr(config, "quantize", None)),
        ]
    return pieces, (
        f"a sample is a clip of {frames} frames ({visual} visual tokens) with {rows} conversation(s) of {length} "
        f"tokens, {MARKS[0]} tokens included"
    )


def _causal(text: torch.Tensor) -> torch.Tensor:
    """A whole mask (R, 1, L, L): transformers takes it as it is, where it would look into a smaller one's values."""
    rows, length = text.shape[:2]
    return torch.zeros(rows, 1, length, length)


PIECES: dict[str, Pieces] = {
    "tower": _tower,
    "language": _language,
    "align": _captioner,
    "instruct": _captioner,
}
