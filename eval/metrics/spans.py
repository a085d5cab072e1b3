"""Spans: how well stretches of time that are named cover those that are true.

In: for each question the spans an answer names, best first, in seconds, and the true one. Out: the mean temporal
intersection over union of the first span (mIoU) with a bootstrap interval, and the share of questions whose first span
reaches an IoU of 0.3, 0.5 and 0.7 (R@1) with Wilson intervals, as in moment retrieval (Gao et al. 2017,
arXiv:1705.02101). An answer that names no span has IoU 0 and is counted as `missing`; none is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from eval.metric import Figure, MetricResult, fingerprint
from eval.stats import bootstrap, wilson

Span = tuple[float, float]
THRESHOLDS = (0.3, 0.5, 0.7)


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


class Metric:
    """mIoU, and R@1 at three thresholds."""

    name = "spans"
    level = "text"
    needs = ("spans", "reference span")
    higher_is_better = True
    value_range = (0.0, 1.0)

    def __init__(self) -> None:
        self._items: list[dict[str, Any]] = []

    def update(self, id: str, said: Sequence[Span], true: Span) -> None:
        """Judge the spans of one answer, none, one or several, the best first."""
        value = tiou(said[0], true) if said else 0.0
        self._items.append({"id": id, "said": [list(s) for s in said], "true": list(true), "iou": value})

    def compute(self) -> MetricResult:
        """The figures over all answers so far.

        Raises:
            ValueError: when nothing was judged.
        """
        if not self._items:
            raise ValueError("no span was judged")
        values = [item["iou"] for item in self._items]
        num = len(values)
        low, high = bootstrap(values)
        figures = {"mIoU": Figure(value=sum(values) / num, low=low, high=high, n=num)}
        for least in THRESHOLDS:
            right = sum(value >= least for value in values)
            low, high = wilson(right, num)
            figures[f"R@1 IoU>={least}"] = Figure(value=right / num, low=low, high=high, n=num)
        missing = sum(not item["said"] for item in self._items)
        return MetricResult(
            name=self.name,
            headline="mIoU",
            figures=figures,
            n=num,
            coverage=(num - missing) / num,
            fingerprint=fingerprint("spans/1", ("eval.metrics.spans", "eval.stats")),
            counts={"missing": missing},
            items=self._items,
        )
