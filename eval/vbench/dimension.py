"""Bases of the dimensions of VBench: what all share, and those of frames.

In: samples. Out: `VBenchMetric`, and `Dimension`, one whose clip value is sum / count of terms over the clip, or over
each piece of a long clip. The set's value is either the mean over clips, or the mean over terms ("frames": the
reference's for subject and background consistency); the other of the two is reported as a figure of its own.
A frozen clip is perfectly consistent, smooth and steady (defect D9). It is always named; in `fixed` mode a dimension
that it fools gives it no value and leaves it out of the figures, so that it can never be a pass.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum
from typing import Any, ClassVar, Literal

import numpy as np

from cineloop.errors import ItemError, UsageError
from cineloop.plugin import load
from v2t_eval.core.features import BaseExtractor, open_extractor
from v2t_eval.core.measurement import Evidence, Observation
from v2t_eval.core.metric import BaseMetric, Figure, Summary, figure_of_sums
from v2t_eval.core.sample import Sample
from v2t_eval.vbench.long import LONG_FROM_S, PIECE_S, is_long, sample_pieces
from v2t_eval.vbench.still import is_frozen
from v2t_eval.vbench.total import VBenchTotal


@dataclass(frozen=True, kw_only=True)
class DimensionSettings:
    """`mode`: "fixed" repairs the reference's formula; "compat" repeats it with its defects, where the reference's
    backbone can be used. Every dimension adds `long`: cut clips into pieces as VBench-Long does."""

    mode: Literal["fixed", "compat"] = "fixed"


class VBenchMetric(BaseMetric):
    """A dimension of VBench; its evidence has `long_clip`.

    Class attributes, in addition to those of `BaseMetric`:
        piece_s: seconds of the pieces of a long clip.
        reference: what the reference uses for backbone, "" where it has none.
        families: how names of models begin that can be it; none where it cannot be had, and with it no `compat`.

    Raises:
        UsageError: mode=compat with another backbone: its numbers would be comparable with nothing.
    """

    piece_s: ClassVar[float] = PIECE_S
    reference: ClassVar[str] = ""
    families: ClassVar[tuple[str, ...]] = ()
    composite = VBenchTotal
    Settings: ClassVar[type[Any]] = DimensionSettings

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        if self.compat and self.reference and not self.model_name().startswith(self.families):
            hint = f"a model that begins with {' or '.join(self.families)}, or mode=fixed"
            raise UsageError(
                f"{self.name}: mode=compat repeats VBench on its backbone, {self.reference}, "
                + (f"and not on {self.model_name()}" if self.families else "which is not to be had here"),
                hint=hint if self.families else "mode=fixed",
            )

    def model_name(self) -> str:
        """The backbone as the settings name it."""
        return str(getattr(self.settings, "model", ""))

    @property
    def compat(self) -> bool:
        """The reference's formula and preprocessing, defects and all."""
        return bool(self.settings.mode == "compat")

    def spans(self, sample: Sample) -> list[tuple[int, int]]:
        """(start, stop) of what is measured on its own: the whole clip, or its pieces."""
        if self.settings.long:
            return sample_pieces(sample, self.piece_s, compat=self.compat)
        return [(0, len(sample.frames))]

    def summarise(self, rows: Sequence[Observation], references: Sequence[Observation]) -> Summary:
        """Figures, items, counts and notes, each by its own method."""
        kept = [row for row in rows if self.counts_in(row)]
        return Summary(
            headline=self.name,
            figures=self.figures(kept) if kept else {},
            items=[self.item(row) for row in rows],
            counts=self.counts(rows),
            notes=self.notes(rows),
            scored=len(kept),
        )

    def counts_in(self, row: Observation) -> bool:
        """Whether the clip is among those behind the figures."""
        return True

    def figures(self, rows: Sequence[Observation]) -> dict[str, Figure]:
        """Of the clips that count, at least one."""
        return {self.name: self.mean(rows)}

    @abstractmethod
    def item(self, row: Observation) -> dict[str, Any]:
        """The report item of one clip."""

    def counts(self, rows: Sequence[Observation]) -> dict[str, int]:
        """Counts in addition to the score."""
        return {}

    @abstractmethod
    def notes(self, rows: Sequence[Observation]) -> tuple[str, ...]:
        """Caveats as sentences."""

    def long_notes(self, rows: Sequence[Observation]) -> list[str]:
        """A note on clips that need the long form."""
        num = sum(bool(row.evidence["long_clip"]) for row in rows)
        if self.settings.long or not num:
            return []
        return [f"{num} of {len(rows)} clips last {LONG_FROM_S:g} s or more: VBench-Long cuts them (long=true)"]


@dataclass(frozen=True, kw_only=True)
class FrameSettings(DimensionSettings):
    """Attributes in addition to those of every dimension:

    fps: `fixed` compares frames 1 / fps seconds apart, whatever the file's own rate; 0 for neighbours.
    """

    fps: float = 8.0
    long: bool = False

    def __post_init__(self) -> None:
        if not (np.isfinite(self.fps) and self.fps >= 0):
            raise ValueError(f"fps must be 0 or above, got {self.fps}")


@dataclass(frozen=True, kw_only=True)
class Part:
    """What one piece gives: the sum of its terms and how many they are; `more` goes into the clip's item."""

    sum: float
    count: int
    more: dict[str, Any]


class Dimension(VBenchMetric):
    """A metric of terms over frames; see the module's head.

    Class attributes, in addition to those of `BaseMetric`:
        pooled: "frames" or "clips", which mean is the set's value.
        fooled_by_frozen: a frozen clip gets the best value.
    """

    pooled: ClassVar[str] = "clips"
    fooled_by_frozen: ClassVar[bool] = True
    needs = ("frames",)
    Settings: ClassVar[type[Any]] = FrameSettings

    @abstractmethod
    def part(self, sample: Sample, start: int, stop: int) -> Part:
        """The terms of frames `start` .. `stop` - 1 of the sample's clip.

        Raises:
            ItemError: TOO_SHORT, they are too few.
        """

    def backbone(self) -> str:
        """What is used in place of the reference's backbone, by name."""
        return ""

    def is_reference(self) -> bool:
        """Whether that is the reference's own backbone."""
        return not self.reference

    def pair_fps(self) -> float:
        """Rate at which frames are compared; 0 for neighbours, as the reference does."""
        return 0.0 if self.compat else float(self.settings.fps)

    def measure(self, sample: Sample) -> Evidence:
        """`value` and its `sum` and `count`, whether the clip is frozen, and the values of pieces of a long clip."""
        spans = self.spans(sample)
        parts, too_short = [], None
        for start, stop in spans:
            try:
                parts.append(self.part(sample, start, stop))
            except ItemError as error:
                if error.code != "TOO_SHORT":
                    raise
                too_short = error
        if not parts:
            raise too_short or ItemError(f"{sample.id} has no piece", code="TOO_SHORT")
        return {
            "value": fsum(part.sum / part.count for part in parts) / len(parts),
            "sum": fsum(part.sum for part in parts),
            "count": sum(part.count for part in parts),
            "frozen": is_frozen(sample),
            "long_clip": is_long(sample),
            "more": parts[0].more if len(spans) == 1 else {"pieces": [part.sum / part.count for part in parts]},
        }

    def counts_in(self, row: Observation) -> bool:
        """Whether the clip is among those behind the figures."""
        return self.compat or not (self.fooled_by_frozen and row.evidence["frozen"])

    def figures(self, rows: Sequence[Observation]) -> dict[str, Figure]:
        """Headline, and the mean of the other kind where a clip has several terms."""
        if self.pooled == "frames":
            return {self.name: mean_of_terms(rows, self.value_range), "mean_of_clips": self.mean(rows)}
        return {self.name: self.mean(rows)}

    def item(self, row: Observation) -> dict[str, Any]:
        """The report item of one clip; a clip that does not count has its value under `raw`."""
        evidence = row.evidence
        shown = {"value": evidence["value"]} if self.counts_in(row) else {"value": None, "raw": evidence["value"]}
        return {"id": row.id, **shown, "frozen": bool(evidence["frozen"]), **evidence["more"]}

    def counts(self, rows: Sequence[Observation]) -> dict[str, int]:
        """Frozen clips."""
        return {"frozen": sum(bool(row.evidence["frozen"]) for row in rows)}

    def notes(self, rows: Sequence[Observation]) -> tuple[str, ...]:
        """Backbone, mode, frozen clips, clips that need the long form."""
        notes = []
        if self.reference:
            whose = "the reference's own" if self.is_reference() else f"the reference has {self.reference}"
            notes.append(f"backbone: {self.backbone()} ({whose})")
        if not self.compat or not self.is_reference():
            what = "formula repaired (mode fixed)" if not self.compat else "other backbone"
            notes.append(f"not a VBench leaderboard number: {what}")
        frozen = sum(bool(row.evidence["frozen"]) for row in rows)
        if frozen and self.fooled_by_frozen:
            what = "count as in the reference, with the best value" if self.compat else "are left out, never a pass"
            notes.append(f"{frozen} of {len(rows)} clips are frozen; they {what}")
        return (*notes, *self.long_notes(rows))


def mean_of_terms(rows: Sequence[Observation], value_range: tuple[float, float]) -> Figure:
    """Sum of all terms over their number, with its interval by cluster."""
    sums = np.array([[row.evidence["sum"], row.evidence["count"]] for row in rows], dtype=np.float64)  # (n, 2)
    value = fsum(sums[:, 0]) / float(sums[:, 1].sum())
    return figure_of_sums(rows, sums, lambda d: d[:, 0] / d[:, 1], value_range, value)


def open_extractor_as(name: str, *, compat: bool, kind: str = "") -> BaseExtractor:
    """The extractor `name`; in `compat` with VBench's own preprocessing (resize of the tensor without antialias), where
    the family knows it. `kind`: the one that it must have."""
    family = load("v2t_eval.extractors", name.partition(":")[0].replace("-", "_"), "Extractor").Extractor
    if kind and family.kind != kind:
        raise UsageError(f"{name} embeds clips; a model for single frames is wanted", hint="such as starter-tower")
    return open_extractor(name, preprocess="vbench" if compat and "vbench" in family.preprocesses else "")


def describe_backbone(extractor: BaseExtractor) -> dict[str, str]:
    """Its fingerprint, each key under `backbone`."""
    return {f"backbone {key}": value for key, value in extractor.fingerprint().items()}
