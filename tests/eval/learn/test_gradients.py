"""Rewards with a gradient: they measure what their metrics measure."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cineloop.world.scenes.render import render
from t2v.data.world import TIMES_S, prompt_of, solo_scene
from v2t_eval.core.features import open_extractor
from v2t_eval.learn.gradients.clipsim import Reward
from v2t_eval.metrics.alignment import cosine

pytestmark = pytest.mark.slow


def test_clipsim_is_the_metric_and_its_gradient_raises_it():
    scenes = [solo_scene("seen", 3, index) for index in range(2)]
    prompts = [prompt_of(scene, 3, index) for index, scene in enumerate(scenes)]
    clips = np.stack([render(scene, (64, 64), times_s=TIMES_S[:5]) for scene in scenes])
    pixels = torch.from_numpy(clips).float().div(255).requires_grad_(True)  # (2, T, H, W, 3)
    reward = Reward("cpu")
    found = reward(pixels, prompts)
    extractor = open_extractor("starter")
    for value, clip, prompt in zip(found.tolist(), clips, prompts, strict=True):
        wanted = cosine(extractor.embed_frames(clip), extractor.embed_texts([prompt])[0]).mean()
        assert value == pytest.approx(wanted, abs=1e-4)  # 64 pixels a side need no resizing
    (gradient,) = torch.autograd.grad(found.sum(), pixels)
    assert gradient.isfinite().all() and gradient.flatten(1).abs().max(1).values.min() > 0
    better = reward((pixels + 0.5 * gradient / gradient.abs().max() / 255).detach(), prompts)
    assert (better > found).all()
    large = reward(torch.rand(1, 2, 96, 96, 3), prompts[:1])
    assert large.shape == (1,)
