"""`vjepa:ID_OR_FOLDER`: a vector for a clip by V-JEPA 2 of transformers, the features JEDi compares.

In: a clip; as many frames as the model was made for are taken evenly, first and last among them. Out: the attentive
pooler of the SSv2 probe where the model is a classifier, else the mean of the encoder's tokens. JEDi itself
(arXiv:2410.05203) uses the first V-JEPA, which transformers does not have: name the model with the number.
Frames: shorter side 8/7 of the crop by PIL bilinear, the middle, ImageNet's mean and deviation ("processor"), or
squashed to the crop ("squash").
Letters: F frames the model takes, N tokens, D width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cineloop.errors import MissingDependencyError
from cineloop.video.frames import Frames
from v2t_eval.core.features import BaseExtractor
from v2t_eval.extractors import hub
from v2t_eval.extractors.pixels import IMAGENET_MEAN, IMAGENET_STD, normalise, pil_square
from v2t_eval.extractors.videomae import even_frames

if TYPE_CHECKING:
    from torch import Tensor


class Extractor(BaseExtractor):
    kind = "clip"
    preprocesses = ("processor", "squash")

    def load(self) -> None:
        self.folder = hub.model_folder(self.where, "vjepa")
        config = hub.config_of(self.folder)
        if config.get("model_type") != "vjepa2":
            raise MissingDependencyError(
                f"{self.folder} holds a model of type {config.get('model_type')!r}, not V-JEPA 2", code="MODEL"
            )
        self._classifies = "VJEPA2ForVideoClassification" in (config.get("architectures") or [])
        kind = "VJEPA2ForVideoClassification" if self._classifies else "VJEPA2Model"
        self._model = hub.load_model(kind, self.folder, self.device)

    def _embed_clip(self, frames: Frames) -> Tensor:
        pixels = frames.pixels[even_frames(len(frames), self._model.config.frames_per_clip)]  # (F, H, W, 3)
        values = self._to_input(pixels)[None]  # (1, F, 3, h, w)
        if not self._classifies:
            return self._model.get_vision_features(values)[0].mean(0)  # (D,)
        return self._model.pooler(self._model.vjepa2.get_vision_features(values))[0]  # (D,)

    def _to_input(self, pixels: np.ndarray) -> Tensor:
        crop = int(self._model.config.crop_size)
        squash = self.preprocess == "squash"
        side = crop if squash else int(crop * 256 / 224)
        values = pil_square(pixels, side, self.device, squash=squash, filter="bilinear", crop=crop, floor=True)
        return normalise(values, IMAGENET_MEAN, IMAGENET_STD)

    def describe(self) -> dict[str, str]:
        return hub.about(self.name, self.folder, self._model, f"{self.preprocess} {self._model.config.crop_size}") | {
            "frames": f"{self._model.config.frames_per_clip} evenly, first to last",
            "pooling": "attentive pooler" if self._classifies else "mean of tokens",
        }
