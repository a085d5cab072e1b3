"""Runs of an engine made of noise: a clip for each prompt and seed, and what a run's kernels and faults do to it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from cineloop.manifest import write_manifest
from cineloop.video.encode import encode
from small_clips import noise

NUM = 12
SUITE = "name: small\nmetrics: [structure_distance, pixel_distance, temporal_distance, sharpness]\n"
Fault = Callable[[np.ndarray, int], np.ndarray]  # uint8 (T, H, W, 3) and the clip's number


def write_run(folder: Path, seed: int, fault: Fault = lambda pixels, number: pixels, *, num: int = NUM) -> Path:
    """A run folder: one value in twenty is off by a level, other ones for each seed; file names are the run's own."""
    (folder / "clips").mkdir(parents=True)
    rows = []
    for number in range(num):
        draws = np.random.default_rng([seed, number])
        pixels = noise(number, 6, size=(24, 24)).pixels.astype(np.int16) // 2 + 60
        pixels += (draws.random(pixels.shape) < 0.05) * draws.choice([-1, 1], pixels.shape)
        path = f"clips/{seed}-{number}.mp4"
        encode(fault(pixels.astype(np.uint8), number), folder / path, 4, crf=0)
        rows.append({"id": f"{seed}-{number}", "path": path, "prompt": f"prompt {number}", "seed": 7})
    write_manifest(rows, folder / "manifest.jsonl")
    return folder


def brighter(pixels: np.ndarray, number: int) -> np.ndarray:
    """Every pixel, by thirty levels."""
    return pixels + 30


def shorter(pixels: np.ndarray, number: int) -> np.ndarray:
    """One frame less."""
    return pixels[:-1]
