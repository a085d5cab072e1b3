"""Figures as one flat object of names and numbers, which experiment trackers log as they are.

In: `Scores`, or the verdict of a gate. Out: `{"step": N, "metrics": {name: number}}` as JSON; log_metrics of MLflow
and log of a run of W&B take it. Names have letters, digits, `_`, `-` and `.` alone, which both allow, and no `/`, by
which MLflow's store of files makes folders: `frechet[feature=clip]` is `frechet_feature_clip`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from cineloop.errors import UsageError
from cineloop.files import write_atomic
from v2t_eval.core.metric import Figure
from v2t_eval.core.scores import Scores

if TYPE_CHECKING:
    from v2t_eval.gate.verdict import Verdict

_OTHERS = re.compile(r"[^A-Za-z0-9_.-]+")
_LONGEST = 200  # characters: MLflow takes 250


def of_scores(scores: Scores) -> dict[str, float]:
    """Each figure of each metric: its value, the ends of its interval (`.low`, `.high`), its cases (`.n`); and the
    metric's coverage."""
    pairs: list[tuple[str, float | None]] = []
    for result in scores.results:
        for key, figure in result.figures.items():
            pairs += _figure(result.name if key == result.headline else f"{result.name}.{key}", figure)
        pairs.append((f"{result.name}.coverage", result.coverage))
    return _by_name(pairs)


def of_verdict(verdict: Verdict) -> dict[str, float]:
    """The exit code and whether it passes; of each metric the figures of both sides, the change with its bounds, p."""
    pairs: list[tuple[str, float | None]] = [
        ("gate.exit_code", verdict.exit_code), ("gate.pass", float(verdict.outcome == "pass"))
    ]  # fmt: skip
    for one in verdict.metrics:
        if one.candidate is not None:
            pairs += _figure(one.metric, one.candidate)
        pairs.append((f"{one.metric}.baseline", None if one.baseline is None else one.baseline.value))
        pairs.append((f"{one.metric}.change", one.change))
        pairs += [(f"{one.metric}.change.{end}", getattr(one, end)) for end in ("low", "high")]
        pairs += [(f"{one.metric}.{name}", getattr(one, name)) for name in ("p", "p_adjusted", "mde", "least_margin")]
        pairs.append((f"{one.metric}.pass", float(one.outcome == "pass")))
    return _by_name(pairs)


def write(metrics: dict[str, float], path: Path, step: int | None) -> None:
    """Write the file whole. `step`: of the training whose clips these are; 0 where none is given."""
    tree = {"step": step or 0, "metrics": metrics}
    write_atomic(path, (json.dumps(tree, indent=1, allow_nan=False) + "\n").encode())


def _figure(name: str, figure: Figure) -> Iterator[tuple[str, float]]:
    yield name, figure.value
    yield f"{name}.low", figure.low
    yield f"{name}.high", figure.high
    yield f"{name}.n", figure.n


def _by_name(pairs: list[tuple[str, float | None]]) -> dict[str, float]:
    """By names that trackers take.

    Raises:
        UsageError: two would have one name, and one would be lost.
    """
    named: dict[str, float] = {}
    whose: dict[str, str] = {}
    for name, value in pairs:
        if value is None or not math.isfinite(value):
            continue
        key = _OTHERS.sub("_", name).replace("_.", ".").strip("_.-")[-_LONGEST:]
        if key in named:
            raise UsageError(f"{whose[key]} and {name} would both be logged as {key}", hint="score them apart")
        named[key], whose[key] = float(value), name
    return named
