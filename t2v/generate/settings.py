"""Settings of a run of `t2v generate`: what a config file, --set and the flags may say."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from cineloop.cluster.settings import ClusterConfig
from cineloop.errors import UsageError
from t2v.generators import GenerateSettings

MAX_SEED = 2**63 - 1


@dataclass(frozen=True, kw_only=True)
class GenerateConfig(GenerateSettings):
    """What to generate with.

    `seed` is that of every prompt's first clip, the next ones count on; `num_videos` clips of each prompt; `lora` files
    as PATH or PATH:WEIGHT; `image` the first frame of every clip; `options` keyword arguments of the generator's class,
    for settings that only one generator has; `cluster` where the work is placed, by default this process.
    """

    generator: str = "dit"
    model: str | None = None
    seed: int = 0
    num_videos: int = 1
    negative_prompt: str = ""
    image: Path | None = None
    batch_size: int | None = None
    device: str = "auto"
    dtype: str = "auto"
    lora: tuple[str, ...] = ()
    offload: Literal["none", "model", "sequential"] = "none"
    tiling: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    overwrite: bool = False
    dry_run: bool = False
    cluster: ClusterConfig = field(default_factory=ClusterConfig)

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
