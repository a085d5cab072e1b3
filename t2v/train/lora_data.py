"""From a user's clips to encoded training data: read, measured, put into buckets, encoded once, split.

In: the recipe of stage `lora` or `clips`, the model's family. Out: `LoraData`. On stderr: the table of the buckets, how
much was encoded and how much was found in the cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from cineloop.errors import ItemError, UsageError
from cineloop.files import content_key
from cineloop.log import logger, printable
from cineloop.tensor_cache import TensorCache, cache_key, folder_key
from cineloop.training.run_log import say
from cineloop.video.worker import DecoderPool
from t2v.data.buckets import Bucket, BucketBatches
from t2v.data.clips import READING, ClipWindow, prepare, read_pixels, tell_bad
from t2v.data.encoded import EncodedKeys, EncodedSource
from t2v.data.layouts import Item
from t2v.train.families import ModelFamily
from t2v.train.lora_config import ClipSetConfig

_DECODERS = 2


@dataclass(frozen=True)
class LoraData:
    """Encoded clips.

    `source` gives training batches; `judged` lists held-out positions, one list a bucket; `texts` are the prompts of
    the samples; `largest` is the largest bucket with clips in it, `fps` the rate of all.
    """

    source: EncodedSource
    judged: list[list[int]]
    texts: dict[str, dict[str, torch.Tensor]]
    largest: Bucket
    fps: float


def prepare_data(config: ClipSetConfig, family: ModelFamily, device: str) -> LoraData:
    """Read, measure, encode, split.

    Raises:
        UsageError: faults of the layout, clips that cannot be read or fit no bucket, too few clips to hold some out.
    """
    fps = config.fps or family.fps
    items = config.items("data")
    others = _to_judge_by(config)
    items += others
    with DecoderPool(num_workers=_DECODERS) as pool:
        prepared = prepare(items, config.buckets, fps=fps, window=config.window, on_bad=config.on_bad, pool=pool)
        say(f"{len(items)} clips, {len(prepared.samples)} samples at {fps:g} fps\n"
            + prepared.assignment.table(config.loop.batch_size, equal_tokens=config.buckets.equal_tokens))  # fmt: skip
        contents = {path: content_key(path) for path in dict.fromkeys(s.item.path for s in prepared.samples)}
        latents, keys, bad = _latents(config, family, device, prepared.samples, contents, fps, pool)
    tell_bad(bad, len(prepared.samples), config.on_bad)
    texts, prompt_keys = _texts(config, family, device, items)
    clips = [
        EncodedKeys(key, tuple(prompt_keys[prompt] for prompt in sample.item.prompts))
        for sample, key in zip(prepared.samples, keys, strict=True)
    ]
    kept = {n for n, key in enumerate(keys) if key in latents}
    if others:
        exam = {contents[item.path] for item in others if item.path in contents}
        held = {n for n in kept if contents[prepared.samples[n].item.path] in exam}
        if not held or held == kept:
            raise UsageError("nothing is left to train on, or to judge by of eval_data", hint="look at the buckets")
    else:
        held = _held_out_positions(prepared.samples, contents, kept, config.held_out)
    members = {bucket: [n for n in places if n in kept] for bucket, places in prepared.members.items()}
    training = tuple((b, tuple(n for n in places if n not in held)) for b, places in members.items())
    filled = tuple((bucket, places) for bucket, places in training if places)
    batches = BucketBatches(filled, config.loop.batch_size, config.data_seed, config.buckets.equal_tokens)
    source = EncodedSource(
        clips, batches, latents, texts, prompt_keys[""], config.text_dropout, config.data_seed, family.collate
    )
    judged = [[n for n in places if n in held] for places in members.values()]
    if not held:
        logger.warning("held_out is 0: the loss is judged on training clips and will look better than it is")
        judged = [list(places[:8]) for _, places in filled]
    shown = {prompt: texts.get(prompt_keys[prompt]) for prompt in ("", *config.samples.prompts)}
    largest = max((bucket for bucket, _ in filled), key=lambda bucket: bucket.num_frames * bucket.height * bucket.width)
    return LoraData(source, [places for places in judged if places], shown, largest, fps)


def _latents(
    config: ClipSetConfig,
    family: ModelFamily,
    device: str,
    samples: Sequence[ClipWindow],
    contents: dict[Path, str],
    fps: float,
    pool: DecoderPool,
) -> tuple[TensorCache, list[str], list[str]]:
    """The cache with the latents of all samples, their keys, and what could not be read."""
    cache = TensorCache(config.cache, "latents")
    weights = folder_key(family.folder("vae"))
    keys = [
        cache_key(
            content=contents[sample.item.path], start_s=round(sample.start_s, 6), fps=fps, shape=list(sample.bucket),
            fit="cover, centre", values="x / 127.5 - 1", reading=READING, vae=weights, dtype=config.encode_dtype,
        )
        for sample in samples
    ]  # fmt: skip
    bad: list[str] = []
    missing = {key: sample for key, sample in zip(keys, samples, strict=True) if key not in cache}
    if missing:
        say(f"encoding {len(missing)} clips, {len(keys) - len(missing)} are in {config.cache}")
        vae = family.load_vae(getattr(torch, config.encode_dtype)).to(device)

        def make(sample: ClipWindow) -> dict[str, torch.Tensor]:
            return {
                "latents": family.encode(vae, read_pixels(sample, fps, pool)).to(getattr(torch, config.encode_dtype))
            }

        def report_failure(sample: ClipWindow, error: ItemError) -> None:
            bad.append(f"{printable(str(sample.item.path))} from {sample.start_s:g} s: {error.code}, {error.message}")

        cache.fill(missing.items(), make, failed=report_failure)
    return cache, keys, bad


def _texts(
    config: ClipSetConfig, family: ModelFamily, device: str, items: Sequence[Item]
) -> tuple[TensorCache, dict[str, str]]:
    """The cache with all prompts, the empty one and those of the samples; and the key of each."""
    cache = TensorCache(config.cache, "texts")
    weights = folder_key(family.folder("text_encoder"))
    words = dict.fromkeys(["", *config.samples.prompts, *(prompt for item in items for prompt in item.prompts)])
    keys = {
        prompt: cache_key(prompt=prompt, longest=family.pad_to, encoder=weights, dtype=config.encode_dtype)
        for prompt in words
    }
    missing = [(key, prompt) for prompt, key in keys.items() if key not in cache]
    if missing:
        say(f"encoding {len(missing)} prompts, {len(keys) - len(missing)} are in {config.cache}")
        encoder = family.load_text_encoder(device, getattr(torch, config.encode_dtype))
        cache.fill(missing, lambda prompt: family.embed(encoder, prompt))
    return cache, keys


def _to_judge_by(config: ClipSetConfig) -> list[Item]:
    """The clips of `held_out` files of `eval_data`, chosen by `_held_out_positions`; none without such data."""
    if not config.eval_data:
        return []
    items = config.items("eval_data")
    keys = {item.path: content_key(item.path) for item in items}
    chosen = set(sorted(set(keys.values()))[: config.held_out])
    return [item for item in items if keys[item.path] in chosen]


def _held_out_positions(
    samples: Sequence[ClipWindow], contents: dict[Path, str], kept: set[int], files: int
) -> set[int]:
    """Positions of the samples of `files` files, chosen by their content: the same ones whatever else is in the set."""
    there = sorted({contents[samples[n].item.path] for n in kept})
    if not there or files >= len(there):
        raise UsageError(
            f"held_out takes {files} of {len(there)} different files: nothing is left to train on",
            hint="add clips, or lower held_out",
        )
    held = set(there[:files])
    return {n for n in kept if contents[samples[n].item.path] in held}
