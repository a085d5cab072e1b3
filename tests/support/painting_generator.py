"""A generator without a model, for runs of `t2v generate`."""

from __future__ import annotations

import numpy as np

from cineloop.errors import ItemError, Notice
from cineloop.video.frames import Frames
from t2v.generators import ClipRequest
from t2v.settings import GenerateSettings
from t2v.shape import Shape


class Fake:
    """A generator that paints the seed, fails where the prompt says so, and counts its calls."""

    name, batch_size, fps = "fake", 2, 8.0

    def __init__(self, weights: str = "a") -> None:
        self.weights, self.batches, self.loads = weights, [], 0

    def fingerprint(self):
        return {"generator": self.name, "model": "fake", "weights_sha256": self.weights}

    def valid_shape(self, num_frames, height, width):
        return Shape(num_frames=num_frames or 3, height=height or 16, width=width or 16)

    def effective(self, settings):
        self.loads += 1
        return {"steps": settings.steps or 4, "fps": self.fps}

    def warnings_for(self, prompt):
        return (Notice("OUT_OF_DOMAIN", "strange"),) if "strange" in prompt else ()

    def generate(self, requests: list[ClipRequest], settings: GenerateSettings, on_step=None) -> list[Frames]:
        self.batches.append([request.prompt for request in requests])
        if any("fail" in request.prompt for request in requests):
            raise ItemError("cannot", code="MODEL_ERROR")
        if on_step is not None:
            on_step(1, 1)
        seeds = [request.seed for request in requests]
        return [Frames.from_pixels(np.full((3, 16, 16, 3), 40 + seed % 200, np.uint8), 8.0) for seed in seeds]
