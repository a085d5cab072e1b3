"""Latents of the cartoon world for training the DiT: made once, kept on disk, read back for every epoch.

In: a trained autoencoder, a stream of solo scenes. Out: batches of normalised latents, prompts as token ids, what
prompts ask for, and what is where in every frame (for the auxiliary heads). The cache is keyed by what its values
depend on: the autoencoder's weights and statistics, the stream, the size, and the pixels of its first clips (so a
change of the renderer makes a new cache).
Letters: n clips, T frames, c latent channels, t h w latent size, L tokens, F factors.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cineloop.tensor_cache import TensorCache
from cineloop.world.draw import Draw
from cineloop.world.scenes.render import label_masks
from cineloop.world.scenes.scene import Scene
from cineloop.world.scenes.solo import FPS
from cineloop.world.vocabulary import COLORS, KINDS
from t2v.data.facts import labels
from t2v.data.world import prompt_of, render_scenes, solo_scene, to_video

CELL = 2  # pixels a side of the cells of `occupancy`; a latent place is 8 pixels a side
KIND_NUMBERS = {kind: number for number, kind in enumerate(KINDS)}
_PER_PASS = 32  # clips that are encoded together, and an entry of the cache: last bits depend on the neighbours
_BESIDE = 1 << 40  # from a scene to the one that stands in for it
Tensors = dict[str, torch.Tensor]


def weights_key(vae: Any) -> str:
    """A hash of the weights and of the latent statistics; the config at large may gain keys that change nothing."""
    digest = hashlib.sha256(repr((list(vae.config.latents_mean), list(vae.config.latents_std))).encode())
    for name, tensor in sorted(vae.state_dict().items()):
        digest.update(name.encode() + tensor.detach().cpu().contiguous().float().numpy().tobytes())
    return digest.hexdigest()


def occupancy(scene: Scene, num_frames: int, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Where the figure is and in which colour, frame by frame.

    Returns:
        share: uint8 (t, 4, H / CELL, W / CELL), how much of each cell the figure covers, 255 is wholly; the first
        latent frame holds one frame, which stands four times.
        color: int8 (t,), the number of the named colour nearest to the figure's in the last frame of each.
    """
    masks, _, colors = label_masks(scene, np.arange(num_frames) / FPS, size)
    height, width = size
    share = (masks >= 0).reshape(num_frames, height // CELL, CELL, width // CELL, CELL).mean((2, 4))
    share = np.concatenate([share[:1]] * 3 + [share])  # (4t, H / CELL, W / CELL)
    share = np.rint(share.reshape(-1, 4, height // CELL, width // CELL) * 255).astype(np.uint8)
    named = np.array(list(COLORS.values()), dtype=np.float64)  # (K, 3)
    color = np.square(colors[0][::4, None] - named).sum(-1).argmin(-1)  # (t,)
    return share, color.astype(np.int8)


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
        cache: filled with the latents of the stream, or None; see `with_cache`.
        kind_weights: how often clips of a kind of figure are drawn, where not as often as the others (1).
    """

    vae: Any
    tokenizer: Any
    split: str
    seed: int
    size: tuple[int, int]
    num_frames: int
    num_clips: int
    cache: TensorCache | None = None
    text_dropout: float = 0.0
    kind_weights: Mapping[str, float] = field(default_factory=dict)
    _passes: dict[int, Tensors] = field(default_factory=dict)  # what was read of the cache, by number

    def __call__(self, start: int, count: int) -> Tensors:
        """Latents (n, c, t, h, w), occupancy (n, t, 4, H / CELL, W / CELL) in [0, 1], color (n, t), kind (n,),
        facing (n,) 0 left or 1 right, facts (n, F), input_ids and attention_mask (n, L)."""
        numbers = np.arange(start, start + count)
        epochs, indices = (numbers // self.num_clips, numbers % self.num_clips) if self.num_clips else (0, numbers)
        kept = encode(self, indices) if self.cache is None else self._read(self.cache, indices)
        scenes = [self.scene(int(index)) for index in indices]
        rows = zip(scenes, indices, np.broadcast_to(epochs, indices.shape), strict=True)
        texts = [self._text(scene, int(index), int(epoch)) for scene, index, epoch in rows]
        tokens = self.tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
        return {
            "latents": kept["latents"].float(),
            "occupancy": kept["occupancy"].float() / 255,
            "color": kept["color"].long(),
            "kind": torch.tensor([KIND_NUMBERS[scene.actors[0].kind] for scene in scenes]),
            "facing": torch.tensor([int(scene.actors[0].facing > 0) for scene in scenes]),
            "facts": torch.tensor([labels(scene.facts(), text) for scene, text in zip(scenes, texts, strict=True)]),
            "input_ids": tokens["input_ids"],
            "attention_mask": tokens["attention_mask"],
        }

    def scene(self, index: int) -> Scene:
        """Scene `index` of the stream: one that its kind's weight rejects gives way to the next of a stream beside."""
        most = max([1.0, *self.kind_weights.values()])
        for attempt in itertools.count():
            scene = solo_scene(self.split, self.seed, index + attempt * _BESIDE)
            chance = self.kind_weights.get(scene.actors[0].kind, 1.0) / most
            if Draw(f"kind|{self.seed}|{index}|{attempt}").uniform(0, 1) < chance:
                break
        return scene

    def _text(self, scene: Scene, index: int, epoch: int) -> str:
        if self.text_dropout and Draw(f"drop|{self.seed}|{epoch}|{index}").uniform(0, 1) < self.text_dropout:
            return ""
        return prompt_of(scene, self.seed + epoch, index)

    def _read(self, cache: TensorCache, indices: np.ndarray) -> Tensors:
        rows = []
        for index in indices:
            number, row = divmod(int(index), _PER_PASS)
            if number not in self._passes:
                self._passes[number] = cache.get(str(number))
            rows.append({name: tensor[row] for name, tensor in self._passes[number].items()})
        return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


@torch.no_grad()
def encode(source: LatentSource, indices: Sequence[int] | np.ndarray) -> Tensors:
    """Latents (float16), occupancy and colour of the clips `indices` of the stream, in that order."""
    latents, occupied = [], []
    for first in range(0, len(indices), _PER_PASS):
        scenes = [source.scene(int(index)) for index in indices[first : first + _PER_PASS]]
        frames = render_scenes(scenes, source.size, source.num_frames)
        latents.append(source.vae.encode_normalized(to_video(frames)).float())
        occupied += [occupancy(scene, source.num_frames, source.size) for scene in scenes]
    share, color = (torch.from_numpy(np.stack(each)) for each in zip(*occupied, strict=True))
    return {"latents": torch.cat(latents).half(), "occupancy": share, "color": color}


def cache_key(source: LatentSource) -> str:
    """What the cached values depend on, as 16 hexadecimal digits."""
    frames = render_scenes([source.scene(index) for index in range(8)], source.size)
    weights = sorted(source.kind_weights.items())
    stream = f"{source.split}|{source.seed}|{source.size}|{source.num_frames}|{weights}"
    settings = f"{weights_key(source.vae)}|{stream}|{CELL}|float16"
    return hashlib.sha256(settings.encode() + frames.tobytes()).hexdigest()[:16]


def with_cache(source: LatentSource, folder: Path) -> LatentSource:
    """The source with a cache below `folder` of all clips of an epoch; what it lacks is made first."""
    cache = TensorCache(folder / cache_key(source), "latents")

    def make(number: int) -> Tensors:
        return encode(source, range(number * _PER_PASS, (number + 1) * _PER_PASS))

    cache.fill(((str(number), number) for number in range(-(-source.num_clips // _PER_PASS))), make)
    return replace(source, cache=cache)
