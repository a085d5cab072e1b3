"""Stage `clips`: the whole transformer of ours or of Wan learns a set of clips, from its weights or from nothing.

In: a pipeline folder or hub id, clips with words in any layout of `t2v.data.layouts` (what `v2t-eval curate --write`
writes among them). Out: `final/`, the whole pipeline with the new transformer; its other parts are the model's own, or
`vae`. Everything else is as in stage `lora`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cineloop.errors import UsageError
from cineloop.training.plan import ModelPart
from t2v.train.families import ModelFamily, open_family
from t2v.train.lora import ClipSetTask, ClipSetTraining, plan_transformer
from t2v.train.lora_config import ClipSetConfig


@dataclass(frozen=True, kw_only=True)
class Config(ClipSetConfig):
    """What learns.

    Args:
        vae: folder of a trained autoencoder (`final` of stage `vae`), in place of the model's own.
        fresh: begin with random weights, not with the model's.
        transformer: constructor arguments over those of the model's transformer; with `fresh`.
    """

    vae: Path | None = None
    fresh: bool = False
    transformer: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.transformer and not self.fresh:
            raise ValueError("transformer changes the shape of the weights: set fresh")


class ClipsStage(ClipSetTraining):
    """See the module's head."""

    name = "clips"

    def __init__(self, config: Config) -> None:
        super().__init__(config, open_family(config.model, config.vae))
        self.shape = _shape(config, self.family)

    def build(self) -> nn.Module:
        """The transformer, every weight of which learns in fp32."""
        data = self.data()  # first: it needs the memory
        if self.shape is None:
            transformer = self.family.load_transformer(torch.float32)
        else:
            transformer = self.family.transformer_class().from_config(self.shape)
        # What it draws unless asked otherwise is what it is trained on.
        seen: dict[str, float] = {"sample_frames": data.largest.num_frames, "sample_height": data.largest.height}
        seen |= {"sample_width": data.largest.width, "sample_fps": data.fps}
        transformer.register_to_config(**{name: value for name, value in seen.items() if name in transformer.config})
        return ClipSetTask(transformer.float().requires_grad_(True), self.family, self.config.flow)

    def export(self, task: ClipSetTask, folder: Path) -> None:
        """The whole pipeline."""
        self.family.save_pipeline(task.transformer, folder)


def _shape(config: Config, family: ModelFamily) -> dict[str, Any] | None:
    """The configuration of a fresh transformer; None where it is the model's own.

    Raises:
        UsageError: the autoencoder has other latents than the model's transformer was trained on.
    """
    if not config.fresh:
        if family.channels != family.shape["in_channels"]:
            raise UsageError(
                f"vae has {family.channels} channels, the transformer of {config.model} {family.shape['in_channels']}",
                hint="set fresh: true, or leave out vae",
            )
        return None
    channels = {"in_channels": family.channels, "out_channels": family.channels}
    return {**family.shape, **channels, **config.transformer}


def plan_pieces(config: Config) -> tuple[list[ModelPart], str]:
    """The parts that `--plan` counts, and what a sample is."""
    family = open_family(config.model, config.vae)
    shape = _shape(config, family) or family.shape
    return plan_transformer(config, family, family.transformer_class().from_config(shape))


def build_stage(config: Config) -> ClipsStage:
    """The stage of this file."""
    return ClipsStage(config)
