"""Stage `dit`: the transformer and its text encoder learn to make latents of the cartoon world from prompts.

In: latents of a trained autoencoder (`t2v.data.latents`), of single frames or of whole clips. Out: `final/`, a whole
`CineloopPipeline`. The loss is rectified flow's; beside it a linear head on a middle block says what is where in every
frame: the figure's silhouette, kind, colour and facing. That is known exactly, and it teaches the lower half of the
network to see through noise (the place REPA, arXiv:2410.06940, gives to a pretrained encoder); another head keeps the
text encoder naming what the prompt asks for. Both (`t2v.train.heads`) are dropped when training ends.
Letters: n clips, c latent channels, t h w latent size, N tokens, D width, L text.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from cineloop.errors import UsageError
from cineloop.training.plan import ModelPart, read_part
from cineloop.training.recipe import StageConfig
from cineloop.training.runtime import to_device
from cineloop.world.vocabulary import KINDS
from t2v import flow
from t2v.data import latents as data
from t2v.model.dit import CineloopTransformer3DModel
from t2v.model.text import CineloopTextConfig, CineloopTextModel, build_tokenizer, world_words
from t2v.model.vae import AutoencoderKLCineloop
from t2v.train.heads import FactHead, StateHead
from t2v.train.held_out import flow_loss_grid
from t2v.train.watch import obedience

# Below this noise level the noisy latents themselves show where the figure is, so a weight by place is known to the
# network and does not move what it should predict; above it, it would call for figures in every likely place.
SEEN_SIGMA = 0.85
LEAST_SIDE = 48  # pixels, of what the referee reads
PROMPT_TOKENS = 24  # of a prompt, as `--plan` counts; an estimate


@dataclass(frozen=True, kw_only=True)
class Config(StageConfig):
    """The transformer, its text encoder, and what they learn.

    `vae` is a trained autoencoder. `transformer` and `text` hold constructor arguments; widths of the interfaces follow
    from each other. `init` continues from a pipeline folder. `num_frames` 1 trains on first frames. `num_clips` is the
    size of an epoch (0: clips never come twice), `cache` the folder its latents are kept in. `kind_weights` draws clips
    of some kinds of figure more or less often than the others, whose weight is 1. `figure_weight` is what
    the error counts where the figure is, once the noise lets one see where (σ below `SEEN_SIGMA`). `state_weight`
    scales the auxiliary head on block `state_block`, `facts_weight` that on the text encoder, which `text_encoder`, a
    folder of stage `text`, may provide. Every evaluation takes the loss on a frozen grid over
    `eval_clips`, and lets `eval_prompts` prompts be drawn and read back (`score` is then the mean over what they ask
    for; of single frames, what a frame can show).
    """

    vae: Path
    transformer: dict[str, Any] = field(default_factory=dict)
    text: dict[str, Any] = field(default_factory=dict)
    text_encoder: Path | None = None
    init: Path | None = None
    size: tuple[int, int] = (64, 64)
    num_frames: int = 17
    num_clips: int = 0
    cache: Path | None = None
    kind_weights: dict[str, float] = field(default_factory=dict)
    flow: flow.FlowConfig = field(default_factory=flow.FlowConfig)
    text_dropout: float = 0.1
    figure_weight: float = 1.0
    state_weight: float = 0.0
    state_block: int = 2
    facts_weight: float = 0.0
    eval_clips: int = 128
    eval_prompts: int = 48
    EVAL_SEED: ClassVar[int] = 7  # of the held-out clips: one value, so that runs compare

    def __post_init__(self) -> None:
        if self.num_frames % 4 != 1:
            raise ValueError(f"num_frames must be 4k + 1, got {self.num_frames}")
        if self.cache is not None and not self.num_clips:
            raise ValueError("a cache needs num_clips, the size of an epoch")
        if unknown := sorted(self.kind_weights.keys() - KINDS.keys()):
            raise ValueError(f"kind_weights: no kind of figure is called {unknown[0]}; there are {', '.join(KINDS)}")
        if not all(0 < weight < math.inf for weight in self.kind_weights.values()):
            raise ValueError(f"kind_weights must be above 0, got {self.kind_weights}")
        if not 0 <= self.text_dropout < 1:
            raise ValueError(f"text_dropout must be in [0, 1), got {self.text_dropout}")
        if self.eval_prompts and min(self.size) < LEAST_SIDE:
            raise ValueError(f"the referee reads no picture below {LEAST_SIDE} pixels a side: set eval_prompts to 0")


class DitTask(nn.Module):
    """Transformer, text encoder, auxiliary head, and the losses."""

    def __init__(self, transformer: Any, text_encoder: Any, config: Config) -> None:
        super().__init__()
        self.transformer, self.text_encoder, self.config = transformer, text_encoder, config
        self.state: StateHead | None = None
        self.facts = FactHead(text_encoder.config.hidden_size) if config.facts_weight else None
        self._middle: torch.Tensor | None = None
        self._text: Any = None
        if config.state_weight:
            shape = transformer.config
            time, *sides = shape.patch_size
            cells = (time, *(side * 8 // data.CELL for side in sides))
            self.state = StateHead(shape.num_attention_heads * shape.attention_head_dim, cells)
            transformer.blocks[config.state_block].register_forward_hook(self._keep)

    def _keep(self, _module: nn.Module, _inputs: Any, output: torch.Tensor) -> None:
        self._middle = output

    def predict(self, noisy: torch.Tensor, sigma: torch.Tensor, tokens: dict[str, torch.Tensor]) -> torch.Tensor:
        """The prediction (n, c, t, h, w) for noisy latents at levels `sigma` (n,), under prompts as token ids."""
        self._text = text = self.text_encoder(tokens["input_ids"], tokens["attention_mask"])
        return self.transformer(
            noisy,
            1000 * sigma,
            text.last_hidden_state,
            encoder_attention_mask=tokens["attention_mask"].bool(),
            pooled_projections=text.pooler_output if self.transformer.config.pooled_dim else None,
        ).sample

    def forward(self, batch: dict[str, torch.Tensor]) -> dict[str, Any]:
        """Loss sums over the clips; noise levels and noise come from the global random state."""
        clean = batch["latents"]
        sigma = flow.sample_sigmas(len(clean), self.config.flow).to(clean.device)  # (n,)
        noise = torch.randn_like(clean)
        guess = self.predict(flow.add_noise(clean, noise, sigma), sigma, batch)
        squared = (guess.float() - flow.velocity(clean, noise)).square()  # (n, c, t, h, w)
        error = (squared * self._places(batch["occupancy"], sigma)).flatten(1).mean(1)  # (n,)
        terms = {"flow": error.sum()}
        if self.state is not None:
            terms["state"] = self.state(self._middle, batch).sum()
        if self.facts is not None:
            terms["facts"] = self.facts(self._text, batch["attention_mask"], batch["facts"]).sum()
        return {"terms": terms, "metrics": {"mse": (squared.detach().flatten(1).mean(1).sum(), len(error))}}

    def _places(self, occupancy: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        """What each latent place counts, (n, 1, t, h, w), from occupancy (n, t, 4, H / CELL, W / CELL)."""
        covered = F.max_pool2d(occupancy.amax(2), 8 // data.CELL)  # (n, t, h, w)
        here = (covered > 0) & (sigma < SEEN_SIGMA)[:, None, None, None]
        return 1 + (self.config.figure_weight - 1) * here.unsqueeze(1).float()


class DitStage:
    """See the module's head."""

    name, unit = "dit", "clips"

    def __init__(self, config: Config) -> None:
        self.config = config
        weights = {"flow": 1.0, "state": config.state_weight, "facts": config.facts_weight}
        self.terms = {name: weight for name, weight in weights.items() if weight}
        for name, file in (("vae", "config.json"), ("init", "model_index.json"), ("text_encoder", "config.json")):
            folder = getattr(config, name)
            if folder is not None and not (folder / file).is_file():
                raise UsageError(
                    f"{name}: {folder} has no {file}",
                    hint="train it first (t2v recipes), or begin from the starter: "
                    "--set vae=t2v/starter/vae --set init=t2v/starter",
                )
        self.vae = AutoencoderKLCineloop.from_pretrained(config.vae).eval()
        self.tokenizer = self._tokenizer()

    def _tokenizer(self) -> Any:
        folder = self.config.init / "tokenizer" if self.config.init else self.config.text_encoder
        if folder is None:
            return build_tokenizer(world_words())
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(folder)

    def build(self) -> nn.Module:
        """Transformer and text encoder, fresh or from `init`."""
        config = self.config
        if config.init is not None:
            transformer = CineloopTransformer3DModel.from_pretrained(config.init / "transformer")
            text_encoder = CineloopTextModel.from_pretrained(config.init / "text_encoder")
            return DitTask(transformer.float(), text_encoder.float(), config)
        if config.text_encoder is not None:
            text_encoder = CineloopTextModel.from_pretrained(config.text_encoder).float()
        else:
            text_encoder = CineloopTextModel(CineloopTextConfig(vocab_size=len(self.tokenizer), **config.text))
        channels, width = self.vae.config.latent_channels, text_encoder.config.hidden_size
        transformer = CineloopTransformer3DModel(
            **{"in_channels": channels, "out_channels": channels, "text_dim": width, "pooled_dim": width}
            | config.transformer
        )
        return DitTask(transformer, text_encoder, config)

    def parts(self, task: DitTask) -> dict[str, list[nn.Module]]:
        """`transformer`, `text_encoder`, and `state` and `facts` where there are such heads."""
        parts = {name: getattr(task, name) for name in ("transformer", "text_encoder", "state", "facts")}
        return {name: [part] for name, part in parts.items() if part is not None}

    def source(self) -> data.LatentSource:
        """Training latents; what the cache lacks is made first."""
        config = self.config
        source = self._source("train", config.data_seed, config.num_clips, config.text_dropout)
        return source if config.cache is None else data.with_cache(source, config.cache)

    def _source(self, split: str, seed: int, num_clips: int, dropout: float) -> data.LatentSource:
        return data.LatentSource(
            vae=self.vae,
            tokenizer=self.tokenizer,
            split=split,
            seed=seed,
            size=self.config.size,
            num_frames=self.config.num_frames,
            num_clips=num_clips,
            text_dropout=dropout,
            kind_weights=self.config.kind_weights if split == "train" else {},
        )

    def counts(self, batch: dict[str, torch.Tensor]) -> dict[str, float]:
        """Clips of the batch, for every term."""
        return dict.fromkeys(self.terms, float(len(batch["latents"])))

    def evaluate(self, task: DitTask, device: torch.device) -> dict[str, float]:
        """Loss on the frozen grid over held-out clips, per bin; obedience of clips drawn for held-out prompts."""
        figures = flow_loss_grid(task.predict, self._held_out_batches(device), sigmas_per_clip=2)
        if not self.config.eval_prompts:
            return {"score": -figures["loss"], **figures}
        obeyed = obedience(self.pipeline(task), self.config, device)
        return {"score": obeyed.pop("mean"), **obeyed, **figures}

    def _held_out_batches(self, device: torch.device) -> Iterator[tuple[torch.Tensor, dict[str, torch.Tensor]]]:
        source = self._source("seen", self.config.EVAL_SEED, 0, 0.0)
        for start in range(0, self.config.eval_clips, 32):
            batch = to_device(source(start, 32), device)
            yield batch["latents"], batch

    def pipeline(self, task: DitTask) -> Any:
        """The pipeline around the task's modules."""
        from diffusers import FlowMatchEulerDiscreteScheduler

        from t2v.pipeline import CineloopPipeline

        scheduler = FlowMatchEulerDiscreteScheduler(shift=self.config.flow.shift)  # as in training
        return CineloopPipeline(
            vae=self.vae,
            transformer=task.transformer,
            text_encoder=task.text_encoder,
            tokenizer=self.tokenizer,
            scheduler=scheduler,
        )

    def export(self, task: DitTask, folder: Path) -> None:
        """The whole pipeline."""
        self.pipeline(task).save_pretrained(folder)


def plan_pieces(config: Config) -> tuple[list[ModelPart], str]:
    """The parts that `--plan` counts, and what a sample is."""
    if config.init is not None:
        shape = CineloopTextConfig(**read_part(config.init / "text_encoder"))
        transformer = CineloopTransformer3DModel.from_config(read_part(config.init / "transformer"))
    else:
        shape = CineloopTextConfig(vocab_size=len(build_tokenizer(world_words())), **config.text)
        channels = read_part(config.vae)["latent_channels"]
        given = {"in_channels": channels, "out_channels": channels, "text_dim": shape.hidden_size}
        transformer = CineloopTransformer3DModel(**given | {"pooled_dim": shape.hidden_size} | config.transformer)
    text: Any = CineloopTextModel(shape)
    ids = torch.zeros(1, PROMPT_TOKENS, dtype=torch.long)
    latents = torch.empty(
        1, transformer.config.in_channels, 1 + (config.num_frames - 1) // 4, *(side // 8 for side in config.size)
    )
    tokens = latents[0, 0].numel() // math.prod(transformer.config.patch_size)
    embeds, pooled = torch.empty(1, PROMPT_TOKENS, transformer.config.text_dim), transformer.config.pooled_dim
    side = torch.empty(1, pooled) if pooled else None
    time = torch.empty(1)
    encode = lambda: text(ids, torch.ones_like(ids)).last_hidden_state  # noqa: E731
    denoise = lambda: transformer(latents, time, embeds, None, side).sample  # noqa: E731
    pieces = [
        ModelPart("text_encoder", [text], encode, PROMPT_TOKENS),
        ModelPart("transformer", [transformer], denoise, tokens, main=True),
    ]
    size = f"{config.num_frames}×{config.size[0]}×{config.size[1]}"
    return pieces, f"clips of {size}, {tokens} tokens, prompts of about {PROMPT_TOKENS}; evaluations not counted"


def build_stage(config: Config) -> DitStage:
    """The stage of this file."""
    return DitStage(config)
