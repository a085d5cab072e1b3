"""The recipes of training on a set of clips: what stages `lora` and `clips` share, and the adapter of `lora`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from cineloop.training.recipe import StageConfig
from t2v import flow
from t2v.data.buckets import BucketConfig
from t2v.data.layouts import ClipPlaces


@dataclass(frozen=True, kw_only=True)
class SampleConfig:
    """Clips drawn at every evaluation: for which prompts, in how many steps, how strongly guided, in what time."""

    prompts: tuple[str, ...] = ()
    steps: int = 16
    guidance: float = 3.0
    seconds: float = 300.0


@dataclass(frozen=True, kw_only=True)
class ClipSetConfig(ClipPlaces, StageConfig):
    """The model and the clips; see `t2v.data.layouts.ClipPlaces` for where they are.

    Args:
        model: pipeline folder or hub id.
        buckets: sizes and lengths of training clips; `fps` their rate (None: the model's own); `window` what is taken
            of longer clips.
        held_out: files to judge by, of `eval_data`, else kept out of training; 0 judges by training clips.
        cache: folder for latents and encoded prompts; `encode_dtype` computes them.
        flow: noise levels.
        text_dropout: share of samples under the empty prompt, so that guidance keeps working.
        samples: clips to draw while training.
    """

    model: str
    buckets: BucketConfig = field(default_factory=BucketConfig)
    fps: float | None = None
    window: Literal["first", "middle", "all"] = "first"
    held_out: int = 4
    cache: Path
    encode_dtype: Literal["float32", "bfloat16"] = "float32"
    flow: flow.FlowConfig = field(default_factory=flow.FlowConfig)
    text_dropout: float = 0.1
    samples: SampleConfig = field(default_factory=SampleConfig)

    def __post_init__(self) -> None:
        if not 0 <= self.text_dropout < 1:
            raise ValueError(f"text_dropout must be in [0, 1), got {self.text_dropout}")
        if not self.data or self.held_out < 0:
            raise ValueError("data must name a folder or file, and held_out be at least 0")
        if self.eval_data and not self.held_out:
            raise ValueError("held_out 0 takes no clip of eval_data to judge by")


@dataclass(frozen=True, kw_only=True)
class Config(ClipSetConfig):
    """The adapter.

    Args:
        rank, alpha, dropout: of the adapter; its update is scaled by alpha / rank. alpha None is the rank, and the
            best choice: there are loaders that do not read it.
        target: which layers: a regular expression for whole names, or a list of names' ends.
        dtype: of the frozen weights.
    """

    rank: int = 16
    alpha: float | None = None
    dropout: float = 0.0
    target: str | tuple[str, ...] = ("to_q", "to_k", "to_v", "to_out.0")
    dtype: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rank < 1 or (self.alpha or 1) <= 0 or not 0 <= self.dropout < 1:
            raise ValueError("rank must be at least 1, alpha above 0, dropout in [0, 1)")
