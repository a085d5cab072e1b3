"""`action:ID_OR_FOLDER`: actions by a video classifier of transformers, such as VideoMAE trained on Kinetics.

In: 16 frames (or as many as the model was made for). Out: the model's classes in small letters, best first, each with
the sigmoid of its logit, as VBench reads its own classifier. Frames are prepared as for `videomae:` features: shorter
side, centre crop, the mean and deviation of the model's processor.
"""

from __future__ import annotations

from v2t_eval.core import models
from v2t_eval.core.sample import Sample
from v2t_eval.extractors import hub
from v2t_eval.extractors.pixels import IMAGENET_MEAN, IMAGENET_STD, normalise, pil_square
from v2t_eval.semantics.detectors import NUM_FRAMES
from v2t_eval.vbench.picks import middle_indices


class Detector:
    def __init__(self, where: str) -> None:
        self.name = f"action:{where}"
        self._folder = hub.model_folder(where, "action")
        self._device = models.device()
        self._model = hub.load_model("AutoModelForVideoClassification", self._folder, self._device)
        self._settings = hub.processor_settings(self._folder)
        config = self._model.config
        self._num_frames, self._side = int(getattr(config, "num_frames", NUM_FRAMES)), int(config.image_size)
        self.classes = [str(config.id2label[number]).lower().strip() for number in range(config.num_labels)]

    def fingerprint(self) -> dict[str, str]:
        stated = f"{self._num_frames} middle frames, {self._settings or self._side}"
        return hub.about(self.name, self._folder, self._model, stated)

    def actions(self, sample: Sample) -> list[tuple[str, float]]:
        import torch

        pixels = sample.frames.pixels[middle_indices(self._num_frames, len(sample.frames))]  # (F, H, W, 3)
        size = hub.side_of(self._settings.get("size"), self._side)
        with torch.inference_mode():
            values = pil_square(pixels, size, self._device, filter="bilinear", crop=self._side, floor=True)
            mean, std = (self._settings.get(f"image_{name}") for name in ("mean", "std"))
            values = normalise(values, mean or IMAGENET_MEAN, std or IMAGENET_STD)[None]  # (1, F, 3, h, w)
            scores = self._model(pixel_values=values).logits[0].float().sigmoid().tolist()
        return sorted(zip(self.classes, scores, strict=True), key=lambda each: (-each[1], each[0]))
