"""`starter-tower`: the vision tower of the shipped captioner, a vector for each frame.

In: frames, prepared as the captioner's own processor does (stretched to its size, OpenCV). Out: the mean of a frame's
patch tokens. It has seen the cartoon world and nothing else.
Letters: n frames, N patches, D width of the tower.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cineloop.documents import read_json
from cineloop.errors import MissingDependencyError
from v2t_eval.core.features import BaseExtractor, versions
from v2t_eval.core.models import file_sha256

if TYPE_CHECKING:
    from torch import Tensor


class Extractor(BaseExtractor):
    preprocesses = ("captioner",)

    def load(self) -> None:
        from safetensors import SafetensorError
        from transformers.utils import logging as transformers_logging

        from v2t.backends.local import STARTER
        from v2t.model import CineloopForConditionalGeneration
        from v2t.model.video_processing import CineloopVideoProcessor

        transformers_logging.disable_progress_bar()
        self.folder = STARTER
        try:
            settings = read_json(STARTER / "processor_config.json")["video_processor"]
            model: Any = CineloopForConditionalGeneration.from_pretrained(
                str(STARTER), local_files_only=True, use_safetensors=True, dtype="float32"
            )
        except (OSError, KeyError, ValueError, RuntimeError, SafetensorError) as error:
            raise MissingDependencyError(f"cannot load the model in {STARTER}: {error}", code="MODEL") from error
        settings.pop("video_processor_type", None)
        self._processor: Any = CineloopVideoProcessor(**settings)
        self._tower = model.model.vision_tower.to(self.device).eval()

    def _embed(self, pixels: np.ndarray) -> Tensor:
        import torch

        from v2t.model.clips import fit_frames

        size = self._processor.size
        fitted = fit_frames(pixels, (size["height"], size["width"]), self._processor.fit)  # (n, h, w, 3)
        values = torch.from_numpy(np.ascontiguousarray(fitted)).to(self.device).movedim(-1, 1).float()
        mean, std = (
            torch.tensor(stated, device=self.device).view(3, 1, 1)
            for stated in (self._processor.image_mean, self._processor.image_std)
        )
        tokens = self._tower((values * self._processor.rescale_factor - mean) / std).last_hidden_state  # (n, N, D)
        return tokens.mean(1)  # (n, D)

    def describe(self) -> dict[str, str]:
        return {
            "model": "starter-tower",
            "weights": file_sha256(self.folder / "model.safetensors"),
            "preprocess": f"{self._processor.fit} to {self._processor.size['height']}x{self._processor.size['width']}",
            "pooling": "mean of patch tokens",
            "library": versions("transformers"),
        }
