"""`hf:ID_OR_FOLDER`: things by words, with a zero-shot detector of transformers (OWL-ViT, OWLv2, Grounding DINO).

In: 16 frames, nouns, colours. Out: regions whose label is the noun. Where colours are asked for, each noun is looked
for in every colour ("red car", "blue car" ...), and the one that fits a region best is its caption. A region is found
from the model's usual score on; of regions of one noun that overlap by half the best is kept. Frames go in one at a
time at their stored size, as the model's own processor prepares them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cineloop.errors import MissingDependencyError
from v2t_eval.core import models
from v2t_eval.core.sample import Sample
from v2t_eval.extractors import hub
from v2t_eval.semantics.detectors import NUM_FRAMES
from v2t_eval.semantics.formulas import Frame, Region, iou
from v2t_eval.vbench.picks import middle_indices

if TYPE_CHECKING:
    from collections.abc import Sequence

_THRESHOLDS = {"owlvit": 0.1, "owlv2": 0.1, "grounding-dino": 0.25, "mm-grounding-dino": 0.25}
_SAME = 0.5  # of two regions of one noun that overlap by more, one is a double


class Detector:
    def __init__(self, where: str) -> None:
        from transformers import AutoProcessor

        self.name = f"hf:{where}"
        self._folder = hub.model_folder(where, "hf")
        kind = str(hub.config_of(self._folder).get("model_type"))
        if kind not in _THRESHOLDS:
            raise MissingDependencyError(
                f"{where} holds a model of type {kind!r}; one of {', '.join(_THRESHOLDS)} is expected", code="MODEL"
            )
        self._threshold, self._takes_many = _THRESHOLDS[kind], kind.startswith("owl")
        device = models.device()
        self._model = hub.load_model("AutoModelForZeroShotObjectDetection", self._folder, device)
        try:
            self._processor: Any = AutoProcessor.from_pretrained(
                str(self._folder), local_files_only=True, trust_remote_code=False
            )
        except (OSError, ValueError, ImportError) as error:
            raise MissingDependencyError(f"no processor in {self._folder}: {error}", code="MODEL") from error

    def fingerprint(self) -> dict[str, str]:
        stated = f"{type(self._processor.image_processor).__name__} of the folder, scores from {self._threshold} on"
        return hub.about(self.name, self._folder, self._model, stated)

    def regions(self, sample: Sample, nouns: tuple[str, ...], colors: tuple[str, ...] = ()) -> list[Frame]:
        pixels = sample.frames.pixels
        phrases = {f"{color} {noun}": noun for noun in nouns for color in colors} or {noun: noun for noun in nouns}
        picked = middle_indices(NUM_FRAMES, len(pixels))

        def make() -> dict[int, Frame]:
            return {index: self._frame(pixels[index], phrases) for index in sorted(set(picked))}

        frames = sample.once(("regions", self.name, tuple(phrases)), make)
        return [frames[index] for index in picked]

    def _frame(self, pixels: np.ndarray, phrases: dict[str, str]) -> Frame:
        """Regions of one frame uint8 (H, W, 3), best first, without doubles."""
        labels = list(phrases)
        boxes = (
            self._detect(pixels, labels) if self._takes_many else [r for t in labels for r in self._detect(pixels, [t])]
        )
        kept: list[Region] = []
        for phrase, score, box in sorted(boxes, key=lambda each: -each[1]):
            noun = phrases[phrase]
            if not any(other.label == noun and iou(other.box, box) > _SAME for other in kept):
                kept.append(Region(label=noun, box=box, score=score, caption=f"a {phrase}"))
        return kept

    def _detect(
        self, pixels: np.ndarray, phrases: Sequence[str]
    ) -> list[tuple[str, float, tuple[float, float, float, float]]]:
        import torch

        # OWL takes a list of phrases for a picture, Grounding DINO one text whose phrases end in a full stop.
        text = [list(phrases)] if self._takes_many else [f"{phrases[0]}."]
        inputs = self._processor(text=text, images=[pixels], return_tensors="pt").to(self._model.device)
        with torch.inference_mode():
            outputs = self._model(**inputs)
        options = {} if self._takes_many else {"input_ids": inputs["input_ids"]}
        (result,) = self._processor.post_process_grounded_object_detection(
            outputs, threshold=self._threshold, target_sizes=[pixels.shape[:2]], **options
        )
        numbers = result["labels"].tolist() if self._takes_many else [0] * len(result["scores"])
        return [
            (phrases[number], float(score), (float(box[0]), float(box[1]), float(box[2]), float(box[3])))
            for number, score, box in zip(numbers, result["scores"], result["boxes"], strict=True)
        ]
