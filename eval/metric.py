"""What every metric gives back, and how a metric is found.

In: the name of a file of `eval/metrics`. Out: its class `Metric`, with the attributes `name`, `level` (clip, set or
text), `needs` (what a row must bring), `higher_is_better`, `value_range`, and the methods `update(...)` and
`compute() -> MetricResult` (design: contracts).
"""

from __future__ import annotations

import hashlib
import platform
from dataclasses import asdict, dataclass, field
from importlib import import_module
from typing import Any

from v2t.base.plugin import choices, load


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One number: a value in the metric's range, its 95 % interval, the number of cases behind it."""

    value: float
    low: float
    high: float
    n: int
    detail: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class MetricResult:
    """What a metric says of a set.

    `figures` by kind, the headline under `headline`; `n` rows expected; `coverage` the share of them that could be
    scored (the others count as wrong in the figures, never as absent); `fingerprint` tells two definitions apart.
    """

    name: str
    headline: str
    figures: dict[str, Figure]
    n: int
    coverage: float
    fingerprint: dict[str, str]
    counts: dict[str, int] = field(default_factory=dict)
    items: list[dict[str, Any]] = field(default_factory=list)

    @property
    def value(self) -> float:
        """The headline's value."""
        return self.figures[self.headline].value

    def as_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return asdict(self)


def metric_names() -> list[str]:
    """The metrics there are."""
    return choices("eval.metrics", "Metric")


def load_metric(name: str) -> type[Any]:
    """The class of the metric `name`.

    Raises:
        UsageError: there is no such metric; the message lists those there are.
    """
    metric: type[Any] = load("eval.metrics", name, "Metric").Metric
    return metric


def fingerprint(definition: str, modules: tuple[str, ...]) -> dict[str, str]:
    """Definition, a hash of the source of `modules` (what decides the value), and the Python version."""
    digest = hashlib.sha256()
    for name in modules:
        file = import_module(name).__file__
        if file is None:
            raise ValueError(f"module {name} has no source file")
        with open(file, "rb") as source:
            digest.update(source.read().replace(b"\r\n", b"\n"))
    return {"definition": definition, "source": digest.hexdigest()[:16], "python": platform.python_version()}
