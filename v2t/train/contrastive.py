"""Stage `contrastive`: a dual encoder that says how well a caption fits a clip.

In: clips of the world, each with a true caption and one that is wrong in a single fact. Out: `final/`, an open_clip
model with its tokenizer (`open_clip.create_model_and_transforms("local-dir:<folder>")`), which the scores use for text
against frames. A clip's embedding is the mean of its frames' normalised embeddings, as CLIPSIM averages frames; so it
knows what is there and where, and nothing of motion.
Loss: the sigmoid loss of SigLIP (arXiv:2303.15343) over all pairs of a micro-batch, those of other processes and wrong
captions among the texts.
Letters: n clips, T frames, C context length, E embedding width.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.distributed.nn.functional import all_gather

from cineloop.errors import MissingDependencyError, UsageError
from cineloop.training.loader import Source
from cineloop.training.recipe import StageConfig
from cineloop.training.runtime import to_device
from cineloop.world.scenes.augment import augmented_frames
from cineloop.world.scenes.sampler import sample_scene
from cineloop.world.scenes.scene import Scene
from cineloop.world.scenes.solo import sample_solo
from v2t.data.collate import normalise
from v2t.data.near_miss import KINDS, pair
from v2t.train import held_out

Batch = dict[str, torch.Tensor]


@dataclass(frozen=True, kw_only=True)
class LessonConfig(StageConfig):
    """The lessons of a dual encoder.

    `negatives` names the facts that wrong captions change; one that is named twice changes twice as often. `solo_share`
    of the clips show one figure that does one thing, under a prompt, as the bundled generator is asked.
    """

    num_frames: int = 4
    style: str = "short"
    solo_share: float = 0.0
    negatives: tuple[str, ...] = ("color", "kind", "count", "place")
    eval_clips: int = 256
    EVAL_SEED: ClassVar[int] = 9  # of the held-out clips: one value, so that runs compare

    def __post_init__(self) -> None:
        unknown = set(self.negatives) - set(KINDS)
        if unknown or not self.negatives:
            raise ValueError(f"negatives must be some of {', '.join(KINDS)}; got {list(self.negatives)}")
        if self.num_frames < 1:
            raise ValueError("num_frames must be at least 1")
        if not 0 <= self.solo_share <= 1:
            raise ValueError(f"solo_share must be within 0 and 1, not {self.solo_share}")


@dataclass(frozen=True, kw_only=True)
class Config(LessonConfig):
    """The dual encoder and its lessons.

    `embed_dim`, `vision_cfg` and `text_cfg` are those of open_clip's JSON. `tokenizer` is a folder of a tokenizer with
    a padding token, `tower` a `SiglipVisionModel` of the same shape to start from.
    """

    tokenizer: str
    vision_cfg: dict[str, Any]
    text_cfg: dict[str, Any]
    embed_dim: int = 256
    tower: str | None = None


@dataclass(frozen=True)
class PairSource:
    """Clips with a true and a nearly true caption; a pure function of the sample numbers."""

    split: str
    seed: int
    num_frames: int
    size: int
    style: str
    solo_share: float
    negatives: tuple[str, ...]
    tokenizer: Any
    length: int

    def __call__(self, start: int, count: int) -> Batch:
        """`pixels` uint8 (n, T, H, W, 3), `texts` and `wrong` (n, C), `changed` (n,): index in `negatives`, or -1."""
        frames, texts = [], []
        for index in range(start, start + count):
            scene, style, rng = self.scene(index)
            times = np.sort(rng.random(self.num_frames)) * scene.duration_s
            frames.append(augmented_frames(scene, (self.size, self.size), times, rng))
            texts.append(self.pair(scene, style, index))
        return {"pixels": torch.from_numpy(np.stack(frames)), **self.words(texts)}

    def scene(self, index: int) -> tuple[Scene, str, np.random.Generator]:
        """The scene of a clip, the style of its captions, and the random numbers of its frames."""
        rng = np.random.default_rng([self.seed, index, 3])
        solo = self.solo_share > rng.random()
        scene = (sample_solo if solo else sample_scene)(self.split, self.seed, index)
        return scene, "prompt" if solo else self.style, rng

    def pair(self, scene: Scene, style: str, index: int, wording: int = 0) -> tuple[str, str, int]:
        """See `near_miss.pair`; other words and another wrong fact for each `wording`."""
        stream = f"{self.split}|{self.seed}|{index}" + (f"|{wording}" if wording else "")
        return pair(scene.facts(), style, stream, self.negatives)

    def words(self, texts: Sequence[tuple[str, str, int]]) -> Batch:
        """`texts`, `wrong` and `changed` of a batch."""
        return {
            "texts": self._ids([true for true, _, _ in texts]),
            "wrong": self._ids([wrong for _, wrong, _ in texts]),
            "changed": torch.tensor([changed for _, _, changed in texts]),
        }

    def _ids(self, texts: list[str]) -> torch.Tensor:
        return self.tokenizer(
            texts, return_tensors="pt", max_length=self.length, padding="max_length", truncation=True
        ).input_ids  # (n, C), as open_clip's HFTokenizer makes them


class DualTask(nn.Module):
    """An open_clip model with the loss on it."""

    def __init__(self, clip: Any) -> None:
        super().__init__()
        self.clip: Any = clip

    @property
    def scale(self) -> Any:
        """What holds `logit_scale` and `logit_bias`."""
        return self.clip

    def embed_clips(self, batch: Batch) -> torch.Tensor:
        """(n, E) mean of the frames' normalised embeddings, normalised."""
        pixels = batch["pixels"]
        pooled = self.clip.visual(normalise(pixels.flatten(0, 1)))  # (n*T, E)
        each = F.normalize(pooled.float(), dim=-1).unflatten(0, pixels.shape[:2])  # (n, T, E)
        return F.normalize(each.mean(1), dim=-1)

    def embed_texts(self, ids: torch.Tensor) -> torch.Tensor:
        return F.normalize(self.clip.encode_text(ids).float(), dim=-1)

    def forward(self, batch: Batch) -> dict[str, Any]:
        """Loss sums, and how often the true caption beats the nearly true one."""
        texts = torch.cat([batch["texts"], batch["wrong"]])  # (2n, C)
        return self.contrast(batch, texts, self.embed_clips(batch), self.embed_texts(texts))

    def contrast(
        self, batch: Batch, texts: torch.Tensor, clips: torch.Tensor, embedded: torch.Tensor
    ) -> dict[str, Any]:
        """As `forward`, of clips (n, E) and texts (2n, C) that are embedded (2n, E)."""
        first = 0
        if torch.distributed.is_initialized() and self.training:  # P processes see n clips each
            embedded = torch.cat(all_gather(embedded))  # (P*2n, E), gradients go back to where they belong
            first, texts = torch.distributed.get_rank() * len(texts), torch.cat(all_gather(texts))  # (P*2n, C)
        logits = self.scale.logit_scale.exp() * clips @ embedded.T + self.scale.logit_bias  # (n, P*2n)
        # Two clips may have the same caption: what says the same is never a negative.
        same = (batch["texts"][:, None] == texts[None]).all(-1)  # (n, P*2n)
        signs = torch.where(same, 1.0, -1.0)
        known = batch["changed"] >= 0
        count = len(clips)
        own = logits[:, first : first + 2 * count]  # (n, 2n)
        beats = own[:, :count].diagonal() > own[:, count:].diagonal()
        loss = -F.logsigmoid(signs * logits).sum()
        return {"terms": {"contrast": loss}, "metrics": {"near_right": ((beats & known).sum(), known.sum())}}


class ContrastiveStage:
    """See the module's head."""

    name, unit = "contrastive", "clips"

    def __init__(self, config: Any) -> None:
        self.config = config
        self.terms = {"contrast": 1.0}

    @cached_property
    def tokenizer(self) -> Any:
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(self.config.tokenizer)

    def build(self) -> nn.Module:
        """The open_clip model, its image half from `tower` where one is named."""
        library, model = open_clip().model, self.model_config()
        clip = library.CLIP(
            model["embed_dim"],
            library.CLIPVisionCfg(**model["vision_cfg"]),
            library.CLIPTextCfg(**{k: v for k, v in model["text_cfg"].items() if k != "hf_tokenizer_name"}),
            init_logit_scale=model["init_logit_scale"],
            init_logit_bias=model["init_logit_bias"],
        )
        if self.config.tower is not None:
            copy_siglip(self.config.tower, clip.visual)
        return DualTask(clip)

    def model_config(self) -> dict[str, Any]:
        """`model_cfg` of open_clip's JSON, complete. A text is pooled at its last position, as SigLIP does."""
        config = self.config
        text = {"no_causal_mask": True, "pool_type": "last", "proj_bias": True, **config.text_cfg}
        text |= {"vocab_size": len(self.tokenizer), "hf_tokenizer_name": "./"}
        vision = {"no_ln_pre": True, "pool_type": "avg", "act_kwargs": {"approximate": "tanh"},
                  "norm_kwargs": {"eps": 1e-6}, **config.vision_cfg}  # fmt: skip
        return {
            "embed_dim": config.embed_dim,
            "init_logit_scale": float(np.log(10)),
            "init_logit_bias": -10.0,
            "vision_cfg": vision,
            "text_cfg": text,
        }

    def parts(self, task: DualTask) -> dict[str, list[nn.Module]]:
        """`visual`, and `text` with the logit's scale and bias."""
        clip = task.clip
        scale = nn.ParameterDict({"scale": clip.logit_scale, "bias": clip.logit_bias})
        text = nn.ParameterDict({"positions": clip.positional_embedding})
        modules = [clip.transformer, clip.token_embedding, clip.ln_final, scale, text]
        if isinstance(clip.text_projection, nn.Module):
            modules.append(clip.text_projection)
        elif clip.text_projection is not None:
            modules.append(nn.ParameterDict({"projection": clip.text_projection}))
        return {"visual": [clip.visual], "text": modules}

    def source(self) -> Source:
        return self._pairs("train", self.config.data_seed)

    def counts(self, batch: Batch) -> dict[str, float]:
        return {"contrast": float(len(batch["texts"]))}

    def evaluate(self, task: DualTask, device: torch.device) -> dict[str, float]:
        """How often the true caption beats the one wrong in a fact, by fact; recall at 1 of the caption among all held
        out. `score`: the mean over facts."""
        clips, texts, right = [], [], {name: [0.0, 0.0] for name in self.config.negatives}
        for batch in self._batches:
            batch = to_device(batch, device)
            seen = task.embed_clips(batch)
            true, wrong = task.embed_texts(batch["texts"]), task.embed_texts(batch["wrong"])
            better = (seen * true).sum(-1) > (seen * wrong).sum(-1)
            for number, name in enumerate(self.config.negatives):
                asked = batch["changed"] == number
                right[name][0] += float((better & asked).sum())
                right[name][1] += float(asked.sum())
            clips.append(seen)
            texts.append(true)
        nearest = (torch.cat(clips) @ torch.cat(texts).T).argmax(-1)
        recall = float((nearest == torch.arange(len(nearest), device=device)).float().mean())
        figures = {f"near_{name}": good / max(1.0, count) for name, (good, count) in right.items()}
        return {"score": sum(figures.values()) / len(figures), **figures, "recall_at_1": recall}

    def export(self, task: DualTask, folder: Path) -> None:
        """What open_clip loads by `local-dir:`."""
        from safetensors.torch import save_file

        folder.mkdir(parents=True, exist_ok=True)
        weights = {name: value.contiguous().clone() for name, value in task.clip.state_dict().items()}
        save_file(weights, folder / "open_clip_model.safetensors")
        side = task.clip.visual.image_size
        preprocess = {"size": list(side), "mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic",
                      "resize_mode": "squash"}  # fmt: skip
        config = {"model_cfg": self.model_config(), "preprocess_cfg": preprocess}
        (folder / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        self.tokenizer.save_pretrained(folder)

    def _pairs(self, split: str, seed: int) -> PairSource:
        config = self.config
        size, length = config.vision_cfg["image_size"], int(config.text_cfg["context_length"])
        return PairSource(
            split, seed, config.num_frames, size, config.style, config.solo_share, config.negatives, self.tokenizer,
            length,
        )  # fmt: skip

    @cached_property
    def _batches(self) -> list[Batch]:
        config = self.config
        return held_out.draw(self._pairs("seen", config.EVAL_SEED), config.eval_clips, 32, config.loop.workers)


def open_clip() -> Any:
    """The package.

    Raises:
        MissingDependencyError: it is not installed.
    """
    try:
        import open_clip
    except ImportError as error:
        raise MissingDependencyError(f"needs open_clip: {error}", hint="pip install 'cineloop[eval]'") from error
    return open_clip


def copy_siglip(folder: str, visual: Any) -> None:
    """Weights of a `SiglipVisionModel` into open_clip's vision transformer of the same shape.

    The one thing SigLIP has not is a class token; it starts as zeros and the training makes of it what it likes.

    Raises:
        UsageError: the shapes differ.
    """
    from transformers import SiglipVisionModel

    tower: Any = SiglipVisionModel.from_pretrained(folder)
    inner = getattr(tower, "vision_model", tower)
    blocks = visual.transformer.resblocks
    shape = (tower.config.hidden_size, tower.config.num_hidden_layers, tower.config.patch_size)
    ours = (visual.class_embedding.shape[0], len(blocks), visual.patch_size[0])
    if shape != ours:
        raise UsageError(f"the tower's (width, layers, patch) are {shape}, vision_cfg says {ours}")
    patches = inner.embeddings.patch_embedding
    with torch.no_grad():
        visual.conv1.weight.copy_(patches.weight)
        visual.class_embedding.zero_()
        visual.positional_embedding[0].zero_()
        # open_clip's patches have no bias: the position carries it.
        visual.positional_embedding[1:] = inner.embeddings.position_embedding.weight + patches.bias
        for block, layer in zip(blocks, inner.encoder.layers, strict=True):
            attention = layer.self_attn
            qkv = [attention.q_proj, attention.k_proj, attention.v_proj]
            block.attn.in_proj_weight.copy_(torch.cat([one.weight for one in qkv]))
            block.attn.in_proj_bias.copy_(torch.cat([one.bias for one in qkv]))
            block.attn.out_proj.load_state_dict(attention.out_proj.state_dict())
            block.ln_1.load_state_dict(layer.layer_norm1.state_dict())
            block.ln_2.load_state_dict(layer.layer_norm2.state_dict())
            block.mlp.c_fc.load_state_dict(layer.mlp.fc1.state_dict())
            block.mlp.c_proj.load_state_dict(layer.mlp.fc2.state_dict())
        visual.ln_post.load_state_dict(inner.post_layernorm.state_dict())


build_stage = ContrastiveStage
