"""Stage `contrastive_video`: a dual encoder of single frames learns order and motion.

In: an open_clip model that stage `contrastive` made, which stays as it is; clips of the world, each with a true caption
and one that is wrong in a single fact: direction, action, order of events and others. Out: `final/`, that model with
two small transformers beside it (`v2t.model.video_text`), over the patches of a clip's frames and over the tokens of a
text. The scores take it as `open_clip_video:FOLDER`; `open_clip:local-dir:FOLDER` is the model without them.
Loss: that of stage `contrastive`, and cross-entropy of the facts of a clip, which linear heads read from what each
transformer reads, from a text those that texts state. Without it the contrast alone learns motion very slowly.
Letters: n clips, T frames, C context length, Q learned tokens, D width, E embedding width.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from cineloop.errors import MissingDependencyError
from cineloop.world.scenes.targets import IGNORE, TARGETS
from v2t.model.video_text import VideoTextConfig, VideoTextModel
from v2t.train.caption_task import FactHeads
from v2t.train.contrastive import Batch, ContrastiveStage, DualTask, LessonConfig, PairSource

# What short captions and prompts say; size, speed, camera, style and times they leave out.
STATED = tuple(name for name in TARGETS if name.endswith(("place", "cut", "kind", "color", "count", "action",
                                                          "direction", "_actor")))  # fmt: skip
_KEPT = ("*.json", "open_clip_model.safetensors")


@dataclass(frozen=True, kw_only=True)
class Config(LessonConfig):
    """The model and its lessons: `base` is a folder of stage `contrastive`; the shapes are `VideoTextConfig`'s.
    `facts_weight` scales the loss of the fact heads."""

    base: str
    num_frames: int = 8
    grid: int = 4
    width: int = 128
    heads: int = 4
    layers: int = 3
    text_layers: int = 2
    queries: ClassVar[int] = 1 + max(query for query, _ in TARGETS.values())  # one token for each fact head's place
    facts_weight: float = 1.0
    negatives: tuple[str, ...] = ("direction", "action", "order", "color", "kind", "count")


class VideoTask(DualTask):
    """The two transformers with the loss on them; the open_clip model learns nothing."""

    def __init__(self, clip: Any, model: VideoTextModel) -> None:
        super().__init__(clip.requires_grad_(False))
        self.model = model
        self.video_heads = FactHeads(TARGETS, model.config.width)
        self.text_heads = FactHeads({name: TARGETS[name] for name in STATED}, model.config.width)
        settings = clip.visual.preprocess_cfg
        self.mean: torch.Tensor
        self.std: torch.Tensor
        for name in ("mean", "std"):
            self.register_buffer(name, torch.tensor(settings[name])[:, None, None], persistent=False)

    @property
    def scale(self) -> Any:
        return self.model

    def embed_clips(self, pixels: torch.Tensor) -> torch.Tensor:
        """(n, E) normalised, of uint8 (n, T, H, W, 3)."""
        return self.model.embed_clips(self.clip, self._input(pixels))[0]

    def embed_texts(self, ids: torch.Tensor) -> torch.Tensor:
        """(n, E) normalised, of (n, C)."""
        return self.model.embed_texts(self.clip, ids)[0]

    def forward(self, batch: Batch) -> dict[str, Any]:
        """Loss sums "contrast" and "facts", and shares right."""
        texts = torch.cat([batch["texts"], batch["wrong"]])  # (2n, C)
        clips, seen = self.model.embed_clips(self.clip, self._input(batch["pixels"]))  # (n, E), (n, Q, D)
        embedded, read = self.model.embed_texts(self.clip, texts)  # (2n, E), (2n, Q, D)
        output = self.contrast(batch, texts, clips, embedded)
        loss, figures = torch.zeros((), device=clips.device), {}
        true = read[: len(clips)]  # what is wrong in the other captions is not known by its class
        for half, heads, tokens in (("video", self.video_heads, seen), ("text", self.text_heads, true)):
            right, count = (torch.zeros((), device=loss.device) for _ in range(2))
            for name, logits in heads(tokens).items():
                truth = batch[f"fact_{name}"]
                loss = loss + F.cross_entropy(logits, truth, ignore_index=IGNORE, reduction="sum")
                right, count = right + (logits.argmax(-1) == truth).sum(), count + (truth != IGNORE).sum()
            figures[f"{half}_facts_right"] = right, count
        output["terms"]["facts"] = loss
        return {"terms": output["terms"], "metrics": output["metrics"] | figures}

    def _input(self, pixels: torch.Tensor) -> torch.Tensor:
        """Floats (n, T, 3, H, W) as the open_clip model takes frames."""
        return (pixels.movedim(-1, -3).float() / 255 - self.mean) / self.std


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
        found: dict[str, Any] = json.loads(path.read_text("utf-8"))["model_cfg"]
        return found

    def build(self) -> nn.Module:
        """The open_clip model as it is, and two new transformers."""
        config, base = self.config, self.base
        try:
            import open_clip
        except ImportError as error:
            raise MissingDependencyError(f"needs open_clip: {error}", hint="pip install 'cineloop[eval]'") from error
        clip = open_clip.create_model(f"local-dir:{config.base}", precision="fp32", require_pretrained=True)
        shapes = {name: getattr(config, name) for name in VideoTextConfig.CHOSEN}
        vision, text = base["vision_cfg"]["width"], base["text_cfg"]["width"]
        shape = VideoTextConfig(
            image_width=vision, text_width=text, embed_dim=base["embed_dim"], pad=self.tokenizer.pad_token_id, **shapes
        )
        model = VideoTextModel(shape)
        if clip.logit_bias is not None:  # trained by the same loss: the scale that its embeddings are used to
            model.logit_scale.data.copy_(clip.logit_scale)
            model.logit_bias.data.copy_(clip.logit_bias)
        return VideoTask(clip, model)

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

    def _pairs(self, split: str, seed: int) -> PairSource:
        config, base = self.config, self.base
        return PairSource(
            split, seed, config.num_frames, base["vision_cfg"]["image_size"], config.style, config.solo_share,
            config.negatives, self.tokenizer, base["text_cfg"]["context_length"], whole=True,
        )  # fmt: skip


build_stage = VideoStage
