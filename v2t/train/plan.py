"""What a run would cost, before anything is allocated.

In: a stage's recipe. Out: parameters of each part, trained or frozen; memory; tokens and FLOPs of a step; time on named
hardware. The true classes stand on the meta device: shapes without memory. FLOPs of the forward pass are counted by
torch as the matrix products run on shapes; a backward pass costs one forward for gradients that go through a part and
one for those of its trained weights. Activations are the tensors autograd would keep, by the same shapes.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from v2t.base.optim import OptimConfig, freeze
from v2t.base.runtime import resolve
from v2t.data.chat import MARKS

# Dense bf16 peak in FLOP/s, and the share of it that training of this kind reaches.
HARDWARE = {
    "2 CPU cores": (0.25e12, 0.8),
    "RTX 4090": (165e12, 0.35),
    "A100 80 GB": (312e12, 0.4),
    "H100 80 GB": (989e12, 0.35),
    "H200 141 GB": (989e12, 0.35),
}
ANSWER_TOKENS = 60  # of one conversation about a clip, beside its visual tokens; an estimate


@dataclass(frozen=True)
class Piece:
    """One part in the order data flows: its modules, one sample through it, and how many tokens that is."""

    part: str
    modules: list[nn.Module]
    call: Callable[[], torch.Tensor]
    tokens: int


@dataclass(frozen=True)
class PartPlan:
    """Figures of one part; FLOPs are of one optimiser step."""

    part: str
    parameters: int
    trained: int
    weight_bytes: int
    tokens: int
    flops: float


@dataclass(frozen=True)
class Plan:
    """Figures of one run on one device; bytes, FLOPs of a step, seconds."""

    stage: str
    steps: int
    batch_size: int
    parts: list[PartPlan]
    memory: dict[str, int]
    tokens_per_step: int
    flops_per_step: float
    seconds_per_step: dict[str, float]
    assumes: str


def make_plan(stage: Any, config: Any) -> Plan:
    """Count. Hub ids are asked for their configuration and tokenizer only.

    Raises:
        MissingDependencyError: a folder or hub id of the recipe is not there (yet).
    """
    with torch.device("meta"):
        pieces, assumes = _PIECES[config.stage](config)
        optim, loop = config.loop.optim, config.loop
        freeze({piece.part: piece.modules for piece in pieces}, _known(optim, pieces))
        micro = loop.micro_batch or loop.batch_size
        rows, upstream, kept_bytes = [], False, 0
        for piece in pieces:
            row, piece_bytes = _part(piece, config, upstream)
            rows.append(row)
            kept_bytes += piece_bytes * micro
            upstream = upstream or row.trained > 0
    trained = sum(row.trained for row in rows)
    memory = {
        "weights": sum(row.weight_bytes for row in rows),
        "gradients": 4 * trained,
        "optimiser": 8 * trained + (4 * trained if optim.ema else 0),
        "activations": kept_bytes,
    }
    flops = sum(row.flops for row in rows)
    seconds = {name: flops / (peak * share) for name, (peak, share) in HARDWARE.items()}
    tokens = sum(row.tokens for row in rows if row.part in ("llm", "language_model", "tower"))
    return Plan(
        config.stage, loop.steps, loop.batch_size, rows, memory | {"sum": sum(memory.values())}, tokens, flops, seconds,
        assumes,
    )  # fmt: skip


def print_plan(stage: Any, config: Any, *, as_json: bool = False) -> None:
    """The plan on stdout."""
    plan = make_plan(stage, config)
    if as_json:
        print(json.dumps(asdict(plan)))
        return
    print(f"stage {plan.stage}: {plan.steps} steps of {plan.batch_size} samples; {plan.assumes}")
    print(f"{'part':<16}{'parameters':>16}{'trained':>16}{'tokens a step':>16}{'GFLOP a step':>16}")
    for row in plan.parts:
        trained = f"{row.trained:,}" if row.trained else "frozen"
        print(f"{row.part:<16}{row.parameters:>16,}{trained:>16}{row.tokens:>16,}{row.flops / 1e9:>16,.0f}")
    print(f"{'sum':<16}{sum(r.parameters for r in plan.parts):>16,}{sum(r.trained for r in plan.parts):>16,}"
          f"{plan.tokens_per_step:>16,}{plan.flops_per_step / 1e9:>16,.0f}")  # fmt: skip
    print("memory, about: " + ", ".join(f"{name} {size / 2**30:.2f} GiB" for name, size in plan.memory.items()))
    for name, seconds in plan.seconds_per_step.items():
        peak, share = HARDWARE[name]
        print(f"on {name} (at {share:.0%} of {peak / 1e12:g} TFLOP/s): {seconds:.3g} s a step, "
              f"{seconds * plan.steps / 3600:.3g} h in all, if data keeps up")  # fmt: skip


def _known(optim: OptimConfig, pieces: list[Piece]) -> OptimConfig:
    """The optimiser's settings without the rates of parts that cost nothing to speak of (heads)."""
    names = {piece.part for piece in pieces}
    return OptimConfig(base_lr=optim.base_lr, lr={name: rate for name, rate in optim.lr.items() if name in names})


def _part(piece: Piece, config: Any, upstream: bool) -> tuple[PartPlan, int]:
    """Figures of one part, and the bytes autograd keeps of one sample in it."""
    from torch.utils.flop_counter import FlopCounterMode

    weights = {weight for module in piece.modules for weight in module.parameters()}
    total = sum(weight.numel() for weight in weights)
    trained = sum(weight.numel() for weight in weights if weight.requires_grad)
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if not isinstance(tensor, nn.Parameter):
            kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    with (
        FlopCounterMode(display=False) as counter,
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.set_grad_enabled(upstream or trained > 0),
    ):
        piece.call()
    forward = counter.get_total_flops()
    # Through the layers, as soon as anything in or before the part learns, and into its own weights (of adapters, and
    # of a part that is trained in part, only their share).
    backward = forward * ((1.0 if upstream or trained else 0.0) + trained / max(1, total))
    again = forward if getattr(config, "gradient_checkpointing", False) and backward else 0.0
    halved = 2 if resolve(config.runtime)[1] == "bf16" else 1
    kept_bytes = sum(tensor.untyped_storage().nbytes() for tensor in kept.values()) // halved
    samples = config.loop.batch_size
    row = PartPlan(
        piece.part, total, trained, _weight_bytes(piece.part, weights, config), piece.tokens * samples,
        samples * (forward + backward + again),
    )  # fmt: skip
    return row, kept_bytes


def _weight_bytes(part: str, weights: set[nn.Parameter], config: Any) -> int:
    packed = {"nf4": 0.5, "int8": 1.0}.get(getattr(config, "quantize", None) or "", None)
    frozen_bytes = 2 if getattr(config, "dtype", "float32") == "bfloat16" else 4
    size = 0.0
    for weight in weights:
        is_packed = packed is not None and part == "language_model" and weight.ndim == 2 and not weight.requires_grad
        each = 4 if weight.requires_grad else frozen_bytes
        size += weight.numel() * (packed if is_packed and packed is not None else each)
    return round(size)


def _tower(config: Any) -> tuple[list[Piece], str]:
    from transformers import SiglipVisionModel

    from v2t.train.tower import siglip_config

    tower: Any = SiglipVisionModel(siglip_config(config.vision))
    side = tower.config.image_size
    pixels = torch.empty(1, 3, side, side)
    tokens = (side // tower.config.patch_size) ** 2
    return [
        Piece("tower", [tower], lambda: tower(pixels).last_hidden_state, tokens)
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
    patches = (video.size["height"] // model.config.vision_config.patch_size) ** 2
    seen = torch.empty(segments, width, patches, model.config.vision_config.hidden_size)
    times = torch.zeros(segments, width)
    queries = torch.empty(segments, shape.tokens_per_segment, shape.hidden_size)
    embeds = torch.empty(max(1, rows), length, model.config.text_config.hidden_size)
    side = round(patches**0.5)

    def speak() -> torch.Tensor:
        hidden = inner.language_model(
            inputs_embeds=embeds, attention_mask=_causal(embeds), use_cache=False
        ).last_hidden_state
        return model.lm_head(hidden[:, : length - visual])

    pieces = [
        Piece("vision_tower", [inner.vision_tower], lambda: inner.vision_tower(pixels).last_hidden_state,
              len(pixels) * patches),
        Piece("resampler", [inner.resampler], lambda: inner.resampler(seen, times, None, (side, side)), visual),
    ]  # fmt: skip
    if rows:
        llm = [inner.language_model, model.lm_head]
        pieces += [
            Piece("projector", [inner.projector], lambda: inner.projector(queries), visual),
            Piece("language_model", llm, speak, rows * length),
        ]
    return pieces, (
        f"a sample is a clip of {frames} frames ({visual} visual tokens) with {rows} conversation(s) of {length} "
        f"tokens, {MARKS[0]} tokens included"
    )


def _causal(text: torch.Tensor) -> torch.Tensor:
    """A whole mask (R, 1, L, L): transformers takes it as it is, where it would look into a smaller one's values."""
    rows, length = text.shape[:2]
    return torch.zeros(rows, 1, length, length)


_PIECES: dict[str, Callable[[Any], tuple[list[Piece], str]]] = {
    "tower": _tower,
    "language": _language,
    "align": _captioner,
    "instruct": _captioner,
}
