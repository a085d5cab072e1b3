"""`videomae:ID_OR_FOLDER`: a vector for a clip by VideoMAE of transformers.

In: a clip; as many frames as the model was made for are taken evenly, first and last among them, and repeated where
there are fewer. Out: the mean of all tokens, through `fc_norm` where the model is a classifier (what stands before its
last layer). Frames are prepared as the model's processor does ("processor": shorter side, crop, ImageNet's mean and
deviation) or as content-debiased FVD does ("cd-fvd": squashed to the model's size, 0..1, no mean).
Letters: F frames the model takes, N tokens, D width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cineloop.errors import MissingDependencyError
from cineloop.video.frames import Frames
from v2t_eval.core.features import BaseExtractor
from v2t_eval.extractors import hub
from v2t_eval.extractors.pixels import IMAGENET_MEAN, IMAGENET_STD, normalise, pil_square, resize_tensor, to_floats

if TYPE_CHECKING:
    from torch import Tensor


class Extractor(BaseExtractor):
    kind = "clip"
    preprocesses = ("processor", "cd-fvd")

    def load(self) -> None:
        self.folder = hub.model_folder(self.where, "videomae")
        config = hub.config_of(self.folder)
        if config.get("model_type") != "videomae":
            raise MissingDependencyError(
                f"{self.folder} holds a model of type {config.get('model_type')!r}, not VideoMAE", code="MODEL"
            )
        self._classifies = "VideoMAEForVideoClassification" in (config.get("architectures") or [])
        kind = "VideoMAEForVideoClassification" if self._classifies else "VideoMAEModel"
        self._model = hub.load_model(kind, self.folder, self.device)
        self._settings = hub.processor_settings(self.folder)

    def _embed_clip(self, frames: Frames) -> Tensor:
        config = self._model.config
        pixels = frames.pixels[even_frames(len(frames), config.num_frames)]  # (F, H, W, 3)
        values = self._to_input(pixels)[None]  # (1, F, 3, h, w)
        if not self._classifies:
            return self._model(pixel_values=values).last_hidden_state[0].mean(0)  # (D,)
        tokens = self._model.videomae(pixel_values=values).last_hidden_state[0]  # (N, D)
        if self._model.fc_norm is None:
            return tokens[0]
        return self._model.fc_norm(tokens.mean(0))  # (D,)

    def _to_input(self, pixels: np.ndarray) -> Tensor:
        settings, side = self._settings, int(self._model.config.image_size)
        if self.preprocess == "cd-fvd":
            return resize_tensor(to_floats(pixels, self.device) / 255, (side, side), "bilinear")
        values = pil_square(
            pixels, hub.side_of(settings.get("size"), side), self.device, filter="bilinear", crop=side, floor=True
        )
        return normalise(values, settings.get("image_mean", IMAGENET_MEAN), settings.get("image_std", IMAGENET_STD))

    def describe(self) -> dict[str, str]:
        stated = self.preprocess + (f" {self._settings}" if self.preprocess == "processor" else "")
        pooling = "mean of tokens" if not self._classifies or self._model.fc_norm is not None else "first token"
        return hub.about(self.name, self.folder, self._model, stated) | {
            "frames": f"{self._model.config.num_frames} evenly, first to last",
            "pooling": pooling + (" and fc_norm" if self._classifies and self._model.fc_norm is not None else ""),
        }


def even_frames(have: int, want: int) -> np.ndarray:
    """Numbers (want,) of frames from the first to the last of `have`, evenly, halves to the later one."""
    return np.floor(np.linspace(0, have - 1, want) + 0.5).astype(np.int64)
