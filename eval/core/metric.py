"""Base class of metrics, their results, and loading by name.

In: samples. Out: a `MetricResult`. A metric is a file of `eval/metrics` with a class `Metric(BaseMetric)`: a
measurement (`v2t_eval.core.measurement`) with a summary. `measure` reads one sample alone and returns its evidence;
`summarise` computes the figures of a set from all evidence, so a rescoring of cached evidence repeats the second step
alone.
`update`, `compute` and `reset` are those of torchmetrics, for training loops.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import numpy as np

from cineloop.config import to_dict
from cineloop.errors import ItemError, NothingMatchedError, UsageError
from cineloop.plugin import choices, load
from v2t_eval.core.measurement import NOTHING_ASKED, REFERENCE_CLIPS, Measurement, Observation, as_text
from v2t_eval.core.sample import Sample
from v2t_eval.core.statistics import Estimate, interval_of_sums, mean_interval, unless_flat, weighted_shares

LEVELS = ("text", "clip", "set")


@dataclass(frozen=True, kw_only=True)
class Figure(Estimate):
    """An estimate within the metric's range; `detail` holds counts behind it."""

    detail: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not all(math.isfinite(number) for number in (self.value, self.low, self.high)):
            raise ValueError(f"a figure must be finite, got {self.value} [{self.low}, {self.high}]")


@dataclass(frozen=True, kw_only=True)
class MetricResult:
    """The result of a metric on a set.

    Attributes:
        name: the metric with its non-default settings, `frechet[feature=clip]`.
        headline: which of `figures` is the score; `figures` is empty when nothing could be scored.
        n: samples expected; `coverage`: the share of them that is in the figures. A sample that could not be measured
            is a failure, outside of the figures and never a zero; a reply or caption that is missing or unreadable,
            where a metric counts it as wrong, is in the figures and so covered, and is counted in `counts`.
        fingerprint: definition (name and version), settings, models with hashes.
        counts: counts in addition to the score (refusals, truncated prompts).
        items: one for each scored sample: `id`, `value` (the headline's own for this sample, or None where the score is
            one of the whole set), and the metric's further values.
        failures: `id`, `code`, `message` of each sample that could not be scored.
        notes: caveats as sentences, such as the floor of a distance or the tokenizer.
        higher_is_better, value_range, reduction: as the metric declares them.
        scale_error: factor by which a difference of two values may be too small or too large: above 1 where they were
            corrected by rates that are themselves estimates (`v2t_eval.correction`).
    """

    name: str
    headline: str
    figures: dict[str, Figure]
    n: int
    coverage: float
    fingerprint: dict[str, str]
    counts: dict[str, int] = field(default_factory=dict)
    items: list[dict[str, Any]] = field(default_factory=list)
    failures: list[dict[str, str]] = field(default_factory=list)
    notes: tuple[str, ...] = ()
    higher_is_better: bool | None = True
    value_range: tuple[float, float] = (-math.inf, math.inf)
    reduction: str = "set"
    scale_error: float = 1.0

    @property
    def value(self) -> float:
        """The headline's value.

        Raises:
            NothingMatchedError: nothing could be scored.
        """
        if self.headline not in self.figures:
            raise NothingMatchedError(f"{self.name} scored none of {self.n} samples")
        return self.figures[self.headline].value

    def as_dict(self) -> dict[str, Any]:
        """JSON-able form; an open end of the range is null."""
        tree = asdict(self)
        tree["value_range"] = [end if math.isfinite(end) else None for end in self.value_range]
        return tree


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The result of `summarise`: the metric's own parts of a `MetricResult`.

    `scored`: samples behind the figures, where the metric had to leave some out; None for all that were measured. A
    sample that counts as wrong is behind them.
    `fingerprint`: what determines the value and is known only now (text that another program had to read).
    """

    headline: str
    figures: dict[str, Figure]
    items: list[dict[str, Any]] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    scored: int | None = None
    fingerprint: dict[str, str] = field(default_factory=dict)


class CompositeMetric(ABC):
    """A figure over the results of other metrics, such as the total of a benchmark: part of the scores wherever all of
    its `parts` (names of metrics) were requested."""

    name: ClassVar[str]
    parts: ClassVar[frozenset[str]]

    @classmethod
    @abstractmethod
    def compute(cls, metrics: Mapping[str, BaseMetric], results: Mapping[str, MetricResult]) -> MetricResult:
        """The result, of the parts and what they came to, both by name.

        Raises:
            UsageError: the parts do not fit together, or lack what it needs.
        """


class BaseMetric(Measurement):
    """A measurement with a summary; see the module's head.

    Class attributes, of which a metric states those that differ from the ones here, in addition to those of a
    `Measurement`:
        level: text (reads words), clip (a value for each clip), set (one value for a set of clips).
        needs: "reference_clips" in it stands for a second set of clips.
        higher_is_better: None without a preferred direction (amount of motion).
        value_range: least and greatest possible value.
        reduction: what the values of the items are to the score: "mean", it is their mean; "mean_of_clips", the figure
            of that name is; "set", it is a figure of the whole set and no mean. Only means are compared in pairs.
        detects, misses: what it is sensitive and insensitive to, in words.
        requires: what it needs to run, in words, "" for none.
        composite: the composite metric that it may be a part of.
        of_set: settings and keys of `describe()` that `summarise` alone reads: changing them keeps the evidence.
    """

    level: ClassVar[str] = "clip"
    higher_is_better: ClassVar[bool | None] = True
    value_range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    reduction: ClassVar[str] = "mean"
    detects: ClassVar[str] = ""
    misses: ClassVar[str] = ""
    requires: ClassVar[str] = ""
    composite: ClassVar[type[CompositeMetric] | None] = None
    of_set: ClassVar[tuple[str, ...]] = ()

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.reset()

    @abstractmethod
    def summarise(self, rows: Sequence[Observation], references: Sequence[Observation]) -> Summary:
        """Figures of a set. `rows` (at least one) and `references` (of "reference_clips") are in the order of ids."""

    def summary_of_none(self) -> Summary:
        """The same where no sample could be measured."""
        return Summary(headline=self.name, figures={})

    def evidence_fingerprint(self) -> dict[str, str]:
        """The fingerprint without `of_set`."""
        kept = {key: value for key, value in self.fingerprint().items() if key not in self.of_set}
        settings = {key: value for key, value in to_dict(self.settings).items() if key not in self.of_set}
        return kept | {"settings": as_text(settings)}

    # torchmetrics' three verbs

    def reset(self) -> None:
        self._rows: dict[str, Observation] = {}
        self._references: dict[str, Observation] = {}
        self._failures: list[dict[str, str]] = []
        self._failed_references: list[dict[str, str]] = []
        self._not_asked = 0

    def update(self, samples: Sample | Iterable[Sample], *, reference: bool = False) -> None:
        """Measure samples and keep their evidence; `reference`: they are of the set to compare with.

        A sample that cannot be measured is kept as a failure.

        Raises:
            ValueError: an id comes twice.
        """
        for sample in [samples] if isinstance(samples, Sample) else samples:
            try:
                self.check(sample)
                evidence = self.measure(sample)
            except ItemError as error:
                self.fail(sample.id, error.record(), reference=reference)
            else:
                self.add(Observation(id=sample.id, cluster=sample.cluster, evidence=evidence), reference=reference)

    def add(self, row: Observation, *, reference: bool = False) -> None:
        """Keep evidence that was made elsewhere. Raises ValueError: the id is there already."""
        kept = self._references if reference else self._rows
        if row.id in kept:
            raise ValueError(f"sample {row.id!r} was given to {self.name} twice")
        kept[row.id] = row

    def fail(self, id: str, error: Mapping[str, str], *, reference: bool = False) -> None:
        """Keep a sample that could not be measured, by its error's code, message and hint; one of the set to compare
        with is listed as reference_clips/ID and does not count in n and coverage. One that the metric does not apply
        to is counted as nothing_asked."""
        if error["code"] == NOTHING_ASKED and not reference:
            self._not_asked += 1
            return
        kept = self._failed_references if reference else self._failures
        id = f"{REFERENCE_CLIPS}/{id}" if reference else id
        message = f"{error['message']} ({error['hint']})" if error["hint"] else error["message"]
        kept.append({"id": id, "code": error["code"], "message": message})

    def compute(self) -> MetricResult:
        """The figures over all samples so far.

        Raises:
            NothingMatchedError: no sample was given, or the metric applies to none.
        """
        expected = len(self._rows) + len(self._failures)
        if not expected:
            why = f"applies to none of {self._not_asked} samples" if self._not_asked else "was given no sample"
            raise NothingMatchedError(f"{self.name} {why}")
        rows = [self._rows[id] for id in sorted(self._rows)]
        references = [self._references[id] for id in sorted(self._references)]
        summary = self.summarise(rows, references) if rows else self.summary_of_none()
        scored = len(rows) if summary.scored is None else summary.scored
        more = {"failed_references": len(self._failed_references), "nothing_asked": self._not_asked}
        _check_finite(self.title, summary.items)
        return MetricResult(
            name=self.title,
            headline=summary.headline,
            figures=summary.figures,
            n=expected,
            coverage=scored / expected,
            fingerprint=self.fingerprint() | summary.fingerprint,
            counts=summary.counts | {name: count for name, count in more.items() if count},
            items=summary.items,
            failures=sorted(self._failures + self._failed_references, key=lambda failure: failure["id"]),
            notes=summary.notes,
            higher_is_better=self.higher_is_better,
            value_range=self.value_range,
            reduction=self.reduction,
        )

    def mean(self, rows: Sequence[Observation], key: str = "value") -> Figure:
        """The plain mean of a value of the evidence; its interval resamples clusters and stays within the range, see
        `v2t_eval.core.statistics.unless_flat`."""
        return mean_of(rows, [row.evidence[key] for row in rows], self.value_range)


def mean_of(
    rows: Sequence[Observation], values: Sequence[float] | np.ndarray, value_range: tuple[float, float] = (0.0, 1.0)
) -> Figure:
    """The plain mean of a value of each row, see `BaseMetric.mean`."""
    values, clusters = [float(value) for value in values], [row.cluster for row in rows]
    value = sum(values) / len(values)
    low, high = unless_flat(mean_interval(values, clusters), value, len(set(clusters)), value_range)
    return Figure(value=value, low=min(low, value), high=max(high, value), n=len(values))


def share_of(
    rows: Sequence[Observation],
    right: Sequence[float] | np.ndarray,
    num: Sequence[float] | np.ndarray | None = None,
    detail: dict[str, int] | None = None,
) -> Figure:
    """A share: of `num` cases of each row (one by default) the `right` ones; see
    `v2t_eval.core.statistics.weighted_shares`."""
    values = np.asarray(right, dtype=np.float64)[:, None]  # (n, 1)
    cases = np.ones_like(values) if num is None else np.asarray(num, dtype=np.float64)[:, None]  # (n, 1)
    value, (low, high) = weighted_shares(values, cases, (1,), [row.cluster for row in rows])
    return Figure(value=value, low=low, high=high, n=int(cases.sum()), detail=detail or {})


def figure_of_sums(
    rows: Sequence[Observation],
    sums: np.ndarray,
    statistic: Callable[[np.ndarray], np.ndarray],
    value_range: tuple[float, float] = (0.0, 1.0),
    value: float | None = None,
) -> Figure:
    """A statistic of what the rows add up to, see `v2t_eval.core.statistics.interval_of_sums`; `value` where it is
    known."""
    value = float(statistic(sums.sum(0)[None])[0]) if value is None else value
    low, high = interval_of_sums(sums, statistic, [row.cluster for row in rows], value_range)
    return Figure(value=value, low=float(min(low, value)), high=float(max(high, value)), n=len(rows))


def items_of(rows: Sequence[Observation]) -> list[dict[str, Any]]:
    """Items of a metric whose evidence for a sample is its score."""
    return [{"id": row.id, "value": float(row.evidence["value"])} for row in rows]


def _check_finite(title: str, items: Sequence[dict[str, Any]]) -> None:
    for item in items:
        for name, value in item.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"{title}: {name} of {item.get('id')!r} is {value}; expected numbers or None")


def metric_names() -> list[str]:
    """Names of all metrics."""
    return choices("v2t_eval.metrics", "Metric")


def load_metric(name: str) -> type[Any]:
    """The class of the metric `name`, or in the file of that path.

    Raises:
        UsageError: there is no such metric; the message lists the choices. Its file does not define a whole one.
    """
    metric: Any = load("v2t_eval.metrics", name, "Metric", files=True).Metric
    hint = "what a metric defines is in docs/extending.md"
    if not (isinstance(metric, type) and issubclass(metric, BaseMetric)):
        raise UsageError(f"{name}: expected a class Metric(BaseMetric), got {metric!r:.100}", hint=hint)
    if lacking := sorted(metric.__abstractmethods__):
        raise UsageError(f"{name}: its class Metric lacks {' and '.join(lacking)}", hint=hint)
    return metric
