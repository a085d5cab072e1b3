"""How well clips drawn in mid-training do what their prompts ask.

In: a pipeline, how many prompts. Out: the share of asked-for facts that the referee reads back from the clips.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from cineloop.world.scenes.solo import sample_solo
from t2v.data.world import TIMES_S, prompt_of

LEAST_FRAMES = 3  # that the referee reads
STEPS, GUIDANCE = 16, 2.0  # at which the clips are drawn
STILL = ("place", "color", "kind", "size")  # what a single frame shows


def obedience(pipeline: Any, config: Any, device: torch.device) -> dict[str, float]:
    """`mean` over what the prompts ask for, `joint` (all a prompt asks for), and each factor, on held-out prompts; of
    single frames, shown to the referee as still clips, what a frame can show."""
    from t2v.obedience import judge

    scenes = [sample_solo("seen", config.EVAL_SEED, index) for index in range(config.eval_prompts)]
    prompts = [prompt_of(scene, config.EVAL_SEED, index) for index, scene in enumerate(scenes)]
    pipeline.set_progress_bar_config(disable=True)
    frames = pipeline.to(device)(
        prompt=prompts,
        num_frames=config.num_frames,
        height=config.size[0],
        width=config.size[1],
        num_inference_steps=STEPS,
        guidance_scale=GUIDANCE,
        generator=[torch.Generator().manual_seed(index) for index in range(len(prompts))],
    ).frames  # (n, T, H, W, 3) in [0, 1]
    clips = np.rint(frames * 255).astype(np.uint8)
    is_still = config.num_frames == 1
    if is_still:
        clips = clips.repeat(LEAST_FRAMES, 1)
    judged = [
        judge(clip, TIMES_S[: len(clip)], scene.facts(), prompt)
        for clip, scene, prompt in zip(clips, scenes, prompts, strict=True)
    ]  # fmt: skip
    if is_still:
        judged = [{name: right for name, right in each.items() if name in STILL} for each in judged]
        judged = [{**each, "joint": all(each.values())} for each in judged]
    factors = sorted({name for each in judged for name in each})
    figures: dict[str, float] = {}
    for name in factors:
        asked = [each[name] for each in judged if name in each]
        figures[name] = float(np.mean([bool(value) for value in asked]))
    asked_for = [bool(value) for each in judged for name, value in each.items() if name != "joint"]
    return {"mean": float(np.mean(asked_for)), **figures}
