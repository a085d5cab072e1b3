"""How weights move: the settings of optimiser, schedule and weight averaging (see `cineloop.training.optim`).

In: values of a recipe. Out: `OptimConfig`. Nothing heavy is imported here, so that a recipe is read in no time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """How weights move.

    `lr` gives a part's peak learning rate by its name; 0 freezes the part; a part without an entry takes `base_lr`.
    `optimizer` muon orthogonalises the update of hidden matrices and gives AdamW the rest (embeddings, heads,
    vectors). `warmup_steps` rise linearly from 0; then `cosine` falls to `min_lr_ratio` of the peak at the last
    step, `constant` stays. `clip` bounds the gradient's global norm. `ema` is the decay of averaged weights (0 off).
    """

    base_lr: float = 1e-3
    lr: dict[str, float] = field(default_factory=dict)
    optimizer: Literal["adamw", "muon"] = "adamw"
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    weight_decay: float = 0.05
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup_steps: int = 200
    min_lr_ratio: float = 0.0
    clip: float = 1.0
    ema: float = 0.0

    def __post_init__(self) -> None:
        for name, rate in {"base_lr": self.base_lr, **self.lr}.items():
            if not 0 <= rate < 10:
                raise ValueError(f"learning rate of {name} must be in [0, 10), got {rate}")
        if self.warmup_steps < 0 or not 0 <= self.min_lr_ratio <= 1:
            raise ValueError("warmup_steps must be ≥ 0 and min_lr_ratio in [0, 1]")
        if self.clip <= 0 or not 0 <= self.ema < 1:
            raise ValueError("clip must be > 0 and ema in [0, 1)")
