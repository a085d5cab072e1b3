"""Samples drawn while a model trains; a failed sample never stops the training.

In: something that draws a clip, prompts, a folder, seconds it may take. Out: mp4 files and figures: how many came, and
how much moves in them (a model that stops moving is the commonest failure of fine-tuning). A sample that fails, or is
not done within its time, is a warning.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from cineloop.errors import CineloopError
from cineloop.video.encode import encode

Draw = Callable[[str, int, Callable[[], None]], np.ndarray]


class OutOfTimeError(CineloopError):
    """A sample took longer than it may."""


def draw_samples(draw: Draw, prompts: Sequence[str], folder: Path, *, fps: float, seconds: float) -> dict[str, float]:
    """Draw a clip for each prompt and write it.

    Args:
        draw: (prompt, seed, on_step) → uint8 (T, H, W, 3); it must call `on_step` after each step.
        prompts: what to draw; the n-th with seed n, so that samples of different steps compare.
        folder: where to: 000.mp4 …, and prompts.txt.
        fps: of the clips.
        seconds: for all prompts together.

    Returns:
        "samples", "samples_failed", and "samples_motion": mean change of a pixel from frame to frame, in [0, 1].
    """
    deadline = time.monotonic() + seconds
    motions, failed = [], 0

    def on_step() -> None:
        if time.monotonic() > deadline:
            raise OutOfTimeError(f"samples took longer than {seconds:g} s")

    for number, prompt in enumerate(prompts):
        try:
            on_step()
            with torch.inference_mode():
                pixels = draw(prompt, number, on_step)
            folder.mkdir(parents=True, exist_ok=True)
            encode(pixels, folder / f"{number:03d}.mp4", fps)
            motions.append(
                float(np.abs(np.diff(pixels.astype(np.int16), axis=0)).mean() / 255) if len(pixels) > 1 else 0.0
            )
        except Exception as error:  # noqa: BLE001  of a sample nothing is worth a run: out of memory, codecs, disk
            failed += 1
            logging.getLogger("cineloop").warning("sample %d (%s): %s: %s", number, prompt, type(error).__name__, error)
    if motions:
        try:
            (folder / "prompts.txt").write_text("".join(f"{' '.join(text.split())}\n" for text in prompts), "utf-8")
        except OSError as error:
            logging.getLogger("cineloop").warning("prompts of the samples: %s", error)
    figures = {"samples": float(len(motions)), "samples_failed": float(failed)}
    return figures | ({"samples_motion": float(np.mean(motions))} if motions else {})
