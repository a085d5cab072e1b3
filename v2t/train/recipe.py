"""What every stage's recipe holds.

In: nothing. Out: `StageConfig`, the base of the stages' `Config` classes; defaults of the starter's shapes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from v2t.base.runtime import RuntimeConfig
from v2t.base.stage import LoopConfig


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """A recipe: which stage, where the run lies, on what it runs, how long.

    `runtime.seed` seeds weights and dropout; `data_seed` the stream of the world's scenes.
    """

    stage: str
    out: Path
    loop: LoopConfig
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    data_seed: int = 1


def siglip_config(fields: dict[str, Any]) -> Any:
    """A `SiglipVisionConfig` without pooling head, from the differences to transformers' defaults."""
    from transformers import SiglipVisionConfig

    return SiglipVisionConfig(vision_use_head=False, **fields)
