"""Consistency within a clip, and for long clips also between its pieces: subject and background consistency.

In: frames and a frozen model for them. Out: `Consistency`, the metric both dimensions are. Formula:
`v2t_eval.vbench.consistency`; fusion: `v2t_eval.vbench.long`. Letters: T frames, D width of the features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from v2t_eval.features import frame_features
from v2t_eval.metric import Evidence, Figure, Measured
from v2t_eval.models import file_sha256
from v2t_eval.sample import Sample
from v2t_eval.vbench.backbone import describe_backbone, open_backbone
from v2t_eval.vbench.consistency import consistency
from v2t_eval.vbench.dimension import Dimension, DimensionSettings, Part
from v2t_eval.vbench.long import PIECE_S, fuse, read_mapping, sample_pieces
from v2t_eval.vbench.picks import pairs_apart


@dataclass(frozen=True, kw_only=True)
class ConsistencySettings(DimensionSettings):
    """Attributes in addition to those of every dimension:

    model: a frame extractor, see `v2t_eval.features`; "" for the dimension's usual one.
    within, between: weights of consistency within pieces and between their first frames, of a long clip. The reference
        has 1 and 0, and .5 and .5 for developers.
    between_model: extractor for the first frames of pieces (the reference has DINOv2 and DreamSim); "" for `model`.
    mapping: file with the quantile table that brings `between` to the scale of `within`.
    """

    model: str = ""
    within: float = 1.0
    between: float = 0.0
    between_model: str = ""
    mapping: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.within < 0 or self.between < 0 or self.within + self.between == 0:
            raise ValueError(f"within and between must be weights, got {self.within} and {self.between}")
        if self.between and not (self.long and self.mapping):
            raise ValueError("between > 0 needs long=true and mapping=FILE, the quantile table of VBench-Long")


class Consistency(Dimension):
    """See the module's head.

    Class attributes: `usual_model`, the extractor for model="", and `own_models`, those that are the reference's.
    """

    pooled = "frames"
    reduction = "mean_of_clips"
    Settings = ConsistencySettings
    usual_model: ClassVar[str] = ""
    own_models: ClassVar[tuple[str, ...]] = ()

    def backbone(self) -> str:
        """The extractor's name."""
        return self.settings.model or self.usual_model

    def is_reference(self) -> bool:
        """Whether it is the reference's own."""
        return self.backbone() in self.own_models

    def prepare(self) -> None:
        """Load the extractors and the table."""
        self._extractor = open_backbone(self.backbone(), compat=self.compat)
        between = self.settings.between_model
        self._between = open_backbone(between, compat=self.compat) if between else self._extractor
        self._table = read_mapping(self.settings.mapping) if self.settings.mapping else None

    def describe(self) -> dict[str, str]:
        """Extractors and table."""
        self.ready()
        found = describe_backbone(self._extractor)
        if self.settings.between:
            found |= {f"between {key}": value for key, value in self._between.fingerprint().items()}
            found["mapping"] = file_sha256(self.settings.mapping)
        return found

    def ready(self) -> None:
        """Load what is not loaded yet."""
        if not hasattr(self, "_extractor"):
            self.prepare()

    def part(self, sample: Sample, start: int, stop: int) -> Part:
        """One term for each pair of frames."""
        self.ready()
        features = frame_features(sample, self._extractor)[start:stop]  # (T, D)
        times = sample.frames.times_s[start:stop]
        pairs = pairs_apart(times, self.pair_fps())
        total, count = consistency(features, pairs)
        return Part(sum=total, count=count, more={"apart_s": float(times[pairs[0][1]] - times[pairs[0][0]])})

    def measure(self, sample: Sample) -> Evidence:
        """As every dimension; of a long clip fused with the consistency between pieces, where that has a weight."""
        evidence = super().measure(sample)
        settings = self.settings
        if not settings.between:
            return evidence | {"value": settings.within * evidence["value"], "sum": settings.within * evidence["sum"]}
        starts = [start for start, _ in sample_pieces(sample, PIECE_S, compat=self.compat)]
        between = None
        if len(starts) > 1:
            total, count = consistency(self._between.embed_frames(sample.frames.pixels[starts]))
            between = total / count
        value = fuse(evidence["value"], between, (settings.within, settings.between), self._table)
        more = evidence["more"] | {"within": evidence["value"], "between": between}
        return evidence | {"value": value, "more": more}

    def figures(self, rows: Sequence[Measured]) -> dict[str, Figure]:
        """Fused clips have no terms of their own: their mean is over clips."""
        return {self.name: self.mean(rows)} if self.settings.between else super().figures(rows)

    def counts(self, rows: Sequence[Measured]) -> dict[str, int]:
        """Clips of one piece, which have nothing between pieces."""
        if not self.settings.between:
            return {}
        return {"one_piece": sum(row.evidence["more"]["between"] is None for row in rows)}
