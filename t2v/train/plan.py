"""What a run of the generator's training would cost: the parts of each stage, for `cineloop.training.plan`.

In: a stage's recipe. Out: the plan, with the true classes on the meta device; of models that are named, only their
configuration is read. A sample is the largest clip the recipe trains on.
Letters: B batch, c t h w latents, T H W video, L text, N tokens.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from cineloop.documents import read_json
from cineloop.errors import MissingDependencyError
from cineloop.training import plan
from cineloop.training.plan import Piece, Pieces, Plan
from t2v.data.buckets import Bucket

WORDS = 24  # tokens of a prompt where nothing says more; an estimate


def make_plan(stage: Any, config: Any) -> Plan:
    """Count; see `cineloop.training.plan.make_plan`."""
    return plan.make_plan(config, PIECES)


def print_plan(stage: Any, config: Any, *, as_json: bool = False) -> None:
    """The plan on stdout."""
    plan.print_plan(make_plan(stage, config), as_json=as_json)


def _vae(config: Any) -> tuple[list[Piece], str]:
    from t2v.model.vae import AutoencoderKLCineloop

    vae: Any = AutoencoderKLCineloop.from_config(_config_of(config.init)) if config.init else None
    vae = vae or AutoencoderKLCineloop(**config.model)
    length, (height, width) = max(config.lengths), config.size
    channels, frames = vae.config.latent_channels, 1 + (length - 1) // 4
    video = torch.empty(1, 3, length, height, width)
    latents = torch.empty(1, channels, frames, height // 8, width // 8)
    cells = latents[0, 0].numel()
    return [
        Piece("encoder", [vae.encoder], lambda: vae.encoder(video), cells),
        Piece("decoder", [vae.decoder], lambda: vae.decoder(latents), cells, main=True),
    ], f"clips of {length}×{height}×{width}, {cells} latent places; shorter clips cost less"


def _dit(config: Any) -> tuple[list[Piece], str]:
    from t2v.model.dit import CineloopTransformer3DModel
    from t2v.model.text import CineloopTextConfig, CineloopTextModel, build_tokenizer, world_words

    if config.init is not None:
        shape = CineloopTextConfig.from_pretrained(_folder(config.init / "text_encoder"))
        transformer = CineloopTransformer3DModel.from_config(_config_of(config.init / "transformer"))
    else:
        shape = CineloopTextConfig(vocab_size=len(build_tokenizer(world_words())), **config.text)
        channels = _config_of(config.vae)["latent_channels"]
        given = {"in_channels": channels, "out_channels": channels, "text_dim": shape.hidden_size}
        transformer = CineloopTransformer3DModel(**given | {"pooled_dim": shape.hidden_size} | config.transformer)
    text: Any = CineloopTextModel(shape)
    ids = torch.zeros(1, WORDS, dtype=torch.long)
    bucket = Bucket(config.num_frames, *config.size)
    latents = torch.empty(1, transformer.config.in_channels, *_grid(bucket))
    tokens = _tokens(latents, transformer)
    embeds, pooled = torch.empty(1, WORDS, transformer.config.text_dim), transformer.config.pooled_dim
    side = torch.empty(1, pooled) if pooled else None
    time = torch.empty(1)
    return [
        Piece("text_encoder", [text], lambda: text(ids, torch.ones_like(ids)).last_hidden_state, WORDS),
        Piece("transformer", [transformer], lambda: transformer(latents, time, embeds, None, side).sample, tokens,
              main=True),
    ], f"clips of {bucket}, {tokens} tokens, prompts of about {WORDS}; evaluations beside"  # fmt: skip


def _lora(config: Any) -> tuple[list[Piece], str]:
    from t2v.train.families import open_family
    from t2v.train.lora import add_adapter

    family = open_family(config.model)
    transformer: Any = family.transformer_class().from_config(family.shape).requires_grad_(False)
    add_adapter(transformer, config)
    bucket = max(config.buckets.buckets(), key=lambda each: each.num_frames * each.height * each.width)
    latents = torch.empty(1, *family.latent_shape(bucket))
    tokens, shape = _tokens(latents, transformer), transformer.config
    words = family.pad_to or WORDS
    text = {"embeds": torch.empty(1, words, shape.text_dim)}
    if shape.get("pooled_dim"):
        text["pooled"] = torch.empty(1, shape.pooled_dim)
    inputs = 0
    if config.gradient_checkpointing:
        transformer.enable_gradient_checkpointing()
        inputs = 4 * tokens * shape.num_layers * shape.num_attention_heads * shape.attention_head_dim
    piece = Piece(
        "transformer", [transformer], lambda: family.predict(transformer, latents, torch.empty(1), text), tokens,
        main=True, kept_bytes=inputs,
    )  # fmt: skip
    return [piece], (
        f"clips of {bucket} (the largest bucket), {tokens} tokens, prompts of {words}; encoding the clips, once, and "
        "samples come on top"
    )


def _tokens(latents: torch.Tensor, transformer: Any) -> int:
    patch = transformer.config.patch_size
    return latents[0, 0].numel() // (patch[0] * patch[1] * patch[2])


def _grid(bucket: Bucket) -> tuple[int, int, int]:
    return 1 + (bucket.num_frames - 1) // 4, bucket.height // 8, bucket.width // 8


def _folder(folder: Path) -> Path:
    if not (folder / "config.json").is_file():
        raise MissingDependencyError(f"{folder} is not there", hint="train the stage before, or name another folder")
    return folder


def _config_of(folder: Path) -> dict[str, Any]:
    return read_json(_folder(folder) / "config.json")


PIECES: dict[str, Pieces] = {"vae": _vae, "dit": _dit, "lora": _lora}
