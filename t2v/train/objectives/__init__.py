"""Objectives of reward fine-tuning, one file each: `raft`, `nft`, `dpo`, `grpo`, `distil`. Plug-in = file name.

In: clips of a few prompts that the policy drew, several of each prompt, with rewards. Out: which of them are trained
on, with what weight (`examples`), and the loss of a batch (`loss`). A file defines `Objective`, a `BaseObjective`; a
user's own is a file anywhere. Letters: n examples, k clips of an example, c t h w latents.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, ClassVar, Protocol

import torch

from cineloop import config as configs
from t2v import flow

Group = Sequence[tuple[int, float]]  # clips of one prompt: place among all clips, reward
Batch = Mapping[str, Any]


@dataclass(frozen=True)
class Example:
    """What one sample of a batch is made of: places of its clips, and its weight."""

    clips: tuple[int, ...]
    weight: float


class PolicyPair(Protocol):
    """A generator's transformer as it is, and as it was when it drew the clips."""

    def now(self, noisy: torch.Tensor, sigma: torch.Tensor, text: Any) -> torch.Tensor:
        """Its velocity (n, c, t, h, w) at levels `sigma` (n,)."""
        ...

    def old(self, noisy: torch.Tensor, sigma: torch.Tensor, text: Any) -> torch.Tensor:
        """The same of the policy that drew the clips, without gradient."""
        ...


@dataclass(frozen=True, kw_only=True)
class NoObjectiveSettings:
    """None."""


class BaseObjective(ABC):
    """What the files here share.

    Args:
        settings: of its own `Settings`.

    Raises:
        UsageError: an unknown setting, or one of the wrong type.
    """

    name: ClassVar[str]
    Settings: ClassVar[type] = NoObjectiveSettings
    reads_path: ClassVar[bool] = False  # learns from steps of the sampler, not from finished clips
    unguided: ClassVar[bool] = False  # of clips drawn without guidance alone
    compares: ClassVar[bool] = True  # the clips of a prompt with each other: prompts of equal rewards teach nothing

    def __init__(self, settings: Mapping[str, Any] | None = None) -> None:
        self.settings: Any = configs.from_dict(self.Settings, settings or {})

    @abstractmethod
    def examples(self, groups: Sequence[Group]) -> list[Example]:
        """What to train on; where it `compares`, `groups` hold two clips or more each, not all of one reward."""

    def segments(self, num_steps: int) -> list[tuple[int, int]]:
        """Where on the path of `num_steps` steps a sample begins and ends; the last step adds no noise and has no
        likelihood, so it is left out here."""
        return [(place, place + 1) for place in range(num_steps - 1)]

    def sampling(self) -> dict[str, Any]:
        """What the new model should be drawn with, as keys of its transformer's config; nothing is the rule."""
        return {}

    @abstractmethod
    def loss(self, policy: PolicyPair, batch: Batch) -> torch.Tensor:
        """The loss of each example (n,).

        Args:
            policy: the transformer.
            batch: `latents` (n, k, c, t, h, w), `noise` (n, c, t, h, w), `sigma` (n,), `weight` (n,), `text` as the
                policy takes it; where `reads_path`, instead of noise and latents a segment of the path: `before`
                and `after` (n, c, t, h, w), `sigma` and `sigma_next` (n,), and the sampler's noise `level` (n,).
        """


def flow_error(policy: PolicyPair, batch: Batch, place: int = 0) -> torch.Tensor:
    """The mean squared error (n,) of the velocity for clip `place` of each example."""
    clean, noise, sigma = batch["latents"][:, place], batch["noise"], batch["sigma"]
    guess = policy.now(flow.add_noise(clean, noise, sigma), sigma, batch["text"])
    return mean_square(guess - flow.velocity(clean, noise))


def mean_square(values: torch.Tensor) -> torch.Tensor:
    """(n, ...) → (n,), in float32."""
    return values.float().square().flatten(1).mean(1)


def advantages(groups: Sequence[Group], *, most: float) -> list[Example]:
    """Each clip with its reward relative to its group: (r - group's mean) / standard deviation of all, within ±`most`.

    One deviation for all groups (DiffusionNFT, Flow-GRPO): a group whose rewards hardly differ must not count as much
    as one in which they do.
    """
    centred = [(clip, reward - fmean(r for _, r in group)) for group in groups for clip, reward in group]
    deviation = max((sum(a * a for _, a in centred) / len(centred)) ** 0.5, 1e-8)
    return [Example((clip,), max(-most, min(most, a / deviation))) for clip, a in centred]
