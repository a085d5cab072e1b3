"""Parse the metrics to run: a list such as `bleu,frechet[feature=starter-tower]`, or a suite file.

In: the text of `--metrics`, or a suite: the name of a shipped one (`eval/suites`), or a YAML file `{name, metrics:
[NAME or {metric: NAME, setting: value}], imported: [NAME], gate: {...}}`. Out: metrics, not loaded yet, and the gate's
policy (`v2t_eval.gate.policy`). A metric listed twice with the same settings runs once. A rule of the gate names its
metric as the list of metrics does, or by its title. `imported` names metrics of result files of other tools, which
`v2t-eval score --results` reads and nothing here measures.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cineloop import shipped
from cineloop.config import from_dict, parse_set, read_yaml, to_dict
from cineloop.errors import UsageError, did_you_mean
from cineloop.log import printable
from v2t_eval.core.metric import BaseMetric, load_metric
from v2t_eval.core.models import display_name
from v2t_eval.gate.policy import Policy, Rule


@dataclass(frozen=True, kw_only=True)
class Suite:
    """A named list of metrics, and the gate's policy; `policy` is None where the file has no gate. `imported`: names of
    metrics that only imported results have."""

    name: str
    metrics: list[BaseMetric]
    imported: tuple[str, ...] = ()
    policy: Policy | None = None

    @property
    def rules(self) -> Policy:
        """The policy of a suite that must have one.

        Raises:
            UsageError: it has none.
        """
        if self.policy is None:
            raise UsageError(
                f"the suite {printable(self.name)} has no gate, so no metric decides",
                hint="add `gate: {primary: [{metric: NAME, margin: 0.05}]}`; see docs/gate.md",
            )
        return self.policy


def metrics_of(
    named: str | None, suite: Path | None, *, answers: bool = False, facts: bool = False
) -> list[BaseMetric]:
    """The metrics of a suite, and those named in addition. `answers`, `facts`: take the metric of that name where there
    is neither a suite nor a name.

    Raises:
        UsageError: there is no metric; see `parse_metrics` and `read_suite`.
    """
    metrics = read_suite(suite).metrics if suite is not None else []
    if not metrics and named is None:
        named = "answers" if answers else "facts" if facts else None
        if named is None:
            raise UsageError("no metrics given", hint="give --metrics A,B or --suite FILE; `v2t-eval list` shows them")
    return each_once([*metrics, *(parse_metrics(named) if named is not None else [])])


def parse_metrics(text: str) -> list[BaseMetric]:
    """The metrics of a list like `bleu,frechet[feature=starter-tower],temporal_flickering[mode=compat]`.

    Raises:
        UsageError: no metric is named, one is unknown, a bracket is open, a setting is unknown or has a wrong value.
    """
    return each_once(_metric_of(part) for part in _parts(text))


def parse_metric(text: str) -> BaseMetric:
    """The one metric of a text like `frechet[feature=starter-tower]`.

    Raises:
        UsageError: it names several; see `parse_metrics`.
    """
    metrics = parse_metrics(text)
    if len(metrics) > 1:
        raise UsageError(f"expected one metric, got {len(metrics)}: {text!r}")
    return metrics[0]


def suites() -> dict[str, Path]:
    """The suites that come with the package, by name."""
    return {path.stem: path for path in sorted(Path(__file__).resolve().parent.glob("*.yaml"))}


def read_suite(path: Path) -> Suite:
    """The suite in a YAML file, or the shipped one of that name.

    Raises:
        UsageError: the file cannot be read or is malformed; see `parse_metrics`.
    """
    path = shipped.find(path, suites(), "suite")
    tree = read_yaml(path)
    if unknown := sorted(set(tree) - {"name", "metrics", "imported", "gate"}):
        raise UsageError(f"{path}: unknown key {', '.join(unknown)}", hint="a suite has a name, metrics, and a gate")
    imported = tree.get("imported") or []
    if not isinstance(imported, list) or not all(isinstance(name, str) for name in imported):
        raise UsageError(f"{path}: 'imported' must be a list of names, got {imported!r}")
    rows = tree.get("metrics") or ([] if imported else None)
    if not isinstance(rows, list) or not (rows or imported):
        raise UsageError(f"{path}: 'metrics' must be a list of names, got {rows!r}")
    metrics = []
    for row in rows:
        if isinstance(row, str):
            metrics += [_metric_of(part) for part in _parts(row)]
        elif isinstance(row, dict) and isinstance(row.get("metric"), str):
            settings = {str(key): value for key, value in row.items() if key != "metric"}
            metrics.append(load_metric(row["metric"])(**settings))
        else:
            raise UsageError(f"{path}: expected a metric's name, or 'metric: NAME' with settings, got {row!r}")
    metrics = each_once(metrics)
    policy = None if tree.get("gate") is None else _policy(tree["gate"], metrics, imported, path)
    name = str(tree.get("name") or path.stem)
    return Suite(name=name, metrics=metrics, imported=tuple(imported), policy=policy)


def _policy(tree: Any, metrics: list[BaseMetric], imported: list[str], path: Path) -> Policy:
    """The gate's part of a suite file, its rules under the titles of the suite's metrics."""
    if not isinstance(tree, Mapping):
        raise UsageError(f"{path}: 'gate' must hold primary and more by name, got {tree!r}", hint="see docs/gate.md")
    policy = from_dict(Policy, tree, "gate.")
    rules = tuple(
        rule if rule.metric in imported else replace(rule, metric=_title(rule, metrics, path))
        for rule in policy.primary
    )
    audit = None if policy.audit is None else audit_path(policy.audit, path.parent)
    try:
        return replace(policy, primary=rules, audit=audit)
    except ValueError as error:  # two spellings of one metric
        raise UsageError(f"{path}: gate: {error}") from error


def audit_path(named: Path, folder: Path = Path()) -> Path:
    """Path of an audit named in `folder`: a shipped one, such as `starter`, or a file there."""
    here = Path(__file__).resolve().parents[1] / "audit" / f"{named}.json"
    return here if named.name == str(named) and here.is_file() else folder / named


def _title(rule: Rule, metrics: list[BaseMetric], path: Path) -> str:
    known = {metric.title: metric for metric in metrics}
    title = rule.metric if rule.metric in known else _metric_of(rule.metric).title
    if title not in known:
        hint = did_you_mean(title, known) or f"its metrics are {', '.join(known)}"
        raise UsageError(f"{path}: the gate asks for {title!r}, which is not among the suite's metrics", hint=hint)
    if rule.margin is not None and known[title].higher_is_better is None:
        hint = "give at_least or at_most"
        raise UsageError(f"{path}: {title} has no preferred direction, so a margin is meaningless", hint=hint)
    if not all(
        math.isfinite(bound)
        for bound in (rule.margin, rule.accepted, rule.worst, rule.best, rule.gain, rule.at_least, rule.at_most)
        if bound is not None
    ):
        raise UsageError(f"{path}: the bounds of {title} must be numbers")
    return title


def _metric_of(text: str) -> BaseMetric:
    name, bracket, rest = text.partition("[")
    settings: dict[str, Any] = {}
    if bracket:
        if not rest.endswith("]"):
            raise UsageError(f"the settings of {name!r} must end with a bracket: {text!r}")
        settings = dict(parse_set(part) for part in _parts(rest[:-1]))
    metric: BaseMetric = load_metric(name.strip())(**settings)
    return metric


def _parts(text: str) -> list[str]:
    """The parts between commas outside of brackets."""
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


def each_once(metrics: Iterable[BaseMetric]) -> list[BaseMetric]:
    """The metrics without repetitions, in order.

    Raises:
        UsageError: two that differ only in a file's folder, so that both would have one title.
    """
    unique = list({(metric.title, *_files(metric)): metric for metric in metrics}.values())
    for title, count in Counter(metric.title for metric in unique).items():
        if count > 1:  # two files of one name
            raise UsageError(f"{count} metrics would be called {title}", hint="rename one of the files it names")
    return unique


def _files(metric: BaseMetric) -> list[str]:
    """The settings of which the title shows only a file's name."""
    return [setting for setting in to_dict(metric.settings).values() if display_name(setting) != setting]
