"""Settings of a run of `t2v generate`: what a config file, --set and the flags may say."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from cineloop.cluster.settings import ClusterConfig
from cineloop.errors import UsageError
from cineloop.options import option, setting
from t2v.settings import GenerateSettings

MAX_SEED = 2**63 - 1


@dataclass(frozen=True, kw_only=True)
class GenerateConfig(GenerateSettings):
    """What to generate with."""

    negative_prompt: str = option("", "what not to show", metavar="TEXT")
    image: Path | None = option(None, "first frame of every clip (image to video)", metavar="FILE")
    seed: int = option(0, "seed of each prompt's first clip; further clips count up")
    num_videos: int = option(1, "clips per prompt", metavar="N")
    generator: str = option(
        "dit",
        "dit (default: the bundled model), world (draws the cartoon world), diffusers, FILE.py",
        group="the generator and the machine",
    )
    model: str | None = option(None, "a folder, or for diffusers a hub id (default: the bundled model)")
    options: dict[str, Any] = setting({}, "keyword arguments of the generator's class, which only it has")
    batch_size: int | None = option(None, "clips in a batch (default: the generator's)", metavar="N")
    device: str = option("auto", "auto (default), cpu, cuda, cuda:1")
    dtype: str = option("auto", "auto (default), float32, bfloat16, float16")
    lora: tuple[str, ...] = option((), "LoRA weights; repeatable", metavar="PATH[:WEIGHT]")
    offload: Literal["none", "model", "sequential"] = option(
        "none", "keep parts of the model in main memory: none (default), model, sequential"
    )
    tiling: bool = option(False, "decode in tiles: less memory, slower")
    overwrite: bool = option(False, "make existing clips again", group="")
    dry_run: bool = option(False, "list what would be made; write nothing")
    cluster: ClusterConfig = setting(ClusterConfig(), "where the work is placed (default: in this process)")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.seed <= MAX_SEED - self.num_videos:
            raise UsageError(f"seed must be within 0 and 2**63 - 1, got {self.seed}")
        for name in ("num_videos", "batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"{name} must be at least 1, got {value}")
        if self.image is not None and not self.image.is_file():
            raise UsageError(f"no such picture: {self.image}")

    @property
    def clips(self) -> GenerateSettings:
        """The settings of the clips alone."""
        return GenerateSettings(**{each.name: getattr(self, each.name) for each in fields(GenerateSettings)})

    @property
    def generator_options(self) -> dict[str, Any]:
        """Keyword arguments of the generator's class, only those that were given."""
        given = {"lora": self.lora, "offload": self.offload, "tiling": self.tiling}
        return {key: value for key, value in given.items() if value not in ((), "none", False)} | self.options
