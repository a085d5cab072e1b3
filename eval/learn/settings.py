"""The recipe of `v2t-eval learn`: prompts, rewards, the objective, what watches over it, and when it stops."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cineloop.cluster.settings import ClusterConfig
from cineloop.errors import UsageError
from cineloop.training.runtime import check_device


@dataclass(frozen=True, kw_only=True)
class RewardPart:
    """One metric of the reward.

    Attributes:
        metric: as `v2t-eval score --metrics` takes it, a file of your own too.
        key: of the metric's items: `value`, or of metrics that ask questions `chance`, the mean chance of the wanted
            answers, which tells more than right or wrong.
        weight: of it in the sum; negative where less is better.
    """

    metric: str
    key: str = "value"
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not math.isfinite(self.weight) or not self.weight:
            raise UsageError(f"the weight of {self.metric} must be a finite number other than 0, got {self.weight}")


@dataclass(frozen=True, kw_only=True)
class Guard:
    """A metric of the whole set that may not go too far: `least` and `most` times its value at the start, and beyond
    chance."""

    metric: str
    least: float | None = None
    most: float | None = None

    def __post_init__(self) -> None:
        if self.least is None and self.most is None:
            raise UsageError(
                f"the guard {self.metric} has no limit", hint="give least or most, times the start's value"
            )


DEFAULT_GUARDS = (
    Guard(metric="diversity", least=0.8),
    Guard(metric="sharpness", least=0.7),
    Guard(metric="frechet", most=2.0),
)


@dataclass(frozen=True, kw_only=True)
class PromptConfig:
    """Where prompts come from: a file, or (None) the cartoon world's `split`, new ones in every round.

    Of a file each round takes the next `num` in a shuffled order.
    """

    file: Path | None = None
    split: str = "train"
    num: int = 64

    def __post_init__(self) -> None:
        if self.num < 1:
            raise UsageError(f"num of prompts must be at least 1, got {self.num}")
        if self.split not in ("train", "seen", "unseen"):
            raise UsageError(f"split must be train, seen or unseen, not {self.split!r}")


@dataclass(frozen=True, kw_only=True)
class LearnConfig:
    """The recipe.

    Attributes:
        generator, model: as of `t2v generate`; the policy that learns. `rank`: learn a low-rank adapter instead of all
            weights.
        prompts: to draw for in every round; `num_videos` clips of each. `held_out`: the prompts of the measures, never
            drawn for; their clips have the same seeds at every measure.
        clips: settings of the clips (`steps`, `guidance`, `num_frames` ...), `dtype` and `device` where they are drawn.
            `held_out_clips`: settings over those for the held-out clips, such as {guidance: 1} where a generator learns
            to do without the guidance that its clips are drawn with.
        reward: what is rewarded. `rewards`: a file of rewards made by hand instead, with `drawn`, the run folder of its
            clips (made with `--set options.latents=true`): one round, without a judge.
        objective, settings: see `t2v.train.objectives`. `train`: settings over those of the training stage `reward`,
            such as `loop.steps`.
        rounds: at most; `measure_every` so many the held-out clips are measured, and at the start and the end.
        judges: metrics that never are in the reward and should rise with it. `referee`: the one that knows the truth,
            of the cartoon world's prompts; null elsewhere. `guards`: see `Guard`.
        tolerated: by judge or referee, how much its mean may fall before it counts as harm; 0 where none is given.
        real: folder of clips that the prompts' clips should look like, for distances between sets; null: the cartoon
            world's renderings of the held-out prompts, where it can draw them.
        gate: the suite by which the final model is compared with the first one; null for none.
        seed: of everything drawn.
        cluster: where clips are drawn and judged, by default in this process. Training and drift stay here.
    """

    generator: str = "dit"
    model: str = "starter"
    rank: int = 0
    prompts: PromptConfig = field(default_factory=PromptConfig)
    held_out: PromptConfig = field(default_factory=lambda: PromptConfig(split="seen"))
    num_videos: int = 8
    held_out_videos: int = 2
    clips: dict[str, Any] = field(default_factory=lambda: {"steps": 16})
    held_out_clips: dict[str, Any] = field(default_factory=dict)
    dtype: str = "auto"
    device: str = "auto"
    reward: tuple[RewardPart, ...] = (RewardPart(metric="question_score", key="chance"),)
    rewards: Path | None = None
    drawn: Path | None = None
    objective: str = "nft"
    settings: dict[str, Any] = field(default_factory=dict)
    train: dict[str, Any] = field(default_factory=dict)
    rounds: int = 10
    measure_every: int = 2
    judges: tuple[str, ...] = ("clipsim",)
    referee: str | None = "obedience"
    guards: tuple[Guard, ...] = DEFAULT_GUARDS
    tolerated: dict[str, float] = field(default_factory=dict)
    real: Path | None = None
    gate: str | None = "gate"
    seed: int = 0
    cluster: ClusterConfig = field(default_factory=ClusterConfig)

    def __post_init__(self) -> None:
        for name in ("num_videos", "held_out_videos", "rounds", "measure_every"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.rewards is None and self.num_videos < 2:
            raise UsageError("num_videos must be at least 2: a clip is rewarded relative to others of its prompt")
        if (self.rewards is None) != (self.drawn is None):
            raise UsageError("rewards by hand need their clips, and the other way round: give `rewards` and `drawn`")
        if self.rewards is not None and self.rounds != 1:
            raise UsageError("rewards by hand are of one round", hint="set rounds: 1, and draw again with its model")
        if self.rewards is None and not self.reward:
            raise UsageError("the reward has no metric")
        watchers = (*self.judges, *(() if self.referee is None else (self.referee,)))
        inside = {part.metric for part in self.reward} if self.rewards is None else set()
        if both := inside.intersection(watchers):
            raise UsageError(
                f"{min(both)} is in the reward, so it cannot watch over it", hint="other metrics as judges and referee"
            )
        for name, fall in self.tolerated.items():
            if name not in watchers:
                raise UsageError(
                    f"tolerated: {name!r} is neither a judge nor the referee", hint=f"one of {', '.join(watchers)}"
                )
            if not 0 <= fall < math.inf:
                raise UsageError(f"tolerated: the fall of {name} must be at least 0 and finite, got {fall}")
        if self.held_out_videos < 2 and any(guard.metric == "diversity" for guard in self.guards):
            raise UsageError(
                "the guard diversity compares the clips of a prompt, and held_out_videos is 1",
                hint="set held_out_videos to 2 or more, or leave that guard out",
            )
        check_device(self.device)

    @property
    def measured_rounds(self) -> list[int]:
        """After how many rounds the held-out clips are measured; 0 is the start."""
        return sorted({*range(0, self.rounds + 1, self.measure_every), self.rounds})
