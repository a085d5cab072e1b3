"""Settings of a pick.

In: values from flags or a caller. Out: a checked `PickConfig`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cineloop.cluster.settings import ClusterConfig
from cineloop.errors import UsageError
from cineloop.options import option, setting
from cineloop.training.runtime import check_device


@dataclass(frozen=True, kw_only=True)
class PickConfig:
    """Settings of a pick."""

    checkpoints: tuple[str, ...] = option(
        (), "folders of checkpoints, or checkpoints: LoRA files, pipeline folders", flag="CHECKPOINT"
    )
    prompts: tuple[str, ...] = option(
        (), "held-out prompts (.txt, one per line; .jsonl); repeatable", metavar="FILE", group="the draws"
    )
    limit: int | None = option(None, "at most so many prompts", metavar="N")
    num_videos: int = option(1, "clips of each prompt", metavar="N")
    seed: int = option(0, "seed of each prompt's first clip, the same for all checkpoints, and of the prompts' order")
    generator: str = option("dit", "dit (default: the bundled kind of model), diffusers, world, FILE.py")
    model: str | None = option(None, "the model that LoRAs belong to: a folder or hub id (default: the bundled one)")
    steps: int | None = option(None, "sampling steps", metavar="N")
    clips: dict[str, Any] = setting({}, "settings of the clips over the generator's (guidance, num_frames, height ...)")
    dtype: str = option("auto", "auto (default), float32, bfloat16, float16")
    device: str = option("auto", "auto (default), cpu, cuda, cuda:1")
    suite: str = option("gate", "metrics: a shipped suite or FILE.yaml", metavar="SUITE", group="what decides")
    by: str | None = option(
        None, "the metric that decides, with settings in brackets (default: the first one of the suite)",
        metavar="METRIC",
    )  # fmt: skip
    training_set: Path | None = option(
        None, "the clips that were trained on; a checkpoint that copies them is not picked", metavar="DIR"
    )
    training_prompts: int = option(16, "prompts of that set to draw as well, which show copies first", metavar="N")
    copy_share: float = setting(0.05, "a clip is a near copy where at most this share of its pictures differs")
    tolerated_copies: float = setting(0.01, "share of near copies that is no fault of a checkpoint")
    cluster: ClusterConfig = setting(ClusterConfig(), "where clips are drawn and judged (default: in this process)")

    def __post_init__(self) -> None:
        if not self.checkpoints:
            raise UsageError("no checkpoints given", hint="v2t-eval pick checkpoints/ --prompts held-out.txt -o pick/")
        if not self.prompts:
            raise UsageError("no prompts given", hint="--prompts FILE: prompts that were not trained on")
        for name, least in (("limit", 1), ("num_videos", 1), ("steps", 1), ("training_prompts", 0), ("seed", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise UsageError(f"{name} must be at least {least}, got {value}")
        for name in ("copy_share", "tolerated_copies"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 0 and below 1, got {getattr(self, name)}")
        check_device(self.device)
