"""The shipped generator: loads offline, is small enough, makes the clip of its prompt and seed, keeps to the place."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cineloop.world.scenes.solo import sample_solo
from t2v.data.world import TIMES_S, prompt_of
from t2v.obedience import judge
from t2v.pipeline import STARTER, load_starter

STEPS = 12


@pytest.fixture(scope="module")
def pipe():
    pipe = load_starter()
    pipe.set_progress_bar_config(disable=True)
    return pipe


def pixels_of(pipe, prompts, seeds):
    made = pipe(prompts, num_inference_steps=STEPS, generator=[torch.Generator().manual_seed(s) for s in seeds]).frames
    return np.rint(made * 255).astype(np.uint8)  # (n, T, H, W, 3)


def test_it_fits_the_package_and_has_its_card():
    weights = list(STARTER.rglob("*.safetensors"))
    assert sum(path.stat().st_size for path in weights) <= 28e6
    assert not [path for path in STARTER.rglob("*") if path.suffix in {".bin", ".pt", ".ckpt", ".py"}]
    card = (STARTER / "README.md").read_text(encoding="utf-8")
    assert all(word in card for word in ("joint", "chance", "Training", "knows no other words"))


@pytest.mark.slow
def test_a_clip_depends_on_prompt_and_seed_alone(pipe):
    ball, dog = "A red ball rolls to the right on the beach.", "A blue dog runs to the left in the snow."
    both = pixels_of(pipe, [ball, dog], [1, 2])
    assert both.shape == (2, 17, 64, 64, 3)
    alone = pixels_of(pipe, [ball], [1])[0]
    assert np.abs(alone.astype(int) - both[0]).max() <= 2
    assert np.abs(pixels_of(pipe, [ball], [5])[0].astype(int) - alone).mean() > 1
    assert np.abs(both[1].astype(int) - both[0]).mean() > 20


@pytest.mark.long
@pytest.mark.slow
def test_it_shows_the_place_it_was_told_and_not_another(pipe):
    scenes = [sample_solo("seen", 77, index) for index in range(8)]
    prompts = [prompt_of(scene, 77, index) for index, scene in enumerate(scenes)]
    made = pixels_of(pipe, prompts, range(8))
    right = [judge(clip, TIMES_S, scene.facts(), text) for clip, scene, text in zip(made, scenes, prompts, strict=True)]
    assert sum(each["place"] for each in right) >= 7
    turned = scenes[1:] + scenes[:1]  # the same clips held to other prompts: places differ but for luck
    wrong = [judge(clip, TIMES_S, scene.facts()) for clip, scene in zip(made, turned, strict=True)]
    assert sum(each["place"] for each in wrong) <= 4
