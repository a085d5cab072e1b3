"""A generator whose checkpoints are one JSON file: how bright its clips are, of what size, what is wrong with them.

A checkpoint is a folder with `model_index.json`: `level` (0 to 255), and optionally `size`, `copies` (a number: every
clip of the prompts named in `of` shows that one picture) and `fault` (`load`, or `nan` of every clip).
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np

from cineloop.errors import ItemError, MissingDependencyError
from cineloop.video.frames import Frames
from t2v.shape import Shape


def write_checkpoint(folder: Path, **about) -> Path:
    """A checkpoint of this generator."""
    folder.mkdir(parents=True)
    (folder / "model_index.json").write_text(json.dumps({"level": 100, **about}))
    return folder


def picture(seed: int, size: int = 32) -> np.ndarray:
    """A picture of coloured blocks, uint8 (size, size, 3); of every seed another one."""
    blocks = np.random.default_rng(seed).integers(0, 255, (4, 4, 3)).astype(np.uint8)
    return blocks.repeat(size // 4, 0).repeat(size // 4, 1)


class Generator:
    """Clips of three frames."""

    name, batch_size, fps = "level", 4, 8.0

    def __init__(self, model, *, device="auto", dtype="auto") -> None:
        self.about = json.loads((Path(model) / "model_index.json").read_text())

    def fingerprint(self):
        return {"generator": self.name, "model": json.dumps(self.about), "weights_sha256": None}

    def valid_shape(self, num_frames, height, width):
        return Shape(num_frames=3, height=self.about.get("size", 32), width=self.about.get("size", 32))

    def effective(self, settings):
        if self.about.get("fault") == "load":
            raise MissingDependencyError("the weights are damaged")
        return {"steps": 1, "fps": self.fps}

    def warnings_for(self, prompt):
        return ()

    def generate(self, requests, settings, on_step=None):
        if self.about.get("fault") == "nan":
            raise ItemError("the model made no picture: its values are no numbers (NaN)", code="MODEL_ERROR")
        return [self._clip(request) for request in requests]

    def _clip(self, request):
        size = self.about.get("size", 32)
        seed = zlib.crc32(f"{request.prompt}|{request.seed}".encode())
        frame = picture(seed, size) // 8
        if request.prompt in self.about.get("of", [request.prompt] if "copies" in self.about else []):
            frame = picture(self.about["copies"], size)
        elif "copies" not in self.about:
            hard = np.random.default_rng(seed).integers(-40, 40)
            frame = np.clip(frame.astype(int) + self.about["level"] + hard, 0, 255).astype(np.uint8)
        return Frames.from_pixels(np.stack([frame] * 3), self.fps)
