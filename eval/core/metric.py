"""Base class of metrics, their results, and loading by name.

In: samples. Out: a `MetricResult`. A metric is a file of `eval/metrics` with a class `Metric(BaseMetric)`. It works in
two steps: `measure` reads one sample alone and returns its evidence (numbers, token counts, a feature vector);
`summarise` computes the figures of a set from all evidence. So a clip's evidence can be cached by content and by the
metric's fingerprint, computed in any order by any number of workers, and a rescoring repeats the second step alone.
`update`, `compute` and `reset` are those of torchmetrics, for training loops.
"""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import Any, ClassVar

import numpy as np

from cineloop.config import from_dict, to_dict
from cineloop.errors import ItemError, NothingMatchedError, UsageError
from cineloop.plugin import choices, load
from v2t_eval.core.models import anonymise, content_id, display_name
from v2t_eval.core.sample import Sample
from v2t_eval.core.statistics import Estimate, interval_of_sums, mean_interval, unless_flat, weighted_shares

Evidence = dict[str, Any]  # JSON values and numpy arrays
LEVELS = ("text", "clip", "set")
NOTHING_ASKED = "NOTHING_ASKED"  # code of a sample that a metric does not apply to, so it is not counted as expected
# Codes by which a metric declines a sound sample, for a reason it documents: this lowers the coverage, and is no error.
ABSTENTIONS = frozenset(
    "TOO_SHORT TOO_SMALL UNREAD UNKNOWN_ACTION NOT_BY_BOXES OUT_OF_DOMAIN UNDEFINED NO_HIGHLIGHT UNAUDITED".split()
)
REFERENCE_CLIPS = "reference_clips"  # in `needs`: a second set of clips


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
class Measured:
    """The evidence of one sample."""

    id: str
    cluster: str
    evidence: Evidence


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


@dataclass(frozen=True, kw_only=True)
class NoSettings:
    """For metrics without settings."""


class BaseMetric(ABC):
    """A metric; see the module's head.

    Class attributes, of which a metric states those that differ from the ones here:
        name: its file name.
        level: text (reads words), clip (a value for each clip), set (one value for a set of clips).
        needs: what a sample must bring, see `v2t_eval.core.sample`; "reference_clips" stands for a second set of clips.
        uses: optional inputs, read where a sample has them.
        higher_is_better: None without a preferred direction (amount of motion).
        value_range: least and greatest possible value.
        reduction: what the values of the items are to the score: "mean", it is their mean; "mean_of_clips", the figure
            of that name is; "set", it is a figure of the whole set and no mean. Only means are compared in pairs.
        detects, misses: what it is sensitive and insensitive to, in words.
        requires: what it needs to run, in words, "" for none.
        version: raised whenever the same sample may get another value (`tests/eval/test_metric_versions.py` holds known
            values of each version). Source code is not part of the fingerprint: a comment must not void a baseline.
        shared_version: the same for code that several metrics share, such as the reading of prompts; 0 at first.
        named, hidden: settings that are always in the title, and never (the path of a file).
        of_set: settings and keys of `describe()` that `summarise` alone reads: changing them keeps the evidence.
    """

    name: ClassVar[str] = ""
    level: ClassVar[str] = "clip"
    needs: ClassVar[tuple[str, ...]] = ()
    uses: ClassVar[tuple[str, ...]] = ()
    higher_is_better: ClassVar[bool | None] = True
    value_range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    reduction: ClassVar[str] = "mean"
    detects: ClassVar[str] = ""
    misses: ClassVar[str] = ""
    requires: ClassVar[str] = ""
    version: ClassVar[int] = 1
    shared_version: ClassVar[int] = 0
    of_set: ClassVar[tuple[str, ...]] = ()
    named: ClassVar[tuple[str, ...]] = ()
    hidden: ClassVar[tuple[str, ...]] = ()
    Settings: ClassVar[type[Any]] = NoSettings

    def __init__(self, **settings: Any) -> None:
        """Settings by name, see the metric's `Settings`.

        Raises:
            UsageError: an unknown setting or a wrong value.
        """
        self.settings: Any = from_dict(type(self).Settings, settings, f"{self.name}.")
        self.reset()

    @property
    def title(self) -> str:
        """The name, with the non-default settings: `frechet[feature=clip]`; of a file its name."""
        usual = {field.name: to_dict(field.default) for field in fields(self.settings) if field.default is not MISSING}
        shown = [
            f"{key}={display_name(value)}"
            for key, value in to_dict(self.settings).items()
            if (key in self.named and value != "") or (key not in self.hidden and value != usual.get(key, MISSING))
        ]
        return f"{self.name}[{','.join(shown)}]" if shown else self.name

    def prepare(self) -> None:  # noqa: B027 - most metrics have nothing to load
        """Load models; called once before the first `measure`.

        Raises:
            MissingDependencyError: something is not available; the message explains how to get it.
        """

    @abstractmethod
    def measure(self, sample: Sample) -> Evidence:
        """The evidence of one sample: a pure function of the fields in `needs` and `uses`.

        Raises:
            ItemError: this sample cannot be measured.
        """

    @abstractmethod
    def summarise(self, rows: Sequence[Measured], references: Sequence[Measured]) -> Summary:
        """Figures of a set. `rows` (at least one) and `references` (of "reference_clips") are in the order of ids."""

    def summary_of_none(self) -> Summary:
        """The same where no sample could be measured."""
        return Summary(headline=self.name, figures={})

    def describe(self) -> dict[str, str]:
        """The metric's own part of the fingerprint: models with their hashes, preprocessing, dtype."""
        return {}

    def fingerprint(self) -> dict[str, str]:
        """What determines the value: definition, settings, and `describe()`; files by their content."""
        settings = to_dict(self.settings)
        shared = f".{self.shared_version}" if self.shared_version else ""
        base = {"definition": f"{self.name}/{self.version}{shared}", "settings": _as_text(settings)}
        return base | anonymise(self.describe(), settings)

    def evidence_fingerprint(self) -> dict[str, str]:
        """What determines the evidence: the fingerprint without `of_set`."""
        found = {key: value for key, value in self.fingerprint().items() if key not in self.of_set}
        settings = {key: value for key, value in to_dict(self.settings).items() if key not in self.of_set}
        return found | {"settings": _as_text(settings)}

    def check(self, sample: Sample) -> None:
        """Raises ItemError, NO_<NAME>, when the sample lacks what this metric needs."""
        for name in self.needs:
            if name != REFERENCE_CLIPS:
                sample.require(name)

    # torchmetrics' three verbs

    def reset(self) -> None:
        self._rows: dict[str, Measured] = {}
        self._references: dict[str, Measured] = {}
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
                self.add(Measured(id=sample.id, cluster=sample.cluster, evidence=evidence), reference=reference)

    def add(self, row: Measured, *, reference: bool = False) -> None:
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

    def mean(self, rows: Sequence[Measured], key: str = "value") -> Figure:
        """The plain mean of a value of the evidence; its interval resamples clusters and stays within the range, see
        `v2t_eval.core.statistics.unless_flat`."""
        return mean_of(rows, [row.evidence[key] for row in rows], self.value_range)


class EvidenceMetric(BaseMetric):
    """Evidence alone, of the frames of a clip; it has no figure of a set."""

    needs: ClassVar[tuple[str, ...]] = ("frames",)

    def summarise(self, rows: Sequence[Measured], references: Sequence[Measured]) -> Summary:
        return Summary(headline=self.name, figures={})


def mean_of(
    rows: Sequence[Measured], values: Sequence[float] | np.ndarray, value_range: tuple[float, float] = (0.0, 1.0)
) -> Figure:
    """The plain mean of a value of each row, see `BaseMetric.mean`."""
    values, clusters = [float(value) for value in values], [row.cluster for row in rows]
    value = sum(values) / len(values)
    low, high = unless_flat(mean_interval(values, clusters), value, len(set(clusters)), value_range)
    return Figure(value=value, low=min(low, value), high=max(high, value), n=len(values))


def share_of(
    rows: Sequence[Measured],
    right: Sequence[float] | np.ndarray,
    num: Sequence[float] | np.ndarray | None = None,
    detail: dict[str, int] | None = None,
) -> Figure:
    """A share: of `num` cases of each row (one by default) the `right` ones; see
    `v2t_eval.core.statistics.weighted_shares`."""
    found = np.asarray(right, dtype=np.float64)[:, None]  # (n, 1)
    cases = np.ones_like(found) if num is None else np.asarray(num, dtype=np.float64)[:, None]  # (n, 1)
    value, (low, high) = weighted_shares(found, cases, (1,), [row.cluster for row in rows])
    return Figure(value=value, low=low, high=high, n=int(cases.sum()), detail=detail or {})


def figure_of_sums(
    rows: Sequence[Measured],
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


def items_of(rows: Sequence[Measured]) -> list[dict[str, Any]]:
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


def _as_text(settings: Mapping[str, Any]) -> str:
    return json.dumps({key: content_id(value) for key, value in settings.items()}, sort_keys=True, default=str)
