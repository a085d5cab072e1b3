"""The recipe of `v2t-eval learn`: prompts, rewards, the objective, what watches over it, and when it stops."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cineloop.cluster.settings import ClusterConfig
from cineloop.errors import UsageError
from cineloop.options import setting
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
class GuardLimit:
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
    GuardLimit(metric="diversity", least=0.8),
    GuardLimit(metric="sharpness", least=0.7),
    GuardLimit(metric="frechet", most=2.0),
)


@dataclass(frozen=True, kw_only=True)
class PromptConfig:
    """Where prompts come from: a file, or (None) the cartoon world's `split`, new ones in every round.

    Of a file each round takes the next `num` in a shuffled order.
    """

    file: Path | None = setting(
        None, "file of prompts (default: prompts of the cartoon world, new ones in every round)"
    )
    split: str = setting("train", "combinations of the cartoon world: train, seen, unseen")
    num: int = setting(64, "prompts of a round")

    def __post_init__(self) -> None:
        if self.num < 1:
            raise UsageError(f"num of prompts must be at least 1, got {self.num}")
        if self.split not in ("train", "seen", "unseen"):
            raise UsageError(f"split must be train, seen or unseen, not {self.split!r}")


@dataclass(frozen=True, kw_only=True)
class LearnConfig:
    """The recipe."""

    generator: str = setting("dit", "what learns, as of `t2v generate`")
    model: str = setting("starter", "its weights, as of `t2v generate`")
    rank: int = setting(0, "learn a low-rank adapter of this rank; 0 learns all weights")
    prompts: PromptConfig = setting(PromptConfig(), "prompts to draw for in every round")
    held_out: PromptConfig = setting(
        PromptConfig(split="seen"), "prompts of the measures, never drawn for; their clips always have the same seeds"
    )
    num_videos: int = setting(8, "clips of each prompt of a round")
    held_out_videos: int = setting(2, "clips of each held-out prompt")
    clips: dict[str, Any] = setting(
        {"steps": 16}, "settings of the clips (steps, guidance, num_frames ...), by default {steps: 16}"
    )
    held_out_clips: dict[str, Any] = setting(
        {},
        "settings over those for the held-out clips, such as {guidance: 1} where a generator learns to do without the "
        "guidance that its clips are drawn with",
    )
    dtype: str = setting("auto", "of the generator where it draws")
    device: str = setting("auto", "where clips are drawn: auto, cpu, cuda, cuda:1")
    reward: tuple[RewardPart, ...] = setting(
        (RewardPart(metric="question_score", key="chance"),),
        "what is rewarded: {metric, key, weight} each (default: question_score by the chance of the wanted answers)",
    )
    rewards: Path | None = setting(None, "file of rewards made by hand instead, for the clips in `drawn`: one round")
    drawn: Path | None = setting(None, "run folder of those clips, made with `--set options.latents=true`")
    objective: str = setting("nft", "a file of `t2v/train/objectives`")
    settings: dict[str, Any] = setting({}, "settings of the objective")
    train: dict[str, Any] = setting({}, "settings over those of the training stage `reward`, such as loop.steps")
    rounds: int = setting(10, "most rounds")
    measure_every: int = setting(2, "rounds between two measures of the held-out clips")
    judges: tuple[str, ...] = setting(("clipsim",), "metrics that are never in the reward and should rise with it")
    referee: str | None = setting(
        "obedience", "the metric that knows the truth, of the cartoon world's prompts; null elsewhere"
    )
    guards: tuple[GuardLimit, ...] = setting(
        DEFAULT_GUARDS,
        "metrics of the set with least and most, times the start's value (default: diversity, sharpness, frechet)",
    )
    tolerated: dict[str, float] = setting(
        {}, "by judge or referee, how much its mean may fall before it counts as harm; 0 where none is given"
    )
    real: Path | None = setting(
        None,
        "folder of clips that the prompts' clips should look like (default: the cartoon world's renderings of the "
        "held-out prompts, where it can draw them)",
    )
    gate: str | None = setting("gate", "suite by which the final model is compared with the first; null for none")
    seed: int = setting(0, "seed of everything drawn")
    cluster: ClusterConfig = setting(
        ClusterConfig(), "where clips are drawn and judged (default: in this process); training and drift stay here"
    )

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
