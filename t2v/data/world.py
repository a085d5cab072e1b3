"""Clips of the cartoon world for training the generator: solo scenes, and crowded ones where only pictures count.

In: a split, a seed, sample numbers. Out: tensors, pure functions of them. Letters: n clips, T frames, H W size.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from cineloop.world.draw import Draw
from cineloop.world.scenes.render import label_masks, render
from cineloop.world.scenes.sampler import sample_crowd
from cineloop.world.scenes.scene import Scene
from cineloop.world.scenes.solo import FPS, NUM_FRAMES, prompt, sample_solo

TIMES_S = np.arange(NUM_FRAMES) / FPS
# Drawings of each place behind the figures that the generator is taught. A backdrop of its own in every clip (stars,
# windows, flowers) is noise that no prompt asks for, and a small generator spends its capacity on it.
BACKDROPS = 4
_SEEDS = 1 << 30  # of the scenes that `sample_solo` draws


def to_video(frames: np.ndarray) -> torch.Tensor:
    """uint8 (n, T, H, W, 3) to float (n, 3, T, H, W) in [-1, 1]."""
    return torch.from_numpy(frames).permute(0, 4, 1, 2, 3).float() / 127.5 - 1  # (n, 3, T, H, W)


def solo_scene(split: str, seed: int, index: int) -> Scene:
    """Scene `index` of a stream of solo scenes (`sample_solo`), before one of the `BACKDROPS` drawings of its place.

    Who does not go left faces right: no prompt can ask for the other way, and a small generator that has not decided
    draws a bird with two heads.
    """
    scene = sample_solo(split, seed, index)
    facing = -1 if scene.events[0].direction == "left" else 1
    actor = replace(scene.actors[0], facing=facing)
    return replace(scene, seed=scene.seed * BACKDROPS // _SEEDS, actors=(actor,))


def render_scenes(scenes: Sequence[Scene], size: tuple[int, int], num_frames: int = NUM_FRAMES) -> np.ndarray:
    """The first frames of scenes, uint8 (n, T, H, W, 3)."""
    return np.stack([render(scene, size, times_s=TIMES_S[:num_frames]) for scene in scenes])


def solo_clips(split: str, seed: int, start: int, count: int, size: tuple[int, int]) -> tuple[np.ndarray, list[Scene]]:
    """The frames uint8 (n, T, H, W, 3) of solo scenes `start` … `start + count - 1`, and the scenes."""
    scenes = [solo_scene(split, seed, index) for index in range(start, start + count)]
    return render_scenes(scenes, size), scenes


def prompt_of(scene: Scene, seed: int, index: int, *, unseen_wording: bool = False) -> str:
    """The prompt of a solo scene, a pure function of the arguments."""
    return prompt(scene.facts(), random.Random(f"{seed}|{index}"), unseen_wording=unseen_wording)


def solo_prompts(split: str, seed: int, count: int) -> list[str]:
    """The prompts of the first `count` solo scenes of a stream."""
    return [prompt_of(solo_scene(split, seed, index), seed, index) for index in range(count)]


@dataclass(frozen=True)
class PictureSource:
    """Short clips and single frames for the autoencoder, half of them crowds; a batch has one length.

    A batch of `n` gives pixels uint8 (m, T, H, W, 3) and figures bool (m, T, H, W), true where a figure is; m is n,
    times four where T is 1.
    """

    split: str
    seed: int
    size: tuple[int, int]
    lengths: Sequence[int]

    def __call__(self, start: int, count: int) -> dict[str, torch.Tensor]:
        """Samples `start` … `start + count - 1`."""
        draw = Draw(f"pictures|{self.split}|{self.seed}|{start}")
        length = draw.pick(self.lengths)
        pixels, figures = [], []
        for index in range(start, start + count):
            scene = self._scene(index, draw)
            for _ in range(4 if length == 1 else 1):
                first = draw.integer(NUM_FRAMES - length + 1)
                times = TIMES_S[first : first + length]
                pixels.append(render(scene, self.size, times_s=times))
                figures.append(label_masks(scene, times, self.size)[0] >= 0)
        return {"pixels": torch.from_numpy(np.stack(pixels)), "figures": torch.from_numpy(np.stack(figures))}

    def _scene(self, index: int, draw: Draw) -> Scene:
        if draw.uniform(0, 1) < 0.5:
            return solo_scene(self.split, self.seed, index)
        scene = sample_crowd(self.split, self.seed, index)
        return replace(scene, style="flat", shots=(replace(scene.shots[0], camera="static"),))
