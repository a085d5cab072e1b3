"""Settings of a run of `t2v generate`: what a config file, --set and the flags may say.

In: keys and values. Out: `GenerateConfig`, checked at birth.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from cineloop.errors import UsageError
from t2v.generators import GenerateSettings

MAX_SEED = 2**63 - 1


@dataclass(frozen=True, kw_only=True)
class GenerateConfig:
    """What to generate with.

    `seed` is that of every prompt's first clip, the next ones count on; `num_videos` clips of each prompt; `lora` files
    as PATH or PATH:WEIGHT; `image` the first frame of every clip; `options` are what only this generator knows (the
    keyword arguments of its class). None leaves a value to the generator.
    """

    generator: str = "dit"
    options: dict[str, Any] = field(default_factory=dict)
    model: str | None = None
    num_frames: int | None = None
    height: int | None = None
    width: int | None = None
    fps: float | None = None
    steps: int | None = None
    guidance: float | None = None
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
    overwrite: bool = False
    dry_run: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.seed <= MAX_SEED - self.num_videos:
            raise UsageError(f"seed must be within 0 and 2**63 - 1, got {self.seed}")
        for name in ("num_videos", "batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"{name} must be at least 1, got {value}")
        if self.image is not None and not self.image.is_file():
            raise UsageError(f"no such picture: {self.image}")
        self.clips  # noqa: B018  # refuses what is out of range

    @property
    def clips(self) -> GenerateSettings:
        """The part that a generator sees."""
        return GenerateSettings(
            num_frames=self.num_frames,
            height=self.height,
            width=self.width,
            fps=self.fps,
            steps=self.steps,
            guidance=self.guidance,
        )

    @property
    def all_options(self) -> dict[str, Any]:
        """What only some generators know, and only where it was asked for."""
        asked: dict[str, Any] = {"lora": self.lora, "offload": self.offload, "tiling": self.tiling}
        return {key: value for key, value in asked.items() if value not in ((), "none", False)} | self.options
