"""`inception:FILE[#sha256]`: the InceptionV3 of 2015 as the TorchScript file of StyleGAN2: the features of FID.

In: frames in 0..255, squashed to 299x299 inside the file as the TensorFlow original does. Out: 2048 numbers of the last
pooling for each frame, and the probabilities of 1008 classes, without the output's bias, for the Inception Score.
Loading the file runs code that is in it, see `v2t_eval.extractors.torchscript`.
Letters: n frames, K classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from v2t_eval.core.features import BaseExtractor, versions
from v2t_eval.extractors.pixels import to_floats
from v2t_eval.extractors.torchscript import load_script

if TYPE_CHECKING:
    from torch import Tensor

HINT = "inception-2015-12-05.pt, linked from github.com/NVlabs/stylegan2-ada-pytorch; name it as inception:PATH#sha256"


class Extractor(BaseExtractor):
    preprocesses = ("tensorflow",)
    has_classes = True

    def load(self) -> None:
        self._model, self._sha256 = load_script(self.where, "inception", self.device, HINT)

    def _embed(self, pixels: np.ndarray) -> Tensor:
        return self._model(to_floats(pixels, self.device), return_features=True)  # (n, 2048)

    def _classify(self, pixels: np.ndarray) -> Tensor:
        return self._model(to_floats(pixels, self.device), no_output_bias=True)  # (n, K)

    def describe(self) -> dict[str, str]:
        return {
            "model": "InceptionV3 2015-12-05 TorchScript",
            "weights": self._sha256,
            "preprocess": "squashed to 299 inside the file",
            "library": versions(),
        }
