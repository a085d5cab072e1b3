"""Results of metrics that another program computed: from values of samples, or from a figure alone.

In: `ForeignMetric`, what a file says of one metric. Out: `MetricResult`. A figure that is the mean of its samples'
values is compared in pairs (reduction "mean"); where the file weighs them otherwise, by frames, the plain mean of the
values is (`mean_of_clips`); where the values are no numbers of the same kind, the figure is one of the set.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cineloop.log import printable
from v2t_eval.core.measurement import Observation
from v2t_eval.core.metric import Figure, MetricResult, mean_of

MEAN = "mean_of_clips"
_SAME = 1e-4  # relative distance within which a figure is the mean of the values: files round
_NORMAL = 1.959964


@dataclass(frozen=True, kw_only=True)
class Value:
    """What a file says of one sample: its id, its cluster, a number; NaN or None where there is none, which is then a
    failure of `code`."""

    id: str
    value: float | None
    cluster: str = ""
    code: str = "NOT_FINITE"
    message: str = "the file's value is no finite number"


@dataclass(frozen=True, kw_only=True)
class ForeignMetric:
    """What a file says of one metric.

    Attributes:
        values: of single samples; empty where the file has none.
        figure: of the whole set; None where the file has none, or no finite one.
        standard_error: of the figure, where the file states it; used where there are no values.
        n: cases behind the figure, where there are no values.
        fingerprint: what decides the value, the source's name and version among it.
        spread_only: the values are repeated measurements, which say how far the figure can be trusted, and are not
            samples to be paired.
    """

    name: str
    values: Sequence[Value] = ()
    figure: float | None = None
    standard_error: float | None = None
    n: int = 0
    higher_is_better: bool | None = True
    value_range: tuple[float, float] = (-math.inf, math.inf)
    fingerprint: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    spread_only: bool = False


def result_of(reading: ForeignMetric) -> MetricResult:
    """The result of one metric. A sample that comes twice, or has no finite value, is a failure and never dropped
    without a word: the coverage shows it."""
    good, failures = _split(reading.values)
    notes = list(reading.notes)
    if reading.figure is not None and not math.isfinite(reading.figure):
        notes.append("the file's own figure is no finite number; shown is the mean of the values that are")
    figure = reading.figure if reading.figure is not None and math.isfinite(reading.figure) else None
    good, scaled = _in_unit(good, figure)
    notes += ["values of single clips are a hundredth of the file's, as its figure is"] if scaled == 0.01 else []
    notes += ["values of single samples are a hundred times the file's, as its figure is"] if scaled == 100.0 else []
    numbers = [each.value for each in good if each.value is not None]
    low, high = reading.value_range
    beyond = [x for x in (*numbers, *([] if figure is None else [figure])) if not low <= x <= high]
    value_range = (-math.inf, math.inf) if beyond else reading.value_range
    rows = [Observation(id=each.id, cluster=each.cluster or each.id, evidence={}) for each in good]
    figures, reduction, headline = dict[str, Figure](), "set", reading.name
    if good and not reading.spread_only:
        mean = mean_of(rows, numbers, value_range)
        if figure is None or _is_near(figure, mean.value):
            figures, reduction = {headline: mean}, "mean"
        else:
            figures = {headline: Figure(value=figure, low=figure, high=figure, n=mean.n), MEAN: mean}
            reduction = MEAN
            notes.append(f"the file's figure is no plain mean of its values; compared in pairs is their mean, {MEAN}")
    elif good:
        mean = mean_of(rows, numbers, value_range)
        half = max(mean.high - mean.value, mean.value - mean.low)
        value = mean.value if figure is None else figure
        figures = {headline: Figure(value=value, low=value - half, high=value + half, n=mean.n)}
    elif figure is not None:
        error = reading.standard_error
        half = _NORMAL * error if error is not None and math.isfinite(error) and error > 0 else 0.0
        figures = {headline: Figure(value=figure, low=figure - half, high=figure + half, n=reading.n)}
        if not half:
            notes.append(
                "NO_INTERVAL: the file has the figure of the set alone, so its spread is unknown; the gate cannot "
                "compare it with a baseline, and holds it to no at_least or at_most that asks for an interval"
            )
    n = len(good) + len(failures) or reading.n
    covered = len(good) / n if reading.values else float(n > 0)
    return MetricResult(
        name=reading.name, headline=headline, figures=figures, n=n, coverage=covered, failures=failures,
        fingerprint=dict(reading.fingerprint), notes=tuple(notes), reduction=reduction,
        items=[{"id": each.id, "value": None if reading.spread_only else each.value} for each in good],
        higher_is_better=reading.higher_is_better, value_range=value_range,
    )  # fmt: skip


def _split(values: Iterable[Value]) -> tuple[list[Value], list[dict[str, str]]]:
    """The samples with a value, and the failures, in the order of ids."""
    listed = list(values)
    counts = Counter(each.id for each in listed)
    good, failures = [], dict[str, dict[str, str]]()
    for each in listed:
        if counts[each.id] > 1:
            text = f"the file has {counts[each.id]} values of this id"
            failures[each.id] = {"id": each.id, "code": "DUPLICATE_ID", "message": text}
        elif each.value is None or not math.isfinite(each.value) or abs(each.value) >= 1e100:
            failures[each.id] = {"id": each.id, "code": each.code, "message": each.message}
        else:
            good.append(each)
    return sorted(good, key=lambda each: each.id), [failures[id] for id in sorted(failures)]


def _in_unit(good: list[Value], figure: float | None) -> tuple[list[Value], float]:
    """The values in the unit of the figure: some files have percent in one of the two."""
    if figure is None or not good:
        return good, 1.0
    mean = math.fsum(each.value or 0.0 for each in good) / len(good)
    for factor in (0.01, 100.0):
        if mean and not _is_near(figure, mean) and _is_near(figure, mean * factor):
            return [
                Value(id=each.id, value=(each.value or 0.0) * factor, cluster=each.cluster) for each in good
            ], factor
    return good, 1.0


def _is_near(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=_SAME, abs_tol=1e-9)


def number_of(value: Any) -> float | None:
    """A number, of a boolean 0 or 1; None for anything else."""
    return float(value) if isinstance(value, int | float) and abs(value) < 1e308 or value != value else None


def text_of(value: Any) -> str:
    """A text of a file for a fingerprint or a message, on one line."""
    return printable(str(value), 200)
