"""Latents of the cartoon world for training the DiT: made once, kept on disk, read back for every epoch.

In: a trained autoencoder, a stream of solo scenes. Out: batches of normalised latents, prompts as token ids, and where
the figure is (for the auxiliary head). The cache is keyed by what its values depend on: the autoencoder's weights and
statistics, the stream, the size, and the pixels of its first clips (so a change of the renderer makes a new cache).
Letters: n clips, T frames, c latent channels, t h w latent size, L tokens.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save

from cineloop.files import write_atomic
from cineloop.world.draw import Draw
from cineloop.world.scenes.render import label_masks
from cineloop.world.scenes.scene import Scene
from cineloop.world.scenes.solo import FPS, sample_solo
from t2v.data.world import prompt_of, solo_clips, to_video

SHARD = 512  # clips of one file
_PER_PASS = 32
Tensors = dict[str, torch.Tensor]


def weights_key(vae: Any) -> str:
    """A hash of the weights and of the latent statistics; the config at large may gain keys that change nothing."""
    digest = hashlib.sha256(repr((list(vae.config.latents_mean), list(vae.config.latents_std))).encode())
    for name, tensor in sorted(vae.state_dict().items()):
        digest.update(name.encode() + tensor.detach().cpu().contiguous().float().numpy().tobytes())
    return digest.hexdigest()


def occupancy(scene: Scene, num_frames: int, size: tuple[int, int]) -> np.ndarray:
    """How much of each latent place the figure covers, frame by frame: uint8 (t, 4, h, w), 255 is wholly.

    The first latent frame holds one frame, which stands four times.
    """
    masks = label_masks(scene, np.arange(num_frames) / FPS, size)[0] >= 0  # (T, H, W)
    height, width = size
    share = masks.reshape(num_frames, height // 8, 8, width // 8, 8).mean((2, 4))  # (T, h, w)
    share = np.concatenate([share[:1]] * 3 + [share])  # (4t, h, w)
    return np.rint(share.reshape(-1, 4, height // 8, width // 8) * 255).astype(np.uint8)


@dataclass(frozen=True)
class LatentSource:
    """Batches of latents, token ids and occupancy; a pure function of the sample numbers.

    Attributes:
        vae: autoencoder, on the CPU, used where the cache has nothing.
        tokenizer: of the prompts; each epoch words every prompt afresh.
        split, seed: of the stream of solo scenes.
        size: (H, W).
        num_frames: 4k + 1; 1 takes first frames only, made as they are needed (they cost next to nothing).
        num_clips: clips of an epoch; 0 never repeats.
        cache: folder for latents, or None.
    """

    vae: Any
    tokenizer: Any
    split: str
    seed: int
    size: tuple[int, int]
    num_frames: int
    num_clips: int
    cache: Path | None
    text_dropout: float = 0.0
    _shards: dict[int, Tensors] = field(default_factory=dict)

    def __call__(self, start: int, count: int) -> Tensors:
        """Latents (n, c, t, h, w), occupancy (n, t, 4, h, w), input_ids and attention_mask (n, L)."""
        numbers = np.arange(start, start + count)
        epochs, indices = (numbers // self.num_clips, numbers % self.num_clips) if self.num_clips else (0, numbers)
        kept = self._read(indices) if self.cache else encode(self, int(indices[0]), count)
        texts = [self._text(int(i), int(e)) for i, e in np.broadcast(indices, epochs)]
        tokens = self.tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
        return {
            "latents": kept["latents"].float(),
            "occupancy": kept["occupancy"].float() / 255,
            "input_ids": tokens["input_ids"],
            "attention_mask": tokens["attention_mask"],
        }

    def scene(self, index: int) -> Scene:
        """Scene `index` of the stream."""
        return sample_solo(self.split, self.seed, index)

    def _text(self, index: int, epoch: int) -> str:
        if self.text_dropout and Draw(f"drop|{self.seed}|{epoch}|{index}").uniform(0, 1) < self.text_dropout:
            return ""
        return prompt_of(self.scene(index), self.seed + epoch, index)

    def _read(self, indices: np.ndarray) -> Tensors:
        rows = []
        for index in indices:
            number, row = divmod(int(index), SHARD)
            if number not in self._shards:
                self._shards[number] = load_file(shard_path(self, number))
            rows.append({name: tensor[row] for name, tensor in self._shards[number].items()})
        return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


@torch.no_grad()
def encode(source: LatentSource, start: int, count: int) -> Tensors:
    """Latents (float16) and occupancy of clips `start` … `start + count - 1` of the stream."""
    latents, occupied = [], []
    for first in range(start, start + count, _PER_PASS):
        num = min(_PER_PASS, start + count - first)
        frames, scenes = solo_clips(source.split, source.seed, first, num, source.size, source.num_frames)
        latents.append(source.vae.encode_normalized(to_video(frames)).float())
        occupied += [torch.from_numpy(occupancy(scene, source.num_frames, source.size)) for scene in scenes]
    return {"latents": torch.cat(latents).half(), "occupancy": torch.stack(occupied)}


def cache_key(source: LatentSource) -> str:
    """What the cached values depend on, as 16 hexadecimal digits."""
    frames, _ = solo_clips(source.split, source.seed, 0, 8, source.size)
    settings = f"{weights_key(source.vae)}|{source.split}|{source.seed}|{source.size}|{source.num_frames}|float16"
    return hashlib.sha256(settings.encode() + frames.tobytes()).hexdigest()[:16]


def shard_path(source: LatentSource, number: int) -> Path:
    """Where shard `number` lies."""
    if source.cache is None:
        raise ValueError("this source keeps no cache")
    return source.cache / f"{number:05d}.safetensors"


def fill(source: LatentSource) -> int:
    """Make what the cache lacks; returns how many clips were encoded. A killed run continues where it was."""
    made = 0
    for number in range(-(-source.num_clips // SHARD)):
        path = shard_path(source, number)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, save(encode(source, number * SHARD, SHARD)))
            made += SHARD
    return made
