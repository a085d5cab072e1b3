"""Stage `align`: resampler and projector learn to describe to the LLM what the vision tower sees.

In: a vision tower and an LLM (folders or hub ids), or a captioner of an earlier phase; clips of the world with their
words and facts. Out: `final/`, a captioner (`AutoModelForImageTextToText` after `import v2t.model`) with its
processor; the fact heads beside it as `heads.safetensors`, for a further phase only.
Two phases by recipe: `speaks: false` trains resampler and heads alone, without the LLM (cheap); then, from its
`final`, `speaks: true` trains on captions and answers with the heads as a second loss.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from cineloop.errors import UsageError
from cineloop.training.loader import Source
from cineloop.training.recipe import StageConfig
from v2t.data.chat import IGNORE
from v2t.data.collate import Batch, num_targets
from v2t.data.patch_tokens import check_rounds, precompute
from v2t.data.world import ClipsConfig, ClipSource
from v2t.train import held_out
from v2t.train.caption_task import CaptionTask, FactHeads
from v2t.train.captioner import check_parts, load_captioner, world_clips
from v2t.train.captioner import plan_pieces as plan_pieces

HEADS_FILE = "heads.safetensors"


@dataclass(frozen=True, kw_only=True)
class Config(StageConfig):
    """What is joined, what is learnt.

    Either `model`, a captioner of an earlier phase (with `llm`, the weights of that in place of its own), or `vision`
    and `llm` with the `resampler`'s shape.
    `heads_weight` scales the fact heads' loss (0: no heads). `eval_captions` clips are captioned at an evaluation.
    `rounds` above 1 (a frozen tower on a CPU) shows each block of `block` clips so often, worded anew each time, the
    tower working once a clip and in the data worker. `cache` is a folder where the tower's tokens of all clips are kept
    (65 KB a clip at the starter's size), computed before the first step, for this run and later ones.
    Parts for `loop.optim.lr`: vision_tower, resampler, projector, language_model, heads.
    """

    model: str | None = None
    vision: str | None = None
    llm: str | None = None
    resampler: dict[str, Any] = field(default_factory=dict)
    video: dict[str, Any] = field(default_factory=dict)
    clips: ClipsConfig = field(default_factory=ClipsConfig)
    speaks: bool = True
    heads_weight: float = 0.5
    rounds: int = 1
    block: int = 2048
    cache: Path | None = None
    eval_clips: int = 256
    eval_captions: int = 64
    EVAL_SEED: ClassVar[int] = 7  # of the held-out clips: one value, so that runs compare

    def __post_init__(self) -> None:
        check_parts(self)
        if self.heads_weight < 0:
            raise ValueError(f"heads_weight must be ≥ 0, got {self.heads_weight}")
        check_rounds(self)
        if not self.speaks and not self.heads_weight:
            raise ValueError("with speaks: false there is nothing to learn but the heads; heads_weight must be > 0")


class AlignStage:
    """See the module's head."""

    name, unit = "align", "clips"

    def __init__(self, config: Config) -> None:
        self.config = config
        self.terms = {"answers": 1.0} if config.speaks else {}
        self.terms |= {"facts": config.heads_weight} if config.heads_weight else {}
        self._processor: Any = None
        self._model: Any = None

    def build(self) -> nn.Module:
        """The captioner, joined or loaded, with heads."""
        self._model, self._processor = load_captioner(self.config, torch.float32)
        heads = None
        if self.config.heads_weight:
            heads = _load_heads(self.config, self._model.config.resampler_config)
        return self.task_of(self._model, heads)

    def task_of(self, model: Any, heads: FactHeads | None) -> CaptionTask:
        """The model with its losses."""
        # The LLM's generation settings are kept; what no gradient reaches in a silent phase is frozen by the recipe.
        return CaptionTask(model, heads, speaks=self.config.speaks)

    def parts(self, task: CaptionTask) -> dict[str, list[nn.Module]]:
        parts = task.parts()
        if not self.config.speaks:
            for name in ("projector", "language_model"):
                for module in parts[name]:
                    module.requires_grad_(False)
        return parts

    def source(self) -> Source:
        clips = self._clips("train", self.config.data_seed, self.config.clips)
        samples = self.config.loop.steps * self.config.loop.batch_size
        return precompute(clips, self._model, self.config.block, self.config.rounds, self.config.cache, samples)

    def counts(self, batch: Batch) -> dict[str, float]:
        """Answer tokens and known facts."""
        facts = sum(int((value != IGNORE).sum()) for name, value in batch.items() if name.startswith("fact_"))
        return {"answers": float(num_targets(batch)), "facts": float(facts)}

    def evaluate(self, task: CaptionTask, device: torch.device) -> dict[str, float]:
        """Heads, answer tokens, and facts in written captions. `score`: caption facts if written, else the heads."""
        figures: dict[str, float] = {}
        if task.heads is not None:
            figures |= held_out.head_figures(task, self._batches, device)
            score = figures["heads"]
        if self.config.speaks:
            figures |= held_out.token_figures(task, self._batches, device)
            score = figures["tokens_right"]
            if self.config.eval_captions:
                figures |= self._captions(task, device)
                # Not a mean over kinds: one that occurs twice would weigh as much as one that occurs a hundred times.
                score = (figures["caption_facts"] + figures["caption_joint"]) / 2
        return {"score": score, **figures}

    def export(self, task: CaptionTask, folder: Path) -> None:
        """Captioner, processor and heads, in the precision they were trained in."""
        from safetensors.torch import save_file

        task.model.save_pretrained(folder)
        self._processor.save_pretrained(folder)
        if task.heads is not None:
            save_file(
                {name: value.contiguous() for name, value in task.heads.state_dict().items()}, folder / HEADS_FILE
            )

    def _clips(self, split: str, seed: int, clips: ClipsConfig) -> ClipSource:
        has_facts = bool(self.config.heads_weight)
        return world_clips(self._processor, clips, split, seed, speaks=self.config.speaks, with_facts=has_facts)

    def _eval_source(self) -> ClipSource:
        plain = ClipsConfig(**{**vars(self.config.clips), "fewer_share": 0.0, "augment": False})
        return self._clips("seen", self.config.EVAL_SEED, plain)

    @cached_property
    def _batches(self) -> list[Batch]:
        """Held-out clips."""
        config, count = self.config, self.config.eval_clips
        source = precompute(self._eval_source(), self._model, count, 1, config.cache, count)
        return held_out.draw(source, count, 32, config.loop.workers)

    def _captions(self, task: CaptionTask, device: torch.device) -> dict[str, float]:
        source = self._eval_source()
        count = min(self.config.eval_captions, self.config.eval_clips)
        batches, texts, facts = [], [], []
        for start in range(0, count, 32):
            batch = self._batches[start // 32]
            if len(batch["times_s"]) != min(32, self.config.eval_clips - start):
                raise UsageError("eval_captions needs clips of one segment", hint="set eval_captions: 0")
            batches.append(batch)
            texts += held_out.texts_of_clips(self._processor, batch["times_s"], batch["mask"])
            facts += [source.scene(start + row).facts() for row in range(len(batch["times_s"]))]
        figures, written = held_out.caption_figures(task, batches, texts, facts, self._processor.tokenizer, device)
        self.config.out.joinpath("captions.txt").write_text("\n".join(written) + "\n", encoding="utf-8")
        return figures


def _load_heads(config: Config, resampler: Any) -> FactHeads:
    """Fresh heads, or those of the earlier phase."""
    from cineloop.world.scenes.targets import TARGETS

    highest = max(query for query, _ in TARGETS.values())
    if resampler.tokens_per_segment <= highest:
        raise UsageError(
            f"fact heads read query tokens up to {highest}; the resampler gives {resampler.tokens_per_segment}",
            hint="more query tokens, or heads_weight: 0",
        )
    heads = FactHeads(TARGETS, resampler.hidden_size)
    if config.model is not None and (saved := Path(config.model) / HEADS_FILE).exists():
        from safetensors.torch import load_file

        heads.load_state_dict(load_file(saved))
    return heads


build_stage = AlignStage
