"""`dino:ID_OR_FOLDER`: the class token of DINO or DINOv2 for each frame.

In: frames, prepared as VBench does ("vbench": the shorter side 224 by tensor bilinear without antialias, no crop) or as
the model's own processor does ("pil"). Out: the class token after the last norm. DINO is a ViT of transformers
(facebook/dino-vitb16), DINOv2 a Dinov2Model. Positions of frames that are no square are interpolated.
Letters: n frames, D width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cineloop.errors import MissingDependencyError
from v2t_eval.core.features import BaseExtractor
from v2t_eval.extractors import hub
from v2t_eval.extractors.pixels import IMAGENET_MEAN, IMAGENET_STD, normalise, tensor_square

if TYPE_CHECKING:
    from torch import Tensor

VBENCH_SIDE = 224


class Extractor(BaseExtractor):
    preprocesses = ("vbench", "pil")

    def load(self) -> None:
        """The model; a pooling layer in its file is left aside, it was not trained."""
        self.folder = hub.model_folder(self.where, "dino")
        kind = hub.config_of(self.folder).get("model_type")
        kinds = {"vit": "ViTModel", "dinov2": "Dinov2Model", "dinov2_with_registers": "Dinov2WithRegistersModel"}
        if kind not in kinds:
            raise MissingDependencyError(
                f"{self.folder} holds a model of type {kind!r}; one of {', '.join(kinds)} is expected", code="MODEL"
            )
        options: dict[str, Any] = {"add_pooling_layer": False} if kind == "vit" else {}
        self._model = hub.load_model(kinds[kind], self.folder, self.device, **options)
        self._interpolates = {"interpolate_pos_encoding": True} if kind == "vit" else {}  # DINOv2 always does
        self._settings = hub.processor_settings(self.folder)

    def _embed(self, pixels: np.ndarray) -> Tensor:
        settings = self._settings
        if self.preprocess == "vbench":
            values = tensor_square(pixels, VBENCH_SIDE, self.device, filter="bilinear", crop=False)
            values = normalise(values, IMAGENET_MEAN, IMAGENET_STD)
        else:
            values = hub.pil_input(pixels, settings, VBENCH_SIDE, self.device, crops=False, resample=2)
            values = normalise(
                values, settings.get("image_mean", IMAGENET_MEAN), settings.get("image_std", IMAGENET_STD)
            )
        return self._model(pixel_values=values, **self._interpolates).last_hidden_state[:, 0]  # (n, D)

    def describe(self) -> dict[str, str]:
        stated = f"vbench {VBENCH_SIDE}" if self.preprocess == "vbench" else f"pil {self._settings}"
        return hub.about(self.name, self.folder, self._model, stated) | {"pooling": "class token"}
