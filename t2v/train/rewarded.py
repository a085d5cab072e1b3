"""Drawn clips with their rewards, as training data: groups of one prompt, examples of an objective, batches.

In: a run folder of `t2v generate --set options.latents=true` and its `rewards.jsonl`, a row a clip: `id`, `reward` (a
number, or null where there is none), and what else its author notes (`status`, `parts`, `judge`). Out: `RewardClips`,
counts of what teaches and what does not, and a picklable source of batches. A clip without a reward teaches nothing;
where clips are compared, neither does a prompt whose rewards are all equal, or that has only one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cineloop.documents import json_lines
from cineloop.errors import CineloopError, UsageError
from cineloop.files import text_key
from cineloop.manifest import read_manifest
from t2v.train.objectives import Example, Group

MANIFEST, REWARDS = "manifest.jsonl", "rewards.jsonl"
Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True, kw_only=True)
class RewardClips:
    """Clips that have a reward, and their groups.

    Attributes:
        prompts, latents: of each clip its prompt and the file of its latents.
        groups: clips of one prompt; where they are compared, with rewards that differ.
        counts: `clips`, `unrewarded`, `alone` (no other clip of the prompt has a reward), `equal`.
        weights, loras: hashes of the generator that drew them, and of its adapters.
        guidance: at which they were drawn.
    """

    prompts: tuple[str, ...]
    latents: tuple[Path, ...]
    groups: tuple[Group, ...]
    counts: dict[str, int]
    weights: str
    loras: tuple[str, ...]
    guidance: float


def read_rewards(path: Path) -> dict[str, float]:
    """Rewards by id, without the clips that have none.

    Raises:
        UsageError: a row without id, an id twice, or a reward that is no finite number.
    """
    rewards: dict[str, float] = {}
    seen: set[str] = set()
    for number, row in json_lines(path, code="REWARDS"):
        where = f"{path}, line {number}"
        id, reward = row.get("id"), row.get("reward")
        if not isinstance(id, str) or id in seen:
            raise UsageError(f"{where}: expected an `id` that comes once, got {id!r}", code="REWARDS")
        seen.add(id)
        if reward is None:
            continue
        if isinstance(reward, bool) or not isinstance(reward, int | float) or not math.isfinite(reward):
            raise UsageError(
                f"{where}: reward must be a finite number, or null for none, got {reward!r}", code="REWARDS"
            )
        rewards[id] = float(reward)
    return rewards


def read_reward_clips(folder: Path, rewards: Path | None = None, *, compares: bool = True) -> RewardClips:
    """The clips of a run folder with their rewards.

    Args:
        folder: with `manifest.jsonl`.
        rewards: the file of rewards; None for `rewards.jsonl` in the folder.
        compares: whether clips of a prompt are compared with each other; where not, every clip with a reward teaches,
            and without any file of rewards all have the reward 1.

    Raises:
        UsageError: files that are missing or wrong, clips without latents or of several generators, rewards of ids
            that are not in the folder, or nothing to learn from.
    """
    rows = list(read_manifest(folder / MANIFEST))
    path = folder / REWARDS if rewards is None else rewards
    if compares or rewards is not None or path.is_file():
        known = read_rewards(path)
    else:
        known = {row["id"]: 1.0 for row in rows}
    if strange := known.keys() - {row["id"] for row in rows}:
        raise UsageError(f"{path}: {len(strange)} ids are not in {folder / MANIFEST}, such as {min(strange)}")
    without = [row["id"] for row in rows if not row.get("latents") or not (folder / row["latents"]).is_file()]
    if without:
        raise UsageError(
            f"{len(without)} clips of {folder} have no latents, such as {without[0]}",
            hint="draw them with t2v generate --set options.latents=true",
        )
    if len(models := {(row["weights_sha256"], str(row.get("lora"))) for row in rows}) > 1:
        raise UsageError(f"the clips of {folder} are of {len(models)} generators; a run learns from the clips of one")
    by_prompt: dict[str, list[tuple[int, float]]] = {}
    for place, row in enumerate(rows):
        if row["id"] in known:
            by_prompt.setdefault(row["prompt"], []).append((place, known[row["id"]]))
    several = [group for group in by_prompt.values() if len(group) > 1 or not compares]
    groups = [group for group in several if len({reward for _, reward in group}) > 1 or not compares]
    counts = {
        "clips": len(rows),
        "unrewarded": len(rows) - len(known),
        "alone": sum(len(group) for group in by_prompt.values()) - sum(map(len, several)),
        "equal": sum(map(len, several)) - sum(map(len, groups)),
    }
    if not groups:
        raise UsageError(
            f"{path} teaches nothing: of {len(rows)} clips {counts['unrewarded']} have no reward, {counts['alone']} "
            f"are alone with their prompt, {counts['equal']} have the reward of all others of their prompt",
            code="REWARDS",
            hint="draw several clips a prompt (--num-videos), and reward them differently",
        )
    return RewardClips(
        prompts=tuple(row["prompt"] for row in rows),
        latents=tuple(folder / row["latents"] for row in rows),
        groups=tuple(groups),
        counts=counts,
        weights=rows[0]["weights_sha256"],
        loras=tuple(each["sha256"] for each in rows[0].get("lora", ())),
        guidance=float(rows[0]["settings"].get("guidance") or 1.0),
    )


@dataclass(frozen=True)
class RewardedSource:
    """Batches of an objective's examples, each epoch in an order of its own; picklable.

    Args:
        data: the clips. examples: of the objective, not empty.
        texts: of each prompt, its embedding.
        collate: prompts of a batch into one set of tensors.
        segments: of the objective, where it learns from the sampler's path; None for finished clips.
    """

    data: RewardClips
    examples: Sequence[Example]
    texts: Mapping[str, Tensors]
    collate: Callable[[Sequence[Tensors]], Tensors]
    seed: int
    segments: Callable[[int], Sequence[tuple[int, int]]] | None = None

    @property
    def identity(self) -> str:
        """Changes with the clips, their examples and their weights."""
        parts = [(each.clips, each.weight) for each in self.examples]
        return text_key(repr((self.data.weights, self.data.prompts, parts)).encode())

    def __call__(self, start: int, count: int) -> dict[str, Any]:
        """Samples `start` … `start + count - 1`; see `BaseObjective.loss`, noise and levels come with the loss."""
        chosen = [self._example(number) for number in range(start, start + count)]
        weights = torch.tensor([example.weight for example in chosen])  # (n,)
        text = self.collate([self.texts[self.data.prompts[example.clips[0]]] for example in chosen])
        batch: dict[str, Any] = {"weight": weights, "text": text}
        if self.segments is not None:
            steps = [self._segment(each, start + n, self.segments) for n, each in enumerate(chosen)]
            return batch | {name: torch.stack([step[name] for step in steps]) for name in steps[0]}
        clips = [torch.stack([load(self.data.latents[n])["latents"] for n in each.clips]) for each in chosen]
        return batch | {"latents": torch.stack(clips)}

    def _example(self, number: int) -> Example:
        epoch, place = divmod(number, len(self.examples))
        return self.examples[_shuffle(self.seed, epoch, len(self.examples))[place]]

    def _segment(self, example: Example, number: int, segments: Callable[[int], Sequence[tuple[int, int]]]) -> Tensors:
        """One segment of the sampler's path, drawn by the number of the sample."""
        file = self.data.latents[example.clips[0]]
        drawn = load(file)
        if "path" not in drawn:
            raise UsageError(
                f"{file} holds no steps of the sampler",
                hint="draw with --set options.path=true, for grpo with options.stochastic=0.7",
            )
        path, sigmas = drawn["path"], drawn["sigmas"]
        places = segments(len(sigmas) - 1)
        if not places:
            raise UsageError(
                f"{file} was drawn in one step of the sampler, which adds no noise; this objective learns from the "
                "steps before the last",
                hint="draw with --steps 2 or more",
            )
        begin, end = places[int(np.random.default_rng([self.seed, number]).integers(len(places)))]
        levels = {"sigma": sigmas[begin], "sigma_next": sigmas[end], "level": drawn["level"]}
        return {"before": path[begin], "after": path[end], **levels}


@lru_cache(maxsize=4)
def _shuffle(seed: int, epoch: int, count: int) -> np.ndarray:
    """The order (count,) of the examples in an epoch."""
    return np.random.default_rng([seed, epoch]).permutation(count)


def load(path: Path) -> Tensors:
    """The tensors of a clip.

    Raises:
        CineloopError: LATENTS, the file is gone or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise CineloopError(f"cannot read {path}: {error}", code="LATENTS", hint="draw the clips again") from error
