"""Stage `tower`: the starter's vision tower learns single frames from the world's dense truth.

In: frames of the cartoon world with a label for every patch (`cineloop.world.scenes.dense`). Out: `final/`, a SigLIP
vision tower (`SiglipVisionModel.save_pretrained`) whose patch tokens say linearly what lies on each patch; the heads
that taught it are dropped. A frame costs a sixteenth of a clip, so the tower learns cheapest before it ever sees one.
Letters: n frames, P patches of a frame, D width of the tower, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from cineloop.training.plan import ModelPart
from cineloop.training.recipe import StageConfig
from cineloop.training.runtime import to_device
from cineloop.world.scenes.dense import IGNORE, TARGETS, frame_batch
from v2t.data.collate import normalise
from v2t.train import held_out

# What a background patch counts in the term "kind", where it would otherwise be most of the loss.
BACKGROUND_WEIGHT = 0.2


def siglip_config(fields: dict[str, Any]) -> Any:
    """A `SiglipVisionConfig` without pooling head, from the differences to transformers' defaults."""
    from transformers import SiglipVisionConfig

    return SiglipVisionConfig(vision_use_head=False, **fields)


@dataclass(frozen=True, kw_only=True)
class Config(StageConfig):
    """The tower and what it learns.

    `vision` holds the differences to `SiglipVisionConfig`. `weights` scales the loss terms (targets of
    `cineloop.world.scenes.dense.TARGETS`; absent is 1). `init` continues from a saved tower.
    """

    vision: dict[str, Any]
    weights: dict[str, float] = field(default_factory=dict)
    init: Path | None = None
    eval_frames: int = 1024
    EVAL_SEED: ClassVar[int] = 7  # of the held-out clips: one value, so that runs compare

    def __post_init__(self) -> None:
        unknown = self.weights.keys() - TARGETS.keys()
        if unknown:
            raise ValueError(f"weights names {min(unknown)!r}; targets are {', '.join(TARGETS)}")


@dataclass(frozen=True)
class FrameSource:
    """Frames and dense truth of a stream as tensors; a pure function of its sample numbers."""

    split: str
    seed: int
    size: tuple[int, int]

    def __call__(self, start: int, count: int) -> dict[str, torch.Tensor]:
        """Frames `start` … `start + count - 1`: pixels uint8 (n, H, W, 3) and one tensor per target."""
        batch = frame_batch(self.split, self.seed, start, count, self.size)
        return {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in batch.items()}


class DenseTask(nn.Module):
    """The tower with a linear head per target: on patch tokens, or on their mean for targets of the whole frame."""

    def __init__(self, tower: Any) -> None:
        super().__init__()
        self.tower: Any = tower
        width = tower.config.hidden_size
        self.heads = nn.ModuleDict({name: nn.Linear(width, t.classes or t.width) for name, t in TARGETS.items()})

    def predict(self, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
        """Logits or regressions per target: (n, P, K) for patches, (n, K) for frames, from uint8 (n, H, W, 3)."""
        tokens = self.tower(normalise(pixels)).last_hidden_state  # (n, P, D)
        mean = tokens.mean(1)  # (n, D)
        return {
            name: head(tokens if TARGETS[name].level == "patch" else mean).float() for name, head in self.heads.items()
        }

    def forward(self, batch: dict[str, torch.Tensor]) -> dict[str, Any]:
        """Loss sums and accuracies (foreground only for "kind")."""
        terms, metrics = {}, {}
        for name, guess in self.predict(batch["pixels"]).items():
            truth = batch[name]
            if TARGETS[name].classes:
                weight = _patch_weight(name, truth)
                loss = F.cross_entropy(guess.flatten(0, -2), truth.flatten(), ignore_index=IGNORE, reduction="none")
                terms[name] = (loss * weight.flatten()).sum()
                counted = _counted_cells(name, truth)
                metrics[f"{name}_right"] = (((guess.argmax(-1) == truth) & counted).sum(), counted.sum())
            else:
                known = ~truth.isnan()
                terms[name] = F.smooth_l1_loss(guess[known], truth[known], beta=0.1, reduction="sum")
        return {"terms": terms, "metrics": metrics}


def _patch_weight(name: str, truth: torch.Tensor) -> torch.Tensor:
    """Weight of each target: 0 where it is missing, less for background among kinds."""
    weight = (truth != IGNORE).float()
    return torch.where(truth == 0, weight * BACKGROUND_WEIGHT, weight) if name == "kind" else weight


def _counted_cells(name: str, truth: torch.Tensor) -> torch.Tensor:
    """Where accuracy is taken: background is no merit."""
    return truth > 0 if name == "kind" else truth != IGNORE


class TowerStage:
    """See the module's head."""

    name, unit = "tower", "frames"

    def __init__(self, config: Config) -> None:
        self.config = config
        self.terms = {name: config.weights.get(name, 1.0) for name in TARGETS}
        size = siglip_config(config.vision).image_size
        self.size = (size, size) if isinstance(size, int) else tuple(size)

    def build(self) -> nn.Module:
        """The tower, fresh or from `init`, with heads."""
        from transformers import SiglipVisionModel

        if self.config.init is not None:
            tower = SiglipVisionModel.from_pretrained(self.config.init)
        else:
            tower = SiglipVisionModel(siglip_config(self.config.vision))
        return DenseTask(tower)

    def parts(self, task: DenseTask) -> dict[str, list[nn.Module]]:
        return {"tower": [task.tower], "heads": [task.heads]}

    def source(self) -> FrameSource:
        return FrameSource("train", self.config.data_seed, self.size)

    def counts(self, batch: dict[str, torch.Tensor]) -> dict[str, float]:
        """Weight of the targets of each term."""
        return {
            name: float(_patch_weight(name, batch[name]).sum())
            if target.classes
            else float((~batch[name].isnan()).sum())
            for name, target in TARGETS.items()
        }

    def evaluate(self, task: DenseTask, device: torch.device) -> dict[str, float]:
        """Accuracy per target on held-out frames; offset as mean error in frame heights. `score`: mean accuracy."""
        right = dict.fromkeys(TARGETS, 0.0)
        count = dict.fromkeys(TARGETS, 0.0)
        for batch in self._frames:
            batch = to_device(batch, device)
            for name, guess in task.predict(batch["pixels"]).items():
                truth = batch[name]
                if TARGETS[name].classes:
                    counted = _counted_cells(name, truth)
                    right[name] += float(((guess.argmax(-1) == truth) & counted).sum())
                else:
                    counted = ~truth.isnan()
                    right[name] += float((guess[counted] - truth[counted]).abs().sum())
                count[name] += float(counted.sum())
                if name == "kind":
                    right["background"] = right.get("background", 0.0) + float(
                        ((guess.argmax(-1) == 0) & (truth == 0)).sum()
                    )
                    count["background"] = count.get("background", 0.0) + float((truth == 0).sum())
        figures = {name: right[name] / max(1.0, count[name]) for name in right}
        accuracies = [figures[name] for name, target in TARGETS.items() if target.classes]
        return {"score": sum(accuracies) / len(accuracies), **figures}

    def export(self, task: DenseTask, folder: Path) -> None:
        task.tower.save_pretrained(folder)

    @cached_property
    def _frames(self) -> list[dict[str, torch.Tensor]]:
        source = FrameSource("seen", self.config.EVAL_SEED, self.size)
        return held_out.draw(source, self.config.eval_frames, 256, self.config.loop.workers)


def plan_pieces(config: Config) -> tuple[list[ModelPart], str]:
    """The parts that `--plan` counts, and what a sample is."""
    from transformers import SiglipVisionModel

    tower: Any = SiglipVisionModel(siglip_config(config.vision))
    side = tower.config.image_size
    pixels = torch.empty(1, 3, side, side)
    tokens = (side // tower.config.patch_size) ** 2
    return [
        ModelPart("tower", [tower], lambda: tower(pixels).last_hidden_state, tokens, main=True)
    ], f"frames of {side}×{side}, {tokens} patches"


build_stage = TowerStage
