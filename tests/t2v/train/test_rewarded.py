"""The examples of a reward training: their order, and the steps of the sampler that they are read from."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from cineloop.errors import UsageError
from t2v.train.objectives import Example, grpo
from t2v.train.rewarded import RewardClips, RewardedSource


def source(folder, *, num_sigmas: int, clips: int = 1) -> RewardedSource:
    path = folder / "clip.safetensors"
    sigmas = torch.linspace(1, 0, num_sigmas)
    save_file({"latents": torch.ones(2), "path": torch.ones(num_sigmas, 2), "sigmas": sigmas,
               "level": torch.tensor(0.7)}, path)  # fmt: skip
    data = RewardClips(
        prompts=tuple(map(str, range(clips))), latents=(path,) * clips, groups=(), counts={}, weights="", loras=(),
        guidance=1.0,
    )  # fmt: skip
    examples = [Example(clips=(n,), weight=float(n)) for n in range(clips)]
    texts = {str(n): {"ids": torch.tensor([n])} for n in range(clips)}
    stack = lambda texts: {"ids": torch.stack([text["ids"] for text in texts])}  # noqa: E731
    return RewardedSource(data, examples, texts, stack, seed=3, segments=grpo.Objective().segments)


def test_a_clip_drawn_in_one_step_is_refused_with_what_to_do(tmp_path):
    with pytest.raises(UsageError, match="drawn in one step of the sampler.*--steps 2"):
        source(tmp_path, num_sigmas=2)(0, 1)
    assert source(tmp_path, num_sigmas=3)(0, 2)["sigma"].tolist() == [1.0, 1.0]  # the last step adds no noise


def test_an_epoch_is_shuffled_once_and_holds_each_example_once(tmp_path, monkeypatch):
    drawn, plain = [], np.random.default_rng

    def counted(seed):
        drawn.append(seed) if len(seed) == 2 else None
        return plain(seed)

    held = source(tmp_path, num_sigmas=3, clips=7)
    monkeypatch.setattr(np.random, "default_rng", counted)
    monkeypatch.setattr(RewardedSource, "_segment", lambda self, example, number, segments: {})
    orders = [[int(n) for n in held(7 * epoch, 7)["weight"]] for epoch in range(2)]
    assert all(sorted(order) == list(range(7)) for order in orders) and orders[0] != orders[1]
    assert len(drawn) == 2
