"""Stage `reward`: a generator learns from clips that it drew itself and from their ratings.

In: a pipeline folder (the policy), clips that it drew with their latents and `rewards.jsonl` (`t2v.train.rewarded`),
an objective (`t2v.train.objectives`). Out: `final/`, the whole pipeline, or with a `rank` the adapter alone. What the
clips were drawn from is what is trained on, without a way through the autoencoder. Who rewards is not known here: a
judge, a metric, a person. Letters: n examples, c t h w latents.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from torch.func import functional_call

from cineloop import plugin
from cineloop.errors import UsageError
from cineloop.training.recipe import StageConfig
from cineloop.training.run_log import say
from cineloop.training.runtime import resolve
from t2v import flow
from t2v.generators.weights import sha256_of
from t2v.train.families import ModelFamily, open_family
from t2v.train.lora import add_adapter, learn_adapter, transformer_piece
from t2v.train.objectives import BaseObjective
from t2v.train.rewarded import RewardedSource, load, read_reward_clips


@dataclass(frozen=True, kw_only=True)
class Config(StageConfig):
    """The policy, the clips, and how they teach.

    Args:
        model: pipeline folder, or with a `rank` also a hub id; it drew the clips.
        clips: run folder of `t2v generate`; `rewards` is its file of rewards (None: `rewards.jsonl` in it).
        objective: a file of `t2v/train/objectives`, or the path of another; `settings` are its own.
        rank: of a low-rank adapter that learns instead of all weights; 0 for none. `alpha` (None: the rank), `target`
            and `dropout` as in stage `lora`.
        adapter: the adapter that the clips were drawn with, to continue.
        dtype: of frozen weights; all weights learn in float32.
        flow: noise levels.
    """

    model: str
    clips: Path
    rewards: Path | None = None
    objective: str = "nft"
    settings: dict[str, Any] = field(default_factory=dict)
    rank: int = 0
    alpha: float | None = None
    dropout: float = 0.0
    target: str | tuple[str, ...] = ("to_q", "to_k", "to_v", "to_out.0")
    adapter: Path | None = None
    dtype: Literal["float32", "bfloat16"] = "float32"
    flow: flow.FlowConfig = field(default_factory=flow.FlowConfig)

    def __post_init__(self) -> None:
        if self.rank < 0 or (self.alpha or 1) <= 0 or not 0 <= self.dropout < 1:
            raise ValueError("rank must be at least 0, alpha above 0, dropout in [0, 1)")
        if self.adapter is not None and not self.rank:
            raise ValueError("an adapter is continued with its rank: set rank")
        if not self.rank and not (Path(self.model) / "transformer").is_dir():
            raise ValueError(f"all weights learn of a folder on this machine, not of {self.model}: give one, or a rank")


class Before:
    """A transformer with the weights that it has now, whatever it learns later; called as the transformer is."""

    def __init__(self, transformer: Any) -> None:
        self.transformer = transformer
        trained = (pair for pair in transformer.named_parameters() if pair[1].requires_grad)
        # Neither parameters nor buffers: a checkpoint need not hold what the model's folder holds.
        self.weights = {name: weight.detach().clone() for name, weight in trained}

    @property
    def dtype(self) -> torch.dtype:
        """The transformer's."""
        dtype: torch.dtype = self.transformer.dtype
        return dtype

    def __call__(self, *args: Any, **options: Any) -> Any:
        device = self.transformer.device
        if any(weight.device != device for weight in self.weights.values()):  # the first time
            self.weights = {name: weight.to(device) for name, weight in self.weights.items()}
        return functional_call(self.transformer, self.weights, args, options)


class RewardTask(nn.Module):
    """The transformer, itself as it drew the clips, and the objective."""

    def __init__(
        self, transformer: Any, family: ModelFamily, objective: BaseObjective, levels: flow.FlowConfig
    ) -> None:
        super().__init__()
        self.transformer, self.family, self.objective, self.levels = transformer, family, objective, levels
        self.before = Before(transformer)

    def now(self, noisy: torch.Tensor, sigma: torch.Tensor, text: Any) -> torch.Tensor:
        """See `t2v.train.objectives.PolicyPair`."""
        return self.family.predict(self.transformer, noisy, sigma, text)

    @torch.no_grad()
    def old(self, noisy: torch.Tensor, sigma: torch.Tensor, text: Any) -> torch.Tensor:
        """See `t2v.train.objectives.PolicyPair`."""
        return self.family.predict(self.before, noisy, sigma, text)

    def forward(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Loss summed over the examples; noise levels and noise come from the global random state."""
        if not self.objective.reads_path:
            clean = batch["latents"][:, 0]
            sigma = flow.sample_sigmas(len(clean), self.levels).to(clean.device)  # (n,)
            batch = {**batch, "sigma": sigma, "noise": torch.randn_like(clean)}
        loss = self.objective.loss(self, batch)  # (n,)
        return {"terms": {"reward": loss.sum()}, "metrics": {"loss": (loss.detach().sum(), len(loss))}}


class RewardStage:
    """See the module's head."""

    name, unit = "reward", "clips"
    step = 0

    def __init__(self, config: Config) -> None:
        self.config, self.terms = config, {"reward": 1.0}
        self.family = open_family(config.model)
        kind = plugin.load("t2v.train.objectives", config.objective, "Objective", files=True).Objective
        self.objective: BaseObjective = kind(config.settings)
        self.data = read_reward_clips(config.clips, config.rewards, compares=self.objective.compares)
        self._check()
        self.examples = self.objective.examples(self.data.groups)
        if not self.examples:
            raise UsageError(f"{self.objective.name} keeps none of the clips of {config.clips}", code="REWARDS")
        counts = ", ".join(f"{count} {name}" for name, count in self.data.counts.items() if count)
        say(f"{len(self.examples)} examples of {len(self.data.groups)} prompts by {self.objective.name}; {counts}")

    def _check(self) -> None:
        if Path(self.config.model).is_dir() and sha256_of(Path(self.config.model)) != self.data.weights:
            raise UsageError(
                f"the clips of {self.config.clips} were drawn by another generator than {self.config.model}",
                hint="name the model that drew them, or draw new ones",
            )
        drawn_with = () if self.config.adapter is None else (sha256_of(self.config.adapter),)
        if self.data.loras != drawn_with:
            raise UsageError(
                f"the clips of {self.config.clips} were drawn with {len(self.data.loras)} adapters, not with that of "
                f"`adapter` ({self.config.adapter})",
                hint="continue the adapter that drew them",
            )
        if self.objective.unguided and self.data.guidance != 1:
            raise UsageError(
                f"{self.objective.name} learns from clips drawn without guidance, these have {self.data.guidance:g}",
                hint="draw with --guidance 1 --set options.stochastic=0.7",
            )

    def build(self) -> nn.Module:
        """The transformer, in float32 where it learns, with a fresh or continued adapter where there is a rank."""
        config = self.config
        transformer = self.family.load_transformer(getattr(torch, config.dtype) if config.rank else torch.float32)
        if not config.rank:
            transformer.requires_grad_(True)
        elif config.adapter is None:
            add_adapter(transformer, config)
        else:
            from t2v.lora import load_lora

            load_lora(transformer, config.adapter)
            learn_adapter(transformer)
        return RewardTask(transformer, self.family, self.objective, config.flow)

    def parts(self, task: RewardTask) -> dict[str, list[nn.Module]]:
        """`transformer`."""
        return {"transformer": [task.transformer]}

    def source(self) -> RewardedSource:
        """The examples, under prompts that are encoded now, once."""
        encoder = self.family.load_text_encoder(resolve(self.config.runtime)[0], getattr(torch, self.config.dtype))
        wanted = dict.fromkeys(self.data.prompts[example.clips[0]] for example in self.examples)
        texts = {p: {k: v.cpu() for k, v in self.family.embed(encoder, p).items()} for p in wanted}
        segments = self.objective.segments if self.objective.reads_path else None
        seed = self.config.data_seed
        return RewardedSource(self.data, self.examples, texts, self.family.collate, seed, segments)

    def counts(self, batch: dict[str, Any]) -> dict[str, float]:
        """Examples of the batch."""
        return {"reward": float(len(batch["weight"]))}

    def evaluate(self, task: RewardTask, device: torch.device) -> dict[str, float]:
        """What a reward is for, a measure of new clips, is not here: only how far the weights are from where they were
        (relative, `moved`). `score` is the step, so that the last weights count as the best."""
        now, before = dict(task.transformer.named_parameters()), task.before.weights
        change = sum(float((now[name].cpu() - old.cpu()).square().sum()) for name, old in before.items())
        size = sum(float(old.square().sum()) for old in before.values())
        return {"score": float(self.step), "moved": (change / max(size, 1e-12)) ** 0.5}

    def export(self, task: RewardTask, folder: Path) -> None:
        """The adapter in diffusers' layout, or the whole pipeline with the new transformer."""
        if self.config.rank:
            from t2v.lora import save_lora

            save_lora(task.transformer, folder)
            return
        if "sample_steps" in task.transformer.config:  # ours; others' have no place for it
            task.transformer.register_to_config(**self.objective.sampling())
        self.family.save_pipeline(task.transformer, folder)


def plan_pieces(config: Config) -> tuple[list[Any], str]:
    """The parts that `--plan` counts, and what a sample is."""
    objective = plugin.load("t2v.train.objectives", config.objective, "Objective", files=True).Objective
    family = open_family(config.model)
    data = read_reward_clips(config.clips, config.rewards, compares=objective.compares)
    transformer: Any = family.transformer_class().from_config(family.shape)
    if config.rank:
        add_adapter(transformer.requires_grad_(False), config)
    latents = tuple(load(data.latents[0])["latents"].shape)
    piece, words = transformer_piece(family, transformer, latents, config.runtime.checkpointing)
    return [piece], f"clips of {piece.tokens} tokens, prompts of {words}"


def build_stage(config: Config) -> RewardStage:
    """The stage of this file."""
    return RewardStage(config)
