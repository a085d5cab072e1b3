"""Stage `reinforce`: the captioner learns from what its own captions got right (REINFORCE, leave-one-out baseline).

In: a captioner and clips of the world with their facts. Out: as of stage `align`. Of each clip `samples` captions are
drawn; the reward of one is the share of facts it states rightly less what it states wrongly or makes up, and
`whole_bonus` where everything is right. The advantage of a caption is its reward less the mean reward of the clip's
others (arXiv:2402.14740, arXiv:1612.00563), the loss -advantage * log-probability. Next-token training teaches all
wordings of the truth alike; this teaches what greedy decoding needs: that the likeliest caption is a true one. The
losses of `align`, on conversations of `clips.texts` and by fact heads, stay, so that nothing else is forgotten.
Letters: n clips, k captions of each, S segments, Q query tokens, D width.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from cineloop.errors import UsageError
from cineloop.training.loader import Source
from cineloop.training.runtime import to_device
from cineloop.training.sharding import is_wanted
from cineloop.world.language.comparison import compare
from cineloop.world.language.read_text import parse
from cineloop.world.language.stated import STYLES
from cineloop.world.language.words import PROMPTS
from v2t.data.chat import Turn, encode
from v2t.data.collate import Batch, text_batch
from v2t.data.world import ClipSource
from v2t.train import align
from v2t.train.caption_task import CaptionTask, FactHeads
from v2t.train.captioner import plan_pieces as plan_pieces
from v2t.train.held_out import texts_of_clips, write_captions


@dataclass(frozen=True, kw_only=True)
class Config(align.Config):
    """How captions are drawn, and what they earn.

    `samples` captions of each clip at `temperature`, of at most `max_new_tokens`; all of a batch in one of `styles`
    (their chances). The rest is as in `align`.
    """

    samples: int = 4
    temperature: float = 1.0
    max_new_tokens: int = 110
    styles: dict[str, float] = field(default_factory=lambda: {"short": 1.0})
    whole_bonus: float = 0.5
    heads_weight: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.samples < 2:
            raise ValueError(f"samples must be at least 2, as each is compared with the others; got {self.samples}")
        if not 0 < self.temperature < math.inf:
            raise ValueError(f"temperature must be above 0, got {self.temperature}")
        if not self.styles or not set(self.styles) <= set(STYLES) or min(self.styles.values()) <= 0:
            raise ValueError(f"styles must give chances above 0 to some of {', '.join(STYLES)}, got {self.styles}")
        if not self.speaks:
            raise ValueError("captions are drawn: speaks must be true")
        if self.rounds > 1 or self.cache is not None:
            raise ValueError("rounds and cache do not go with drawn captions: every clip is shown once")


def reward(text: str, facts: Mapping[str, Any], style: str, whole_bonus: float) -> float:
    """What a caption earns: from about -1 to 1 + `whole_bonus`, which a caption right in everything has."""
    comparison = compare(parse(text), facts, style)
    total = comparison.total
    return (total.right - total.wrong - comparison.made_up) / max(1, total.num) + whole_bonus * comparison.joint


def advantages(rewards: torch.Tensor) -> torch.Tensor:
    """Each reward (n, k) less the mean of the other k - 1 of its clip."""
    others = (rewards.sum(1, keepdim=True) - rewards) / (rewards.shape[1] - 1)
    return rewards - others


@dataclass(frozen=True)
class RewardSource:
    """Batches of `clips` with the style to caption in and each clip's facts."""

    clips: ClipSource
    styles: Mapping[str, float]

    def __call__(self, start: int, count: int) -> Batch:
        rng = random.Random(f"style|{self.clips.seed}|{start}")
        style = rng.choices(list(self.styles), list(self.styles.values()))[0]
        batch: dict[str, Any] = self.clips(start, count)
        if len(batch["times_s"]) != count:
            raise UsageError(
                "captions are drawn of clips of one segment",
                hint="clips.num_frames must be at most the segment_frames of the model",
            )
        facts = [self.clips.scene(index).facts() for index in range(start, start + count)]
        return batch | {"style": style, "truth": facts}


class ReinforceTask(CaptionTask):
    """A captioner that draws captions, has them compared with the facts, and learns from both losses."""

    def __init__(self, model: Any, heads: FactHeads | None, processor: Any, config: Config) -> None:
        super().__init__(model, heads)
        self.processor, self.config = processor, config

    def forward(self, batch: Batch) -> dict[str, Any]:
        """Loss sums of stage `align`, and "reward" over captions; mean reward, captions right in everything."""
        query_tokens = self.query_tokens(batch)  # (S, Q, D), S = n
        output = super().forward(batch | {"query_tokens": query_tokens})
        loss, metrics = self.captions(batch, query_tokens)
        return {"terms": output["terms"] | {"reward": loss}, "metrics": output["metrics"] | metrics}

    def captions(self, batch: dict[str, Any], query_tokens: torch.Tensor) -> tuple[torch.Tensor, dict[str, Any]]:
        """Draw captions, and the loss that makes better ones than the clip's others likelier."""
        config, style, tokenizer = self.config, batch["style"], self.processor.tokenizer
        shown = texts_of_clips(self.processor, batch["times_s"], batch["mask"])
        with torch.no_grad():
            visual = self.model.model.projector(query_tokens).repeat_interleave(config.samples, 0)
            drawn = write_captions(
                self.model,
                visual,
                [text for text in shown for _ in range(config.samples)],
                tokenizer,
                style,
                config.max_new_tokens,
                temperature=config.temperature,
            )
        facts = [true for true in batch["truth"] for _ in range(config.samples)]
        earned = [reward(text, true, style, config.whole_bonus) for text, true in zip(drawn, facts, strict=True)]
        rewards = torch.tensor(earned, device=query_tokens.device).view(-1, config.samples)  # (n, k)
        each = advantages(rewards)
        metrics = {
            "reward": (rewards.sum(), rewards.numel()),
            "whole": ((rewards >= 1 + config.whole_bonus).sum(), rewards.numel()),
        }
        # Clips whose captions earn the same teach nothing and are left out.
        chosen = each.abs().amax(1).gt(1e-6).nonzero().squeeze(1).tolist()
        if not chosen:
            return query_tokens.sum() * 0.0, metrics
        rows = [
            encode(
                tokenizer,
                [Turn("user", PROMPTS[style], clips=1), Turn("assistant", drawn[clip * config.samples + number])],
                [shown[clip]],
            )
            for clip in chosen
            for number in range(config.samples)
        ]
        written = text_batch(rows, tokenizer.pad_token_id)
        written["row_segments"] = torch.tensor(chosen).repeat_interleave(config.samples)
        written["row_counts"] = torch.ones(len(rows), dtype=torch.long)
        log_probs = self.log_probs(to_device(written, query_tokens.device), query_tokens)
        return -(each[chosen].flatten() * log_probs).sum(), metrics


class ReinforceStage(align.AlignStage):
    """See the module's head."""

    name = "reinforce"

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.drawing: Config = config
        self.terms |= {"reward": 1.0}

    def build(self) -> nn.Module:
        if is_wanted():
            raise UsageError("stage reinforce draws captions, which needs whole weights", hint="one process, or ddp")
        return super().build()

    def task_of(self, model: Any, heads: FactHeads | None) -> CaptionTask:
        return ReinforceTask(model, heads, self._processor, self.drawing)

    def source(self) -> Source:
        clips = self._clips("train", self.config.data_seed, self.config.clips)
        return RewardSource(clips, self.drawing.styles)

    def counts(self, batch: Batch) -> dict[str, float]:
        """Drawn captions, answer tokens."""
        return {"reward": float(len(batch["times_s"]) * self.drawing.samples), **super().counts(batch)}


build_stage = ReinforceStage
