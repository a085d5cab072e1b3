"""Inception Score (Salimans et al. 2016) of frames, Inception given by path; there is nothing to compare with.

In: clips, of which the frames named by `frames` are the images. Out: the mean over `splits` of exp(mean KL(p(y|x) ||
p(y))), with its spread over the splits as the papers give it, and an interval over clips. A clip is wholly in one
split. Values of different N or splits cannot be compared: the marginal of few frames is too close to each of them, so
the score grows with N, and the splits of the publications (10) make it smaller still. Letters: N n frames, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from cineloop.errors import NothingMatchedError
from v2t_eval.core.features import BaseExtractor
from v2t_eval.core.measurement import Evidence, Observation
from v2t_eval.core.metric import BaseMetric, Figure, Summary
from v2t_eval.core.sample import Sample
from v2t_eval.distribution.detectors import USUAL_FRAMES, check_rule, frame_positions, open_inception
from v2t_eval.distribution.frechet import as_matrix
from v2t_eval.distribution.metric import INTERVAL, FeatureSet, around
from v2t_eval.distribution.resampling import NUM_GROUPS, groups_of, members

NUM_CLASSES = 1008  # of the file; 1000 of ImageNet and 8 that mean nothing
_TINY = float(np.finfo(np.float64).tiny)


def inception_score(probabilities: np.ndarray) -> float:
    """The score of one split, probabilities (N, C); a class of probability 0 adds nothing.

    Raises:
        ValueError: no frame, values that are not finite, or rows that are no probabilities.
    """
    probabilities = as_matrix(probabilities)
    sums = probabilities.sum(axis=1)
    if probabilities.min() < 0 or np.abs(sums - 1).max() > 1e-3:
        raise ValueError(f"probabilities must be >= 0 and sum to 1, got sums from {sums.min():.6f} to {sums.max():.6f}")
    probabilities = probabilities / sums[:, None]  # float32 rows sum to 1 only nearly
    marginal = probabilities.mean(axis=0)  # (C,)
    logs = np.log(np.maximum(probabilities, _TINY)) - np.log(np.maximum(marginal, _TINY))  # (N, C)
    return max(1.0, float(np.exp((probabilities * logs).sum(axis=1).mean())))


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Choices of the Inception Score.

    Args:
        weights: the Inception TorchScript file, "PATH" or "PATH#sha256".
        frames: which frames of a clip are the images: all, first, middle, uniform-N.
        splits: parts whose scores are averaged; 10 in every paper, 1 for all frames at once.
        minimum: frames below which no verdict may rest on the value.
        seed: of the splits.
    """

    weights: str = ""
    frames: str = USUAL_FRAMES
    splits: int = 10
    minimum: int = 512
    seed: int = 0

    def __post_init__(self) -> None:
        check_rule(self.frames)
        if self.splits < 1 or self.minimum < 1:
            raise ValueError(f"splits and minimum must be at least 1, got {self.splits} and {self.minimum}")


class Metric(BaseMetric):
    name = "inception_score"
    level = "set"
    needs = ("frames",)
    value_range = (1.0, float(NUM_CLASSES))
    reduction = "set"
    detects = "whether single frames show one clear ImageNet class each, and many classes together"
    misses = "all motion; variety within a class; whether anything looks like the reference; whether prompts are met"
    requires = "the InceptionV3 TorchScript file of StyleGAN2, by path"
    of_set = ("splits", "minimum", "seed")
    named = ("frames", "splits")
    hidden = ("weights",)
    Settings: ClassVar[type[Any]] = Settings

    def open(self) -> BaseExtractor:
        return open_inception(self.name, self.settings.weights)

    def prepare(self) -> None:
        self.open()

    def describe(self) -> dict[str, str]:
        return dict(self.open().fingerprint())

    def measure(self, sample: Sample) -> Evidence:
        """`features`: float32 (n, C) class probabilities of the picked frames.

        Raises:
            ItemError: MODEL_ERROR for values that are not finite.
        """
        extractor = self.open()
        pixels = sample.frames.pixels[frame_positions(sample.frames, self.settings.frames)]  # (n, H, W, 3)
        key = ("picked frames' classes", extractor.name, extractor.preprocess, self.settings.frames)
        return {"features": sample.once(key, lambda: extractor.class_probabilities(pixels))}

    def summarise(self, rows: Sequence[Observation], references: Sequence[Observation]) -> Summary:
        """See the module's head.

        Raises:
            NothingMatchedError: fewer clusters than splits.
        """
        frames, num = FeatureSet.of(rows), self.settings.splits
        clusters = len(members(frames.clusters))
        if clusters < num:
            raise NothingMatchedError(
                f"{self.title} needs a clip for each split, got {clusters} independent ones", hint="give splits=1"
            )
        splits = groups_of(frames.clusters, num, self.settings.seed)
        scores = _split_scores(frames.features, splits)
        value = float(np.mean(scores))
        groups_num = min(NUM_GROUPS, clusters // num)  # so many that no split ever loses its last clip
        left, notes = None, [f"{num} splits; {len(frames)} frames of {frames.clips} clips"]
        if groups_num >= 2:
            left = self._left_out(frames, splits, groups_num)
            notes.append(INTERVAL)
        else:
            notes.append("No interval: too few clips to leave any out of every split.")
        figures = {self.name: around(value, left, 1.0, len(frames), {"splits": num})}
        if num > 1:
            spread = float(np.std(scores))
            figures["split_spread"] = Figure(value=spread, low=spread, high=spread, n=num)
            notes.append("split_spread: standard deviation over the splits, what papers print after the score.")
        below = len(frames) < self.settings.minimum
        if below:
            notes.append(f"N below minimum: no verdict ({self.settings.minimum} frames are needed).")
        counts = {"clips": frames.clips, "vectors": len(frames), "below_minimum": int(below)}
        items = [{"id": row.id, "value": None} for row in rows]
        return Summary(headline=self.name, figures=figures, items=items, counts=counts, notes=tuple(notes))

    def _left_out(self, frames: FeatureSet, splits: np.ndarray, num: int) -> np.ndarray:
        """Values (num,): every split leaves out its own first group of clips, then its second ..."""
        groups = np.empty(len(frames), dtype=np.int64)
        for split in range(self.settings.splits):
            inside = np.flatnonzero(splits == split)
            groups[inside] = groups_of([frames.clusters[number] for number in inside], num, self.settings.seed)
        return np.array([np.mean(_split_scores(frames.features[groups != g], splits[groups != g])) for g in range(num)])


def _split_scores(probabilities: np.ndarray, splits: np.ndarray) -> list[float]:
    return [inception_score(probabilities[splits == number]) for number in range(int(splits.max()) + 1)]
