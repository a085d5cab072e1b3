"""Stage `text`: the generator's text encoder learns what prompts ask for, before there is a picture.

In: prompts of the cartoon world with what they ask for. Out: `final/`, text encoder and tokenizer. Minutes of training
on text alone save the transformer from learning words by the price of denoising clips; stage `dit` keeps the loss on.
Letters: n prompts, L tokens, F factors.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from cineloop.training.plan import ModelPart
from cineloop.training.recipe import StageConfig
from cineloop.training.runtime import to_device
from cineloop.world.scenes.solo import sample_solo
from t2v.data.facts import labels
from t2v.data.world import prompt_of
from t2v.model.text import CineloopTextConfig, CineloopTextModel, build_tokenizer, world_words
from t2v.train.heads import FactHead

PROMPT_TOKENS = 24  # of a prompt, as `--plan` counts; an estimate


@dataclass(frozen=True, kw_only=True)
class Config(StageConfig):
    """The text encoder: `text` holds arguments of `CineloopTextConfig`; held out are `eval_prompts` prompts."""

    text: dict[str, Any] = field(default_factory=dict)
    eval_prompts: int = 512
    EVAL_SEED: ClassVar[int] = 7  # of the held-out clips: one value, so that runs compare


@dataclass(frozen=True)
class PromptSource:
    """Batches of prompts; a pure function of the sample numbers."""

    tokenizer: Any
    split: str
    seed: int
    unseen_wording: bool = False

    def __call__(self, start: int, count: int) -> dict[str, torch.Tensor]:
        """input_ids and attention_mask (n, L), facts (n, F)."""
        scenes = [sample_solo(self.split, self.seed, index) for index in range(start, start + count)]
        texts = [
            prompt_of(scene, self.seed, start + number, unseen_wording=self.unseen_wording)
            for number, scene in enumerate(scenes)
        ]
        tokens = self.tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
        facts = [labels(scene.facts(), text) for scene, text in zip(scenes, texts, strict=True)]
        return {
            "input_ids": tokens["input_ids"],
            "attention_mask": tokens["attention_mask"],
            "facts": torch.tensor(facts),
        }


class TextTask(nn.Module):
    """The text encoder with its heads."""

    def __init__(self, text_encoder: Any) -> None:
        super().__init__()
        self.text_encoder, self.heads = text_encoder, FactHead(text_encoder.config.hidden_size)

    def forward(self, batch: dict[str, torch.Tensor]) -> dict[str, Any]:
        """Loss sums over the prompts."""
        text = self.text_encoder(batch["input_ids"], batch["attention_mask"])
        loss = self.heads(text, batch["attention_mask"], batch["facts"])  # (n,)
        return {"terms": {"facts": loss.sum()}, "metrics": {}}


class TextStage:
    """See the module's head."""

    name, unit = "text", "prompts"

    def __init__(self, config: Config) -> None:
        self.config, self.terms = config, {"facts": 1.0}
        self.tokenizer = build_tokenizer(world_words())

    def build(self) -> nn.Module:
        """A fresh text encoder."""
        return TextTask(CineloopTextModel(CineloopTextConfig(vocab_size=len(self.tokenizer), **self.config.text)))

    def parts(self, task: TextTask) -> dict[str, list[nn.Module]]:
        """`text_encoder` and `heads`."""
        return {"text_encoder": [task.text_encoder], "heads": [task.heads]}

    def source(self) -> PromptSource:
        """Training prompts."""
        return PromptSource(self.tokenizer, "train", self.config.data_seed)

    def counts(self, batch: dict[str, torch.Tensor]) -> dict[str, float]:
        """Prompts of the batch."""
        return {"facts": float(len(batch["facts"]))}

    @torch.no_grad()
    def evaluate(self, task: TextTask, device: torch.device) -> dict[str, float]:
        """Shares of asked values named from the pooled vector, on held-out combinations in held-out wordings."""
        source = PromptSource(self.tokenizer, "unseen", self.config.EVAL_SEED, unseen_wording=True)
        batch = to_device(source(0, self.config.eval_prompts), device)
        text = task.text_encoder(batch["input_ids"], batch["attention_mask"])
        figures = task.heads.right(text, batch["attention_mask"], batch["facts"])
        return {"score": figures["joint"], **figures}

    def export(self, task: TextTask, folder: Path) -> None:
        """Text encoder and tokenizer."""
        task.text_encoder.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)


def plan_pieces(config: Config) -> tuple[list[ModelPart], str]:
    """The parts that `--plan` counts, and what a sample is."""
    text: Any = CineloopTextModel(CineloopTextConfig(vocab_size=len(build_tokenizer(world_words())), **config.text))
    ids = torch.zeros(1, PROMPT_TOKENS, dtype=torch.long)
    encode = lambda: text(ids, torch.ones_like(ids)).last_hidden_state  # noqa: E731
    return [
        ModelPart("text_encoder", [text], encode, PROMPT_TOKENS, main=True)
    ], f"prompts of about {PROMPT_TOKENS} tokens"


def build_stage(config: Config) -> TextStage:
    """The stage of this file."""
    return TextStage(config)
