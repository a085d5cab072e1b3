"""VBench's aesthetic quality: LAION's linear head on CLIP ViT-L/14, per frame.

In: frames. Out: the mean over all frames of (w . f / |f| + b) / 10, f the image feature. The head was trained on
OpenAI's weights with QuickGELU; without it values are visibly wrong, which the extractor warns of. The mean does not
depend on the order of frames. Letters: T frames, D width of the features.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cineloop.errors import MissingDependencyError
from v2t_eval.core.features import frame_features, unit
from v2t_eval.core.measurement import Observation
from v2t_eval.core.models import file_sha256
from v2t_eval.core.sample import Sample
from v2t_eval.vbench.dimension import Dimension, FrameSettings, Part, describe_backbone, open_extractor_as

GET_HEAD = (
    "where there is a network: curl -LO "
    "https://github.com/LAION-AI/aesthetic-predictor/raw/main/sa_0_4_vit_l_14_linear.pth && "
    'python -c "import torch; from safetensors.torch import save_file; '
    "save_file(torch.load('sa_0_4_vit_l_14_linear.pth', weights_only=True), 'aesthetic_head.safetensors')\", "
    "then head=aesthetic_head.safetensors"
)


@dataclass(frozen=True, kw_only=True)
class AestheticQualitySettings(FrameSettings):
    """Attributes in addition to those of every dimension:

    model: the extractor the head was trained on, see `v2t_eval.core.features`.
    head: safetensors with `weight` (1, D) and `bias` (1,).
    """

    model: str = "open_clip:ViT-L-14/openai"
    head: str = ""


class Metric(Dimension):
    name = "aesthetic_quality"
    value_range = (-math.inf, math.inf)
    detects = "blur, noise, dull or broken pictures, as people on the web rated them"
    misses = "order and time (shuffled, reversed and frozen clips score alike), whether the prompt is followed"
    requires = "the LAION head as safetensors (head=FILE) and CLIP ViT-L/14 of OpenAI"
    fooled_by_frozen = False
    reference = "CLIP ViT-L/14 with the LAION head"
    families = ("open_clip:", "clip:")
    Settings = AestheticQualitySettings

    def prepare(self) -> None:
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        head = self.settings.head
        if not head:
            raise MissingDependencyError("aesthetic_quality needs LAION's linear head", code="MODEL", hint=GET_HEAD)
        try:
            self._sha256 = file_sha256(head)
            weights = load_file(head)
        except (OSError, SafetensorError, MissingDependencyError) as error:
            raise MissingDependencyError(
                f"cannot read the head {head}: {error}", code="MODEL", hint=GET_HEAD
            ) from error
        shapes = {name: value.shape for name, value in weights.items()}
        if set(shapes) != {"weight", "bias"} or len(shapes["weight"]) != 2 or shapes["weight"][0] != 1:
            raise MissingDependencyError(
                f"{head} holds {shapes}, expected weight (1, D) and bias (1,)", code="MODEL", hint=GET_HEAD
            )
        self._weight = weights["weight"][0].astype(np.float64)  # (D,)
        self._bias = float(weights["bias"].reshape(-1)[0])
        extractor = open_extractor_as(self.settings.model, compat=self.compat, kind="frame")
        width = extractor.embed_frames(np.zeros((1, 32, 32, 3), np.uint8)).shape[1]
        if width != len(self._weight):
            raise MissingDependencyError(
                f"the head needs features of width {len(self._weight)}, {self.settings.model} gives {width}",
                code="MODEL", hint="name the extractor the head was trained on: model=...",
            )  # fmt: skip
        self._extractor = extractor

    def ready(self) -> None:
        if not hasattr(self, "_extractor"):
            self.prepare()

    def describe(self) -> dict[str, str]:
        self.ready()
        return describe_backbone(self._extractor) | {"head": self._sha256}

    def backbone(self) -> str:
        return f"{self.settings.model} with a linear head"

    def is_reference(self) -> bool:
        """Whether the extractor is the reference's; the head is known by its hash alone."""
        own = ("open_clip:ViT-L-14/openai", "open_clip:ViT-L-14-quickgelu/openai", "clip:openai/clip-vit-large-patch14")
        return self.settings.model in own

    def part(self, sample: Sample, start: int, stop: int) -> Part:
        """One term for each frame."""
        self.ready()
        features = unit(frame_features(sample, self._extractor)[start:stop])  # (T, D)
        scores = (math.fsum(row) + self._bias for row in features * self._weight)
        return Part(sum=math.fsum(score / 10 for score in scores), count=stop - start, more={})

    def notes(self, rows: Sequence[Observation]) -> tuple[str, ...]:
        return (*super().notes(rows), *(self._extractor.warnings if hasattr(self, "_extractor") else ()))
