"""Spans: how well stretches of time that are named cover those that are true.

In: for each question the spans an answer names, best first, in seconds, and the true ones. Out: the mean temporal
intersection over union of the first span (mIoU), the share of questions of whose first K spans one reaches an IoU of
0.3, 0.5 and 0.7 (R@K), as in moment retrieval (Gao et al. 2017, arXiv:1705.02101), and the mean average precision of
the first ten spans at IoU 0.5, 0.75 and over 0.5, 0.55 ... 0.95, as in QVHighlights (Lei et al. 2021,
arXiv:2107.09609). Of several true spans the one that fits best counts. An answer that names no span has IoU 0 and is
counted as `missing`; a span that ends before it starts, or is beyond the clip, has IoU 0 and is counted as `invalid`;
none is left out. Letters: P spans named, M true spans.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any

import numpy as np

from cineloop.errors import ItemError
from v2t_eval.core.measurement import Evidence, Observation
from v2t_eval.core.metric import BaseMetric, Summary, share_of
from v2t_eval.core.sample import Sample

Span = tuple[float, float]
THRESHOLDS = (0.3, 0.5, 0.7)
AP_THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
AP_SPANS = 10  # spans of an answer that count for the average precision
BEYOND_S = 0.1  # a span may end so much after the clip: times are mostly given in tenths


def tiou(one: Span, other: Span) -> float:
    """Shared seconds over all seconds of two spans, in [0, 1]; two equal moments have 1.

    Raises:
        ValueError: a span that ends before it starts.
    """
    if one[1] < one[0] or other[1] < other[0]:
        raise ValueError(f"a span must not end before it starts, got {one} and {other}")
    shared = max(0.0, min(one[1], other[1]) - max(one[0], other[0]))
    union = (one[1] - one[0]) + (other[1] - other[0]) - shared
    return shared / union if union > 0 else float(one == other)


def is_valid(span: Span, duration_s: float | None = None) -> bool:
    """Whether a span is one at all: finite, in order, and within the clip where its length is known."""
    latest = float("inf") if duration_s is None else duration_s + BEYOND_S
    return all(map(isfinite, span)) and 0 <= span[0] <= span[1] <= latest


def average_precision(ious: np.ndarray, least: float) -> float:
    """Interpolated average precision of spans named best first, in [0, 1]; each true span can be found once.

    Args:
        ious: (P, M).
        least: IoU from which a true span counts as found.
    """
    num_true, taken = ious.shape[1], set()
    hits = np.zeros(len(ious))  # (P,)
    for number, row in enumerate(ious):
        free = [index for index in range(num_true) if index not in taken and row[index] >= least]
        if free:
            taken.add(max(free, key=lambda index: row[index]))
            hits[number] = 1
    precision = np.cumsum(hits) / np.arange(1, len(ious) + 1)
    best_from_here = np.maximum.accumulate(precision[::-1])[::-1]
    return float((best_from_here * hits).sum() / num_true)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """`first`: the K of R@K, each at least 1."""

    first: tuple[int, ...] = (1, 5)

    def __post_init__(self) -> None:
        if not self.first or min(self.first) < 1:
            raise ValueError(f"first must be numbers of spans, at least 1, got {self.first}")


class Metric(BaseMetric):
    name = "spans"
    level = "text"
    needs = ("spans", "reference_spans")
    uses = ("duration_s",)
    detects = "when something begins and ends"
    misses = "what happens; the distance of a span that does not overlap the true one"
    version = 2
    Settings = Settings

    def measure(self, sample: Sample) -> Evidence:
        """The IoU of every span named with every true one, `ious` (P, M).

        Raises:
            ItemError: BAD_ROW, a span is not a pair of seconds; BAD_REFERENCE, no or an invalid true span.
        """
        named, true = (_spans(sample, name) for name in self.needs)
        duration_s = sample.get("duration_s")
        if not true or not all(is_valid(span) for span in true):
            raise ItemError(f"{sample.id}: expected true spans, got {true}", code="BAD_REFERENCE")
        valid = [is_valid(span, duration_s) for span in named]
        ious = [[tiou(span, one) if good else 0.0 for one in true] for span, good in zip(named, valid, strict=True)]
        return {
            "predicted": [[end if isfinite(end) else None for end in span] for span in named],
            "true": [list(span) for span in true],
            "ious": ious,
            "num_invalid": valid.count(False),
        }

    def summarise(self, rows: Sequence[Observation], references: Sequence[Observation]) -> Summary:
        """Figures over the questions; the headline is mIoU."""
        made = [_of_question(row) for row in rows]
        figures = {"mIoU": self.mean(made, "iou")}
        for first in self.settings.first:
            for least in THRESHOLDS:
                hits = [max(row.evidence["best"][:first], default=0.0) >= least for row in made]
                figures[f"R@{first} IoU>={least}"] = share_of(rows, hits)
        figures["mAP"] = self.mean(made, "ap")
        figures["mAP IoU>=0.5"] = self.mean(made, "ap 0.5")
        figures["mAP IoU>=0.75"] = self.mean(made, "ap 0.75")
        missing = sum(not row.evidence["predicted"] for row in rows)
        return Summary(
            headline="mIoU",
            figures=figures,
            items=[
                {"id": row.id, "value": one.evidence["iou"]} | {key: row.evidence[key] for key in ("predicted", "true")}
                for row, one in zip(rows, made, strict=True)
            ],
            counts={"missing": missing, "invalid": sum(row.evidence["num_invalid"] > 0 for row in rows)},
        )


def _of_question(row: Observation) -> Observation:
    """The IoU of the first span, the best of each, and average precisions."""
    ious = np.asarray(row.evidence["ious"], dtype=np.float64).reshape(-1, len(row.evidence["true"]))  # (P, M)
    best = ious.max(1).tolist()  # (P,)
    precisions = {least: average_precision(ious[:AP_SPANS], least) for least in AP_THRESHOLDS}
    evidence = {"iou": best[0] if best else 0.0, "best": best, "ap": sum(precisions.values()) / len(precisions)}
    return replace(row, evidence=evidence | {"ap 0.5": precisions[0.5], "ap 0.75": precisions[0.75]})


def _spans(sample: Sample, name: str) -> list[Span]:
    spans: Any = sample.require(name)
    try:
        return [(float(span[0]), float(span[1])) for span in spans]
    except (TypeError, ValueError, IndexError, KeyError) as error:
        raise ItemError(f"{sample.id}: {name} must be pairs of seconds, got {spans!r}", code="BAD_ROW") from error
