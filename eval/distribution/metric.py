"""Base of the metrics of two sets of clips: features as evidence, and a distance with interval, floor and limits.

In: clips, and a second set of clips to compare with. Out: the distance with N of both sides, estimator, dimension, the
interval, the same-distribution floor, the distance of endlessly many clips, and a plain word where N is too small for
a verdict. A metric says which vectors a clip gives (`open` and `vectors`) and what is made of them (`estimators`).
Letters: N M vectors, d dimensions, n vectors of one clip (1, or its frames).
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from cineloop.errors import NothingMatchedError, UsageError
from v2t_eval.core.features import BaseExtractor
from v2t_eval.core.measurement import Evidence, Observation
from v2t_eval.core.metric import BaseMetric, Figure, Summary
from v2t_eval.core.sample import Sample
from v2t_eval.core.statistics import jackknife_interval, student
from v2t_eval.distribution.estimators import Estimator
from v2t_eval.distribution.resampling import NUM_GROUPS, floor_values, limit, replicates

INTERVAL = (
    "Intervals: delete-a-group jackknife over clusters, Student's t corrected for skew. They say how far the value "
    "moves with other clips of the same number; what few clips add to every such distance is in the value, and shows "
    "in the floor."
)


@dataclass(frozen=True, kw_only=True)
class DistributionSettings:
    """What all these metrics let one choose.

    Args:
        minimum: vectors a side below which no verdict may rest on the value; d+1 where that is more.
        floor_splits: random halvings of the reference for the floor.
        seed: of everything drawn.
    """

    minimum: int = 512
    floor_splits: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        if self.minimum < 2:
            raise ValueError(f"minimum must be at least 2, got {self.minimum}")
        if self.floor_splits < 2:
            raise ValueError(f"floor_splits must be at least 2, got {self.floor_splits}")


@dataclass(frozen=True, eq=False)
class FeatureSet:
    """Vectors (N, d) of one side and the cluster of each; `clips`: how many clips gave them."""

    features: np.ndarray
    clusters: tuple[str, ...]
    clips: int

    @classmethod
    def of(cls, rows: Sequence[Observation]) -> FeatureSet:
        """From the evidence of clips, in its order.

        Raises:
            ValueError: vectors of different lengths.
        """
        parts = [np.atleast_2d(np.asarray(row.evidence["features"], dtype=np.float64)) for row in rows]  # (n, d) each
        clusters = tuple(row.cluster for row, part in zip(rows, parts, strict=True) for _ in part)
        return cls(np.concatenate(parts), clusters, len(rows))

    def __len__(self) -> int:
        return len(self.features)


class DistributionMetric(BaseMetric):
    """A distance between two sets of clips; see the module's head."""

    level = "set"
    needs = ("frames", "reference_clips")
    higher_is_better = False
    value_range = (0.0, math.inf)
    reduction = "set"
    of_set = ("estimator", "minimum", "floor_splits", "seed", "divisor", "degree", "gamma", "coef", "unbiased", "form",
              "num_subsets", "subset_size")  # fmt: skip
    Settings: ClassVar[type[Any]] = DistributionSettings

    @abstractmethod
    def open(self) -> BaseExtractor:
        """The model that makes the vectors.

        Raises:
            MissingDependencyError: it is not available; the message says how to get it.
        """

    @abstractmethod
    def vectors(self, sample: Sample, extractor: BaseExtractor) -> np.ndarray:
        """float32 (d,) or (n, d) of a clip.

        Raises:
            ItemError: this clip gives none.
        """

    @abstractmethod
    def estimators(self) -> dict[str, Estimator]:
        """The score, by the metric's name, and the other reported figures."""

    def prepare(self) -> None:
        self.open()

    def describe(self) -> dict[str, str]:
        return dict(self.open().fingerprint()) | {"estimator": str(self.estimators()[self.name])}

    def measure(self, sample: Sample) -> Evidence:
        """`features`: float32 (d,), or (n, d) for the frames of a clip.

        Raises:
            ItemError: what `vectors` raises; MODEL_ERROR, the extractor gave numbers that are not finite.
        """
        return {"features": np.asarray(self.vectors(sample, self.open()), dtype=np.float32)}

    def summarise(self, rows: Sequence[Observation], references: Sequence[Observation]) -> Summary:
        """See the module's head.

        Raises:
            UsageError: there is no second set. NothingMatchedError: too few vectors on a side.
        """
        if not references:
            raise UsageError(
                f"{self.title} compares two sets of clips, and there is no second one", hint="give reference clips"
            )
        own, reference = FeatureSet.of(rows), FeatureSet.of(references)
        estimators = self.estimators()
        least = estimators[self.name].least
        if min(len(own), len(reference)) < least:
            raise NothingMatchedError(
                f"{self.title} needs {least} vectors a side, got {len(own)} and {len(reference)}",
                hint="give more clips",
            )
        notes = [f"{estimators[self.name]}; {_sizes(own, reference)}"]
        figures = {name: self._figure(estimator, own, reference) for name, estimator in estimators.items()}
        known = figures[self.name].high > figures[self.name].low
        notes.append(INTERVAL if known else "No interval: too few clusters to leave any out.")
        self._add_limit(figures, notes, own, reference)
        floor_n = self._add_floor(figures, notes, own, reference)
        dimension = own.features.shape[1]
        minimum = max(self.settings.minimum, dimension + 1)
        below = min(len(own), len(reference)) < minimum
        if below:
            notes.append(f"N below minimum: no verdict ({minimum} vectors a side are needed).")
        counts = {
            "clips": own.clips, "reference_clips": reference.clips, "vectors": len(own),
            "reference_vectors": len(reference), "dimension": dimension, "minimum": minimum, "floor_vectors": floor_n,
            "below_minimum": int(below),
        }  # fmt: skip
        items = [{"id": row.id, "value": None} for row in rows]
        return Summary(headline=self.name, figures=figures, items=items, counts=counts, notes=tuple(notes))

    def _figure(self, estimator: Estimator, own: FeatureSet, reference: FeatureSet) -> Figure:
        value = estimator.value(own.features, reference.features)
        left = replicates(
            lambda groups, other: estimator.without_each(own.features, reference.features, groups, other),
            own.clusters, reference.clusters, seed=self.settings.seed,
        )  # fmt: skip
        detail = {"reference_vectors": len(reference), "dimension": own.features.shape[1]}
        return around(value, left, estimator.lowest, len(own), detail)

    def _add_limit(self, figures: dict[str, Figure], notes: list[str], own: FeatureSet, reference: FeatureSet) -> None:
        estimator = self.estimators()[self.name]
        if not estimator.limited:
            return
        estimate = limit(
            own.features, reference.features, own.clusters, reference.clusters, estimator.part, seed=self.settings.seed
        )
        if estimate is None:
            notes.append("No fd_infinity: it needs at least twice d+1 vectors a side.")
            return
        value, fit = estimate
        # What the clips add and what the draws of the fit add are independent; the bias itself hardly varies.
        half, whole = student(NUM_GROUPS - 1, 0.025) * fit, figures[self.name]
        below, above = (math.hypot(half, end - whole.value) for end in (whole.low, whole.high))
        figures["fd_infinity"] = Figure(
            value=value, low=value - below, high=value + above, n=len(own),
            detail={"reference_vectors": len(reference)},
        )  # fmt: skip
        notes.append(
            "fd_infinity: the value for infinitely many clips, by a line through 15 sizes of both sets; it may be "
            "negative by chance."
        )

    def _add_floor(self, figures: dict[str, Figure], notes: list[str], own: FeatureSet, reference: FeatureSet) -> int:
        """Add the distance between halves of the reference; returns the vectors of a half, 0 where there is no
        floor."""
        estimator = self.estimators()[self.name]
        values, size = floor_values(
            reference.features, reference.clusters, len(own), estimator.part,
            splits=self.settings.floor_splits, seed=self.settings.seed,
        )  # fmt: skip
        if len(own) != len(reference):
            notes.append(f"The sides differ in N, {len(own)} and {len(reference)}: compare only values of equal N.")
        if not size:
            notes.append("No floor: the reference is too small to be halved.")
            return 0
        dimension = own.features.shape[1]
        if estimator.limited and size <= dimension:  # its bias falls as 1/N from there on
            notes.append(f"No floor: halves of the reference have {size} vectors, not more than d = {dimension}.")
            return 0
        # Halves of `size` differ by 2/size, the two sides by 1/N + 1/M: bias and null spread are proportional to that.
        values = values * size / 2 * (1 / len(own) + 1 / len(reference))
        low, high = np.quantile(values, (0.025, 0.975))
        figures["floor"] = Figure(value=float(values.mean()), low=float(low), high=float(high), n=size)
        notes.append(
            f"floor: what two sets without any difference would give at these N, from {len(values)} random halvings of "
            f"the reference ({size} vectors each); mean and 95 % range. A value near it shows no difference."
        )
        return size


def around(value: float, left_out: np.ndarray | None, lowest: float, num: int, detail: dict[str, int]) -> Figure:
    """A figure with the interval of its replicates, the lower end not below `lowest`; of no width without any."""
    low, high = (value, value) if left_out is None else jackknife_interval(value, left_out)
    return Figure(value=value, low=min(value, max(lowest, low)), high=high, n=num, detail=detail)


def _sizes(own: FeatureSet, reference: FeatureSet) -> str:
    return (
        f"N = {len(own)} vectors of {own.clips} clips against {len(reference)} of {reference.clips}, "
        f"d = {own.features.shape[1]}"
    )
