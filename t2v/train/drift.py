"""How far a policy has moved from the one it began from: mean ‖v - v_ref‖² on given clips, at frozen noise.

In: two pipelines of one family (folders, perhaps with an adapter each) and clips with latents. Out: a number, 0 for the
same policy; up to a factor by level it is the KL divergence of the two samplers' steps. Letters: c t h w latents.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from cineloop.training.runtime import find_device
from t2v import flow
from t2v.train.families import open_family
from t2v.train.held_out import frozen_noise
from t2v.train.rewarded import load

BINS = 4


@torch.no_grad()
def drift(
    model: str, reference: str, clips: Sequence[tuple[Path, str]], *, adapter: Path | None = None, device: str = "auto"
) -> float:
    """Mean squared distance of the velocities.

    Args:
        model, reference: pipeline folders or hub ids; `adapter` is the model's.
        clips: (file of latents, prompt) of each, at least one.
        device: as everywhere.

    Raises:
        MissingDependencyError, UsageError: a model that cannot be loaded. CineloopError: latents that cannot be read.
    """
    place, family = find_device(device), open_family(model)
    now, then = (_transformer(name, own).to(place) for name, own in ((model, adapter), (reference, None)))
    encoder = family.load_text_encoder(place, torch.float32)
    texts: dict[str, Any] = {prompt: family.embed(encoder, prompt) for _, prompt in dict.fromkeys(clips)}
    total = 0.0
    for number, (path, prompt) in enumerate(clips):
        clean, text = load(path)["latents"][None].to(place), family.collate([texts[prompt]])  # (1, c, t, h, w)
        for bin in range(BINS):
            level, noise = frozen_noise(clean.shape[1:], 0, number, bin, BINS)
            sigma = torch.tensor([level], device=place)
            noisy = flow.add_noise(clean, noise[None].to(clean), sigma)
            first, second = (family.predict(each, noisy, sigma, text).float() for each in (now, then))
            total += float((first - second).square().mean())
    return total / (BINS * len(clips))


def _transformer(model: str, adapter: Path | None) -> Any:
    transformer = open_family(model).load_transformer(torch.float32).eval()
    if adapter is not None:
        from t2v.lora import load_lora

        load_lora(transformer, adapter)
    return transformer
