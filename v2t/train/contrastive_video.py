"""Stage `contrastive_video`: a dual encoder of single frames learns order and motion.

In: an open_clip model that stage `contrastive` made, which stays as it is; clips of the world, each with a true caption
and one that is wrong in a single fact: direction, action, order of events and others. Out: `final/`, that model with
two small transformers beside it (`v2t.model.video_text`), over the patches of a clip's frames and over the tokens of a
text. The scores take it as `open_clip_video:FOLDER`; `open_clip:local-dir:FOLDER` is the model without them.
Loss: that of stage `contrastive`, and cross-entropy of the facts of a clip, which linear heads read from the tokens
that carry what each transformer adds, from a text those that texts state. The contrast alone learns motion very slowly.
Letters: n clips, T frames, C context length, Q such tokens, D width, E embedding width.
"""

from __future__ import annotations

import copy
import shutil
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import torch
from torch import nn

from cineloop.documents import read_json
from cineloop.errors import MissingDependencyError
from cineloop.world.scenes.augment import augmented_frames
from cineloop.world.scenes.targets import IGNORE, TARGETS, fact_targets
from v2t.data.patch_tokens import keep_blocks, place
from v2t.model.video_text import VideoTextConfig, VideoTextModel, see_frames
from v2t.train import held_out
from v2t.train.caption_task import FactHeads
from v2t.train.contrastive import Batch, ContrastiveStage, DualTask, LessonConfig, PairSource, open_clip

# What short captions and prompts say; size, speed, camera, style and times they leave out.
STATED = tuple(name for name in TARGETS if name.endswith(("place", "cut", "kind", "color", "count", "action",
                                                          "direction", "_actor")))  # fmt: skip
_KEPT = ("*.json", "open_clip_model.safetensors")


@dataclass(frozen=True, kw_only=True)
class Config(LessonConfig):
    """The model and its lessons: `base` is a folder of stage `contrastive`; the shapes are `VideoTextConfig`'s.
    `facts_weight` scales the loss of the fact heads. Each block of `block` clips is shown `rounds` times, worded anew;
    what the frozen image half sees in them is computed once, in the data worker."""

    base: str
    num_frames: int = 16
    grid: int = 4
    width: int = 128
    heads: int = 4
    layers: int = 3
    text_layers: int = 2
    carriers: ClassVar[int] = 1 + max(query for query, _ in TARGETS.values())  # a token for each place of fact heads
    facts_weight: float = 1.0
    rounds: int = 1
    block: int = 1024
    negatives: tuple[str, ...] = ("direction", "action", "order", "color", "kind", "count")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rounds < 1 or self.block < 1 or self.facts_weight < 0:
            raise ValueError("rounds and block must be at least 1, facts_weight at least 0")


@dataclass(frozen=True)
class TokenSource:
    """The same clips and captions, the clips as what the frozen image half sees in them: computed once a clip, for each
    block of clips is shown `rounds` times, worded anew. Frames are one from each of `num_frames` equal parts."""

    pairs: PairSource
    visual: nn.Module
    grid: int
    block: int
    rounds: int
    _kept: dict[int, tuple[torch.Tensor, ...]] = field(default_factory=dict)

    def __call__(self, start: int, count: int) -> Batch:
        """`each` (n, T, E), `patches` (n, T, grid*grid, 2V), `times_s` (n, T), see `v2t.model.video_text`; `texts`,
        `wrong` and `changed` of a `PairSource`; `fact_NAME` (n,), see `cineloop.world.scenes.targets`."""
        wanted = [place(number, self.block, self.rounds) for number in range(start, start + count)]
        keep_blocks(self._kept, [index for index, _ in wanted], self.block, self.see)
        seen = [torch.stack(one) for one in zip(*(self._kept[index] for index, _ in wanted), strict=True)]
        texts, facts = [], []
        for index, shown in wanted:
            scene, style, _ = self.pairs.scene(index)
            texts.append(self.pairs.pair(scene, style, index, shown))
            facts.append(fact_targets(scene))
        return {
            **dict(zip(("each", "patches", "times_s"), seen, strict=True)),
            **self.pairs.words(texts),
            **{f"fact_{name}": torch.tensor([one[name] for one in facts]) for name in TARGETS},
        }

    def see(self, index: int) -> tuple[torch.Tensor, ...]:
        """`each`, `patches` and `times_s` of a clip; one at a time, which on a CPU is faster than many."""
        pairs, settings = self.pairs, cast(Any, self.visual).preprocess_cfg
        scene, _, rng = pairs.scene(index)
        times = (np.arange(pairs.num_frames) + rng.random(pairs.num_frames)) / pairs.num_frames * scene.duration_s
        pixels = (
            torch.from_numpy(augmented_frames(scene, (pairs.size, pairs.size), times, rng)).movedim(-1, -3).float()
            / 255
        )
        mean, std = (torch.tensor(settings[name])[:, None, None] for name in ("mean", "std"))
        each, patches = see_frames(self.visual, (pixels - mean) / std, self.grid)
        return each, patches, torch.from_numpy(times).float()


class VideoTask(DualTask):
    """The two transformers with the loss on them; the open_clip model learns nothing."""

    def __init__(self, clip: Any, model: VideoTextModel) -> None:
        super().__init__(clip)
        self.model = model
        self.video_heads = FactHeads(TARGETS, model.config.width)
        self.text_heads = FactHeads({name: TARGETS[name] for name in STATED}, model.config.width)

    @property
    def scale(self) -> Any:
        return self.model

    def embed_clips(self, batch: Batch) -> torch.Tensor:
        """(n, E) normalised."""
        return self._read_clips(batch)[0]

    def embed_texts(self, ids: torch.Tensor) -> torch.Tensor:
        """(n, E) normalised, of (n, C)."""
        return self.model.embed_texts(self.clip, ids)[0]

    def forward(self, batch: Batch) -> dict[str, Any]:
        """Loss sums "contrast" and "facts", and shares right."""
        texts = torch.cat([batch["texts"], batch["wrong"]])  # (2n, C)
        clips, seen = self._read_clips(batch)  # (n, E), (n, Q, D)
        embedded, read = self.model.embed_texts(self.clip, texts)  # (2n, E), (2n, Q, D)
        output = self.contrast(batch, texts, clips, embedded)
        of_clips, right_of_clips = self.video_heads.loss(seen, batch)
        of_texts, right_of_texts = self.text_heads.loss(read[: len(clips)], batch)  # of the true captions
        figures = {"video_facts_right": right_of_clips, "text_facts_right": right_of_texts}
        return {
            "terms": output["terms"] | {"facts": of_clips + of_texts},
            "metrics": output["metrics"] | figures,
        }

    def _read_clips(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        times = batch["times_s"]
        real = torch.ones_like(times, dtype=torch.bool)
        return self.model.embed_clips(batch["each"], batch["patches"], times, real)


class VideoStage(ContrastiveStage):
    """See the module's head."""

    name = "contrastive_video"

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.terms |= {"facts": config.facts_weight}

    def counts(self, batch: Batch) -> dict[str, float]:
        """Clips, and known facts of clips and of texts."""
        known = {name: float((batch[f"fact_{name}"] != IGNORE).sum()) for name in TARGETS}
        return super().counts(batch) | {"facts": sum(known.values()) + sum(known[name] for name in STATED)}

    @cached_property
    def tokenizer(self) -> Any:
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(self.config.base)

    @cached_property
    def base(self) -> dict[str, Any]:
        """`model_cfg` of the open_clip model.

        Raises:
            MissingDependencyError: the folder holds none.
        """
        path = Path(self.config.base) / "open_clip_config.json"
        if not path.is_file():
            raise MissingDependencyError(
                f"there is no {path}", code="MODEL", hint="base: a folder of v2t train configs/starter/contrastive.yaml"
            )
        config: dict[str, Any] = read_json(path)["model_cfg"]
        return config

    @cached_property
    def clip(self) -> Any:
        """The open_clip model.

        Raises:
            MissingDependencyError: open_clip is not installed.
        """
        name = f"local-dir:{self.config.base}"
        return open_clip().create_model(name, precision="fp32", require_pretrained=True).eval().requires_grad_(False)

    def build(self) -> nn.Module:
        """The open_clip model as it is, and two new transformers."""
        config, base = self.config, self.base
        shapes = {name: getattr(config, name) for name in VideoTextConfig.CHOSEN}
        vision, text = base["vision_cfg"]["width"], base["text_cfg"]["width"]
        shape = VideoTextConfig(
            image_width=vision, text_width=text, embed_dim=base["embed_dim"], pad=self.tokenizer.pad_token_id, **shapes
        )
        model = VideoTextModel(shape)
        if self.clip.logit_bias is not None:  # trained by the same loss: the scale that its embeddings are used to
            model.logit_scale.data.copy_(self.clip.logit_scale)
            model.logit_bias.data.copy_(self.clip.logit_bias)
        return VideoTask(self.clip, model)

    def parts(self, task: Any) -> dict[str, list[nn.Module]]:
        """`model`, and the fact `heads`, which are not kept."""
        return {"model": [task.model], "heads": [task.video_heads, task.text_heads]}

    def export(self, task: Any, folder: Path) -> None:
        """The open_clip model with the two transformers beside it."""
        folder.mkdir(parents=True, exist_ok=True)
        for pattern in _KEPT:
            for path in Path(self.config.base).glob(pattern):
                shutil.copyfile(path, folder / path.name)
        task.model.save(folder)

    def source(self) -> TokenSource:
        return self._tokens("train", self.config.data_seed, self.config.rounds)

    def _tokens(self, split: str, seed: int, rounds: int) -> TokenSource:
        config, base = self.config, self.base
        pairs = PairSource(
            split, seed, config.num_frames, base["vision_cfg"]["image_size"], config.style, config.solo_share,
            config.negatives, self.tokenizer, base["text_cfg"]["context_length"],
        )  # fmt: skip
        return TokenSource(pairs, copy.deepcopy(self.clip.visual).cpu(), config.grid, config.block, rounds)

    @cached_property
    def _batches(self) -> list[Batch]:
        config = self.config
        return held_out.draw(self._tokens("seen", config.EVAL_SEED, 1), config.eval_clips, 32, config.loop.workers)


build_stage = VideoStage
