"""Stage `lora`: a low-rank adapter (arXiv:2106.09685) of our transformer or of Wan learns a set of clips.

In: a pipeline folder or hub id, clips with words in any layout of `t2v.data.layouts`. Out: `final/`, the adapter in
diffusers' layout (`pipeline.load_lora_weights("final")`), and samples drawn at every evaluation. Clips and prompts are
encoded once, into a cache; then autoencoder and text encoder leave the memory. The loss is rectified flow's; what the
run is judged by is the same loss on held-out clips at frozen noise (`t2v.train.held_out`).
Letters: B batch, c t h w latents.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from cineloop.errors import UsageError
from cineloop.training.plan import ModelPart
from cineloop.training.runtime import checkpoint_blocks, resolve, to_device
from t2v import flow
from t2v.train.families import ModelFamily, open_family
from t2v.train.held_out import flow_loss_grid
from t2v.train.lora_config import ClipSetConfig, Config
from t2v.train.lora_data import LoraData, prepare_data
from t2v.train.samples import draw_samples

PROMPT_TOKENS = 24  # of a prompt, as `--plan` counts; an estimate


class ClipSetTask(nn.Module):
    """The transformer, and the loss."""

    def __init__(self, transformer: Any, family: ModelFamily, config: flow.FlowConfig) -> None:
        super().__init__()
        self.transformer, self.family, self.config = transformer, family, config

    def predict(self, noisy: torch.Tensor, sigma: torch.Tensor, text: dict[str, torch.Tensor]) -> torch.Tensor:
        """The velocity (B, c, t, h, w)."""
        return self.family.predict(self.transformer, noisy, sigma, text)

    def forward(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Loss summed over the clips; noise levels and noise come from the global random state."""
        clean = batch["latents"]
        sigma = flow.sample_sigmas(len(clean), self.config).to(clean.device)  # (B,)
        noise = torch.randn_like(clean)
        guess = self.predict(flow.add_noise(clean, noise, sigma), sigma, batch["text"])
        error = (guess.float() - flow.velocity(clean, noise)).square().flatten(1).mean(1)  # (B,)
        return {"terms": {"flow": error.sum()}, "metrics": {"mse": (error.detach().sum(), len(error))}}


class ClipSetTraining:
    """Training of a transformer on a set of clips; `build` and `export` are those of the stages."""

    name: str
    unit = "clips"
    step = 0  # the loop says where it is before it asks for an evaluation

    def __init__(self, config: ClipSetConfig, family: ModelFamily) -> None:
        self.config, self.terms, self.family = config, {"flow": 1.0}, family
        self.family.check(config.buckets)
        self.device = resolve(config.runtime)[0]
        self._data: LoraData | None = None
        self._vae: Any = None

    def data(self) -> LoraData:
        """The encoded clips; made or found at the first call. Autoencoder and text encoder are gone again then."""
        if self._data is None:
            self._data = prepare_data(self.config, self.family, self.device)
            if self.device == "cuda":
                torch.cuda.empty_cache()
        return self._data

    def parts(self, task: ClipSetTask) -> dict[str, list[nn.Module]]:
        """`transformer`."""
        return {"transformer": [task.transformer]}

    def source(self) -> Any:
        """Training clips."""
        return self.data().source

    def counts(self, batch: dict[str, Any]) -> dict[str, float]:
        """Clips of the batch."""
        return {"flow": float(len(batch["latents"]))}

    def evaluate(self, task: ClipSetTask, device: torch.device) -> dict[str, float]:
        """Loss on held-out clips at frozen noise, per bin; samples."""
        figures = flow_loss_grid(task.predict, self._held_out_batches(device))
        drawn = self._draw(task, device) if self.config.samples.prompts and _is_main() else {}
        return {"score": -figures["loss"], **figures, **drawn}

    def _held_out_batches(self, device: torch.device) -> Iterator[tuple[torch.Tensor, dict[str, torch.Tensor]]]:
        data = self.data()
        for positions in data.judged:
            for first in range(0, len(positions), 2):
                batch = to_device(data.source.batch(positions[first : first + 2]), device)
                yield batch["latents"], batch["text"]

    def _draw(self, task: ClipSetTask, device: torch.device) -> dict[str, float]:
        config, data = self.config.samples, self.data()
        pipelines: list[Any] = []

        def draw(prompt: str, seed: int, on_step: Any) -> np.ndarray:
            if not pipelines:  # inside the guarded call: even loading the autoencoder may fail for want of memory
                self._vae = self._vae or self.family.load_vae(getattr(torch, self.config.encode_dtype)).to(device)
                pipelines.append(self.family.pipeline(task.transformer, self._vae))
            text, negative = (self.family.collate([data.texts[words]]) for words in (prompt, ""))
            return self.family.draw(
                pipelines[0], data.largest, text, negative,
                steps=config.steps, guidance=config.guidance, seed=seed, on_step=on_step,
            )  # fmt: skip

        folder = self.config.out / "samples" / f"step-{self.step:08d}"
        return draw_samples(draw, config.prompts, folder, fps=data.fps, seconds=config.seconds)


class LoraStage(ClipSetTraining):
    """See the module's head."""

    name = "lora"

    def __init__(self, config: Config) -> None:
        super().__init__(config, open_family(config.model))
        self.adapter = config

    def build(self) -> nn.Module:
        """The frozen transformer with a fresh adapter, which changes nothing yet."""
        self.data()  # first: it needs the memory
        transformer = self.family.load_transformer(getattr(torch, self.adapter.dtype))
        add_adapter(transformer, self.adapter)
        return ClipSetTask(transformer, self.family, self.config.flow)

    def export(self, task: ClipSetTask, folder: Path) -> None:
        """The adapter, in diffusers' layout."""
        from t2v.lora import save_lora

        save_lora(task.transformer, folder)


def add_adapter(transformer: Any, config: Any) -> list[str]:
    """Put a fresh adapter on the layers `config.target` names; returns their names.

    Raises:
        UsageError: it names none.
        MissingDependencyError: peft is not installed.
    """
    from cineloop.errors import MissingDependencyError

    try:
        from peft import LoraConfig
    except ImportError as error:
        raise MissingDependencyError("adapters need peft", hint="pip install 'cineloop[train]'") from error
    target = config.target if isinstance(config.target, str) else list(config.target)
    wanted = LoraConfig(
        r=config.rank, lora_alpha=config.alpha or config.rank, lora_dropout=config.dropout, target_modules=target
    )
    linear = [name for name, module in transformer.named_modules() if isinstance(module, nn.Linear)]
    try:
        transformer.add_adapter(wanted)
    except ValueError as error:
        ends = sorted({".".join(part for part in name.split(".")[-2:]) for name in linear})
        raise UsageError(f"target {config.target!r} fits no layer; layers end in {', '.join(ends)}") from error
    learn_adapter(transformer)
    return [name for name, module in transformer.named_modules() if hasattr(module, "lora_A")]


def learn_adapter(transformer: Any) -> None:
    """Let the adapter's weights learn, in fp32 whatever the frozen weights are."""
    for name, weight in transformer.named_parameters():
        if "lora_" in name:
            weight.data = weight.data.float()
            weight.requires_grad_(True)


def plan_pieces(config: Config) -> tuple[list[ModelPart], str]:
    """The parts that `--plan` counts, and what a sample is."""
    family = open_family(config.model)
    transformer: Any = family.transformer_class().from_config(family.shape).requires_grad_(False)
    add_adapter(transformer, config)
    return plan_transformer(config, family, transformer)


def plan_transformer(config: ClipSetConfig, family: ModelFamily, transformer: Any) -> tuple[list[ModelPart], str]:
    """A training of `transformer` (on the meta device) on the largest bucket, see `cineloop.training.plan`."""
    bucket = max(config.buckets.buckets(), key=lambda each: each.num_frames * each.height * each.width)
    piece, words = transformer_piece(family, transformer, family.latent_shape(bucket), config.runtime.checkpointing)
    return [piece], (
        f"clips of {bucket} (the largest bucket), {piece.tokens} tokens, prompts of {words}; encoding the clips, once, "
        "and samples come on top"
    )


def transformer_piece(
    family: ModelFamily, transformer: Any, latent_shape: tuple[int, ...], checkpointing: str
) -> tuple[ModelPart, int]:
    """The transformer on latents (c, t, h, w), for a plan; and tokens of a prompt."""
    latents = torch.empty(1, *latent_shape)
    shape = transformer.config
    tokens = latents[0, 0].numel() // math.prod(shape.patch_size)
    words = family.pad_to or PROMPT_TOKENS
    text = {"embeds": torch.empty(1, words, shape.text_dim)}
    if shape.get("pooled_dim"):
        text["pooled"] = torch.empty(1, shape.pooled_dim)
    inputs = 0
    if checkpointing == "full":
        checkpoint_blocks(transformer)
        inputs = 4 * tokens * shape.num_layers * shape.num_attention_heads * shape.attention_head_dim
    piece = ModelPart(
        "transformer", [transformer], lambda: family.predict(transformer, latents, torch.empty(1), text), tokens,
        main=True, kept_bytes=inputs,
    )  # fmt: skip
    return piece, words


def build_stage(config: Config) -> LoraStage:
    """The stage of this file."""
    return LoraStage(config)


def _is_main() -> bool:
    from accelerate import PartialState

    return PartialState().is_main_process
