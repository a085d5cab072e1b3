"""Stage `instruct`: the captioner learns to answer, on conversations about clips.

In: a captioner (or a tower and an LLM to join), conversations of the world or of manifests in the LLaVA form. Out:
`final/`, a whole captioner with adapters merged, and its processor; `final/adapter/`, the adapters by themselves, where
nothing else learned, to be served beside their base. The LLM is trained whole, by LoRA or DoRA, or by
QLoRA on weights packed to four bits; resampler and projector continue to learn; every part's learning rate is config, 0
freezes. Follows the second stage of LLaVA (arXiv:2304.08485) and QLoRA (arXiv:2305.14314).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import nn

from cineloop.errors import UsageError
from cineloop.log import logger
from cineloop.training.loader import Source
from cineloop.training.optim import freeze
from cineloop.training.recipe import StageConfig
from v2t.data.collate import Batch, num_targets
from v2t.data.manifest_clips import ManifestClip, ManifestSource, read_clips
from v2t.data.patch_tokens import check_rounds, precompute
from v2t.data.shards import ShardSource, read_shards
from v2t.data.world import ClipsConfig
from v2t.train import held_out
from v2t.train.caption_task import CaptionTask
from v2t.train.captioner import check_parts, load_captioner, world_clips
from v2t.train.captioner import plan_pieces as plan_pieces


@dataclass(frozen=True, kw_only=True)
class LoraConfig:
    """Low-rank adapters on the LLM; `targets` are names of its linear layers, or all-linear."""

    r: int = 16
    alpha: float = 32.0
    dropout: float = 0.05
    targets: tuple[str, ...] = ("all-linear",)
    dora: bool = False


@dataclass(frozen=True, kw_only=True)
class Config(StageConfig):
    """What speaks, about what.

    Either `model`, or `vision` and `llm` with the `resampler`'s shape and the `video` processor's settings.
    `manifests` name training data (a twentieth of it is held out unless
    `eval_manifests` are named), or `shards` do, WebDataset tar files or folders of them (a twentieth is held out);
    neither streams the world's clips as `clips` says. A bad clip stops the run, or with `on_bad` skip is left out (of
    shards, the next one takes its place). `dtype` is that of frozen weights;
    trained ones are fp32 under autocast. `quantize` packs the LLM (then it needs `lora`).
    `packing` puts conversations into rows of `max_length` tokens in place of padding each (on a GPU with flash
    attention, all into one): worth while where their lengths differ much.
    `rounds` and `block` as in `align`.
    Parts for `loop.optim.lr`: vision_tower, resampler, projector, language_model.
    """

    model: str | None = None
    vision: str | None = None
    llm: str | None = None
    resampler: dict[str, Any] = field(default_factory=dict)
    video: dict[str, Any] = field(default_factory=dict)
    manifests: tuple[Path, ...] = ()
    eval_manifests: tuple[Path, ...] = ()
    shards: tuple[Path, ...] = ()
    clips: ClipsConfig = field(default_factory=ClipsConfig)
    rounds: int = 1
    block: int = 2048
    on_bad: Literal["stop", "skip"] = "stop"
    max_length: int = 2048
    packing: bool = False
    dtype: Literal["float32", "bfloat16"] = "float32"
    save_dtype: Literal["float32", "bfloat16"] = "bfloat16"
    lora: LoraConfig | None = None
    quantize: Literal["nf4", "int8"] | None = None
    eval_clips: int = 256
    EVAL_SEED: ClassVar[int] = 8  # of the held-out clips: one value, so that runs compare

    def __post_init__(self) -> None:
        check_parts(self)
        if self.quantize and self.lora is None:
            raise ValueError(f"quantize: {self.quantize} packs the LLM, which then learns by lora only: set lora")
        check_rounds(self)
        if self.manifests and self.shards:
            raise ValueError("give either manifests or shards")
        if (self.manifests or self.shards) and self.rounds > 1:
            raise ValueError("rounds above 1 go with the world's clips, not with manifests or shards")
        if self.eval_manifests and not self.manifests:
            raise ValueError("eval_manifests go with manifests")


class InstructStage:
    """See the module's head."""

    name, unit = "instruct", "clips"
    terms: dict[str, float] = {"answers": 1.0}

    def __init__(self, config: Config) -> None:
        self.config = config
        self._model: Any = None
        self._processor: Any = None

    def build(self) -> nn.Module:
        """The captioner, its adapters in place, trained weights in fp32."""
        from v2t.model.weights import LoraSettings, apply_lora

        config = self.config
        self._model, self._processor = load_captioner(config, getattr(torch, config.dtype), config.quantize)
        model = self._model
        _check_normalisation(self._processor)
        if config.lora is not None:
            apply_lora(model, LoraSettings(**vars(config.lora)))
        task = self.task_of(model, config.max_length if config.packing else 0)
        freeze(task.parts(), config.loop.optim)
        for weight in task.parameters():
            if weight.requires_grad:
                weight.data = weight.data.float()
        self._check_first_batch()
        return task

    def task_of(self, model: Any, row_tokens: int) -> CaptionTask:
        return CaptionTask(model, row_tokens=row_tokens)

    def parts(self, task: CaptionTask) -> dict[str, list[nn.Module]]:
        return task.parts()

    def source(self) -> Source:
        if self.config.manifests or self.config.shards:
            return self._files(self._split()[0], self.config.data_seed)
        clips = world_clips(self._processor, self.config.clips, "train", self.config.data_seed)
        return precompute(clips, self._model, self.config.block, self.config.rounds)

    def counts(self, batch: Batch) -> dict[str, float]:
        return {"answers": float(num_targets(batch))}

    def evaluate(self, task: CaptionTask, device: torch.device) -> dict[str, float]:
        """Loss and share right over the answer tokens of held-out conversations. `score`: tokens right."""
        figures = held_out.token_figures(task, self._batches, device)
        return {"score": figures["tokens_right"], **figures}

    def export(self, task: CaptionTask, folder: Path) -> None:
        """The whole captioner, adapters merged."""
        from v2t.model.weights import (
            LoraSettings,
            apply_lora,
            is_quantized,
            load_trained,
            merge_lora,
            save_model,
            trained_state,
        )

        model = task.model
        if self.config.lora is not None:
            if is_quantized(model):
                # Merging into packed weights would round the result: merge into the weights they were packed from.
                state = {name: value.cpu() for name, value in trained_state(model).items()}
                model, _ = load_captioner(self.config, getattr(torch, self.config.dtype), None)
                apply_lora(model, LoraSettings(**vars(self.config.lora)))
                load_trained(model, state)
            self._export_adapter(task, model, folder / "adapter")
            merge_lora(model)
        save_model(model, folder, self._processor, dtype=getattr(torch, self.config.save_dtype))

    def _export_adapter(self, task: CaptionTask, model: Any, folder: Path) -> None:
        """The adapters by themselves, where they are all that the base lacks: to be served by name beside it."""
        from v2t.backends.local import revision_of
        from v2t.model.weights import save_adapter

        base = self.config.model
        others = [
            name
            for name, modules in task.parts().items()
            if name != "language_model" and any(w.requires_grad for module in modules for w in module.parameters())
        ]
        if base is None or self.config.llm is not None or not Path(base).is_dir():
            why = "there is no folder of a captioner that it could be put on"
        elif others:
            why = f"{', '.join(others)} learned too (learning rate 0 keeps a part as it is)"
        else:
            save_adapter(model, folder, base=base, base_revision=revision_of(Path(base)))
            return
        logger.info("no adapter by itself beside the merged captioner: %s", why)

    def _check_first_batch(self) -> None:
        """Labels are looked at before the first step: something to learn, and only where it should be."""
        batch = self.source()(0, max(1, self.config.loop.micro_batch or 1))
        if num_targets(batch) == 0:
            raise UsageError("the first samples hold no token of an answer to learn from", hint="look at the data")

    def _split(self) -> tuple[list[ManifestClip], list[ManifestClip]]:
        """Rows to train on and rows held out: those of `eval_manifests`, or a twentieth of the rows."""
        config = self.config
        clips: list[ManifestClip] = [*read_shards(config.shards)] if config.shards else self._read(config.manifests)
        if config.eval_manifests:
            return clips, self._read(config.eval_manifests)[: config.eval_clips]
        if len(clips) < 2:
            raise UsageError("one row cannot both train and be held out", hint="set eval_manifests")
        order = np.random.default_rng(config.EVAL_SEED).permutation(len(clips))
        count = max(1, min(config.eval_clips, len(clips) // 20))
        return [clips[n] for n in sorted(order[count:])], [clips[n] for n in sorted(order[:count])]

    def _read(self, manifests: Sequence[Path]) -> list[ManifestClip]:
        return read_clips(manifests)

    def _files(self, clips: list[ManifestClip], seed: int) -> ManifestSource:
        kind = ShardSource if self.config.shards else ManifestSource
        return kind(clips, self._processor, seed, self.config.max_length, self.config.on_bad)

    @cached_property
    def _batches(self) -> list[Batch]:
        """Held-out conversations."""
        config, count = self.config, self.config.eval_clips
        if config.manifests or config.shards:
            clips = self._split()[1]
            source: Source = self._files(clips, config.EVAL_SEED)
            count = len(clips)
        else:
            source = world_clips(self._processor, config.clips, "seen", config.EVAL_SEED)
        return held_out.draw(source, count, config.loop.micro_batch or 16, config.loop.workers)


def _check_normalisation(processor: Any) -> None:
    video = processor.video_processor
    if list(video.image_mean) != [0.5] * 3 or list(video.image_std) != [0.5] * 3:
        raise UsageError(
            f"training normalises pixels as SigLIP does (mean and deviation 0.5); the processor says "
            f"{video.image_mean}, {video.image_std}",
            hint="choose a SigLIP tower",
        )


build_stage = InstructStage
