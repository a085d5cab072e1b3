"""VBench's subject consistency: constant appearance of the subject.

In: frames. Out: the mean over frames of half the cosine to the frame before plus half the cosine to the first frame,
negative ones as 0, by features of a vision model. The reference has DINO ViT-B/16
(`model=dino:facebook/dino-vitb16`); the usual one here is the tower of the shipped captioner, which has seen the
cartoon world alone. On several GPUs the reference takes the mean of clips instead of frames (defect D6), which is the
figure `mean_of_clips`.
Letters: T frames, D width of the features, P pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import fsum
from typing import ClassVar

import numpy as np

from cineloop.errors import ItemError
from v2t_eval.core.features import BaseExtractor, frame_features
from v2t_eval.core.sample import Sample
from v2t_eval.vbench.dimension import Dimension, FrameSettings, Part, describe_backbone, open_extractor_as
from v2t_eval.vbench.picks import pairs_apart


@dataclass(frozen=True, kw_only=True)
class ConsistencySettings(FrameSettings):
    """Attributes in addition to those of every dimension:

    model: a frame extractor, see `v2t_eval.core.features`; "" for the dimension's usual one.
    """

    model: str = ""


class Metric(Dimension):
    """Class attributes: `usual_model`, the extractor for model="", and `own_models`, those that are the reference's."""

    name = "subject_consistency"
    detects = "a subject that changes its appearance, cuts, frames in disorder, noise"
    misses = (
        "whether anything happens (a frozen clip would be perfect; it is named and left out), blur, "
        "the direction of time where frames change evenly"
    )
    requires = "nothing with the starter; for the reference's backbone model=dino:facebook/dino-vitb16"
    reference = "DINO ViT-B/16"
    families: ClassVar[tuple[str, ...]] = ("dino:",)
    usual_model: ClassVar[str] = "starter-tower"
    own_models: ClassVar[tuple[str, ...]] = ("dino:facebook/dino-vitb16",)
    pooled = "frames"
    reduction = "mean_of_clips"
    Settings = ConsistencySettings

    def backbone(self) -> str:
        return self.settings.model or self.usual_model

    model_name = backbone

    def is_reference(self) -> bool:
        return self.backbone() in self.own_models

    @cached_property
    def extractor(self) -> BaseExtractor:
        """The model of the frames, loaded at its first use."""
        return open_extractor_as(self.backbone(), compat=self.compat, kind="frame")

    def prepare(self) -> None:
        _ = self.extractor

    def describe(self) -> dict[str, str]:
        return describe_backbone(self.extractor)

    def part(self, sample: Sample, start: int, stop: int) -> Part:
        features = frame_features(sample, self.extractor)[start:stop]  # (T, D)
        times = sample.frames.times_s[start:stop]
        pairs = pairs_apart(times, self.pair_fps())
        total, count = consistency(features, pairs)
        return Part(sum=total, count=count, more={"apart_s": float(times[pairs[0][1]] - times[pairs[0][0]])})


def consistency(features: np.ndarray, pairs: Sequence[tuple[int, int]] | None = None) -> tuple[float, int]:
    """Sum of the terms and how many there are; pairs are (earlier, later), or neighbours, of features float (T, D).

    Raises:
        ItemError: TOO_SHORT, there is no pair; MODEL_ERROR, a feature is zero or not finite.
    """
    features = np.asarray(features, dtype=np.float64)
    if pairs is None:
        pairs = [(t, t + 1) for t in range(len(features) - 1)]
    if not pairs:
        raise ItemError("one frame has nothing to be consistent with", code="TOO_SHORT", hint="two frames at least")
    length = np.linalg.norm(features, axis=1, keepdims=True)  # (T, 1)
    if not np.isfinite(length).all() or (length == 0).any():
        raise ItemError("a frame's feature is zero or not finite", code="MODEL_ERROR")
    unit = features / length
    earlier, later = unit[[a for a, _ in pairs]], unit[[b for _, b in pairs]]  # (P, D)
    before = np.clip((earlier * later).sum(1), 0.0, 1.0)  # (P,)
    first = np.clip(later @ unit[0], 0.0, 1.0)  # (P,)
    return fsum((before + first) / 2), len(pairs)
