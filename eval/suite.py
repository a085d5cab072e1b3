"""Which metrics to run: a list such as `bleu,frechet[feature=starter-tower]`, or a suite file.

In: the text of `--metrics`, or a YAML file `{name, metrics: [NAME or {metric: NAME, setting: value}]}`. Out: metrics,
not loaded yet. A metric asked for twice with the same settings runs once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval.metric import BaseMetric, load_metric
from v2t.base.config import parse_set, read_yaml
from v2t.base.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Suite:
    """A named list of metrics."""

    name: str
    metrics: list[BaseMetric]


def parse_metrics(text: str) -> list[BaseMetric]:
    """The metrics of a list like `bleu,frechet[feature=starter-tower],temporal_flickering[mode=compat]`.

    Raises:
        UsageError: no metric is named, one is unknown, a bracket is open, a setting is unknown or has a wrong value.
    """
    return _each_once(_made(part) for part in _parts(text))


def read_suite(path: Path) -> Suite:
    """The suite in a YAML file.

    Raises:
        UsageError: the file cannot be read or holds something else; see `parse_metrics`.
    """
    tree = read_yaml(path)
    if unknown := sorted(set(tree) - {"name", "metrics"}):
        raise UsageError(f"{path}: unknown key {', '.join(unknown)}", hint="a suite has a name and metrics")
    rows = tree.get("metrics")
    if not isinstance(rows, list) or not rows:
        raise UsageError(f"{path}: 'metrics' must be a list of names, got {rows!r}")
    metrics = []
    for row in rows:
        if isinstance(row, str):
            metrics += [_made(part) for part in _parts(row)]
        elif isinstance(row, dict) and isinstance(row.get("metric"), str):
            settings = {str(key): value for key, value in row.items() if key != "metric"}
            metrics.append(load_metric(row["metric"])(**settings))
        else:
            raise UsageError(f"{path}: expected a metric's name, or 'metric: NAME' with settings, got {row!r}")
    return Suite(name=str(tree.get("name") or path.stem), metrics=_each_once(metrics))


def _made(text: str) -> BaseMetric:
    name, bracket, rest = text.partition("[")
    settings: dict[str, Any] = {}
    if bracket:
        if not rest.endswith("]"):
            raise UsageError(f"the settings of {name!r} must end with a bracket: {text!r}")
        settings = dict(parse_set(part) for part in _parts(rest[:-1]))
    metric: BaseMetric = load_metric(name.strip())(**settings)
    return metric


def _parts(text: str) -> list[str]:
    """The parts between commas that stand in no bracket."""
    parts, depth = [""], 0
    for char in text:
        depth += (char == "[") - (char == "]")
        if depth < 0:
            break
        if char == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += char
    if depth:
        raise UsageError(f"brackets do not match in {text!r}", hint="like frechet[feature=starter-tower]")
    named = [part.strip() for part in parts if part.strip()]
    if not named:
        raise UsageError("no metric is named", hint="`v2t-eval list` shows them")
    return named


def _each_once(metrics: Iterable[BaseMetric]) -> list[BaseMetric]:
    return list({metric.title: metric for metric in metrics}.values())
