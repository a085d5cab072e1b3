"""The verb `v2t-eval list`: which metrics there are, what they need, see and cannot see, and whether they run here."""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cineloop.errors import UsageError

if TYPE_CHECKING:
    from v2t_eval.core.metric import BaseMetric

SUMMARY = "Show the metrics: what each needs, sees and cannot see, and whether it runs here."
EXAMPLES = (
    "  v2t-eval list\n"
    "  v2t-eval list clipsim\n"
    "  v2t-eval list --json --check\n"
    "  v2t-eval list --suite gate      # exit code 5 where a metric that decides cannot run here"
)

LEVELS = {"text": "of words", "clip": "of a clip", "set": "of a set of clips or texts"}
_WIDEST = 116


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", metavar="NAME", help="show only this metric")
    in_suite = "load the metrics of a suite as it sets them; exit code 5 where one that decides cannot run"
    parser.add_argument("--suite", type=Path, metavar="SUITE", help=in_suite)
    parser.add_argument("--check", action="store_true", help="load each metric to see whether it runs here (slower)")
    parser.add_argument("--json", action="store_true", help="print JSON on stdout")


def run(args: argparse.Namespace) -> int:
    from cineloop import log
    from v2t_eval.core.metric import metric_names

    log.setup(verbosity=-1 if args.quiet else args.verbose)
    if args.suite is not None:
        return _list_suite(args)
    names = [args.name] if args.name else metric_names()
    rows = [about(name, check=args.check or args.name is not None) for name in names]
    if args.json:
        print(json.dumps(rows[0] if args.name else rows, ensure_ascii=False, allow_nan=False))
    else:
        rows.sort(key=lambda row: (list(LEVELS).index(row["level"]), row["name"]))
        print(_page(rows[0]) if args.name else _table(rows))
    return 0


def _list_suite(args: argparse.Namespace) -> int:
    """List the metrics of a suite and load each; returns the exit code.

    Raises:
        MissingDependencyError: one that decides cannot run here; of a suite without a gate, any one.
    """
    from v2t_eval.core.score import load_metrics
    from v2t_eval.core.scores import require_ready
    from v2t_eval.suites.suite import read_suite

    if args.name:
        raise UsageError(f"both a metric, {args.name!r}, and --suite {args.suite}", hint="give one of them")
    suite = read_suite(args.suite)
    _, skipped = load_metrics(suite.metrics)
    why = {one.metric: one.reason for one in skipped}
    rows = [
        about(metric.name, check=False)
        | {"name": metric.title, "runs": metric.title not in why, "why_not": why.get(metric.title, "")}
        for metric in suite.metrics
    ]
    print(json.dumps(rows, ensure_ascii=False, allow_nan=False) if args.json else _table(rows))
    require_ready(skipped, suite.policy.decides if suite.policy else [metric.title for metric in suite.metrics])
    return 0


def about(name: str, *, check: bool) -> dict[str, Any]:
    """The description of a metric; `runs` is None unless it was tried (`check`).

    Raises:
        UsageError: there is no such metric.
    """
    from v2t_eval.core.metric import load_metric
    from v2t_eval.report.summary import DIRECTIONS

    kind: type[BaseMetric] = load_metric(name)
    low, high = kind.value_range
    row: dict[str, Any] = {
        "name": name,
        "level": kind.level,
        "needs": list(kind.needs),
        "uses": list(kind.uses),
        "range": [end if math.isfinite(end) else None for end in (low, high)],
        "direction": DIRECTIONS[kind.higher_is_better],
        "settings": _settings(kind.Settings),
        "requires": kind.requires,
        "detects": kind.detects,
        "misses": kind.misses,
        "runs": None,
        "why_not": "",
    }
    if check:
        why_not = _why_not(kind)
        row |= {"runs": not why_not, "why_not": why_not}
    return row


def _settings(kind: type[Any]) -> dict[str, Any]:
    """The settings with their usual values; "required" where there is none."""
    from cineloop.config import to_dict

    settings: dict[str, Any] = {}
    for field in dataclasses.fields(kind):
        if field.default is not dataclasses.MISSING:
            settings[field.name] = to_dict(field.default)
        else:
            known = field.default_factory is not dataclasses.MISSING
            settings[field.name] = to_dict(field.default_factory()) if known else "required"  # type: ignore[operator,misc]
    return settings


def _why_not(kind: type[BaseMetric]) -> str:
    """Why the metric cannot be loaded here with its usual settings; "" when it can."""
    try:
        kind().prepare()
    except Exception as error:  # of any kind: it does not run here
        return str(error) or type(error).__name__
    return ""


def _table(rows: list[dict[str, Any]]) -> str:
    """One line a metric, by level."""
    width = max(len(row["name"]) for row in rows)
    lines = []
    for level, says in LEVELS.items():
        here = [row for row in rows if row["level"] == level]
        lines += [f"{says}:"] if here else []
        for row in here:
            runs = {None: "", True: "  runs here", False: "  cannot run here"}[row["runs"]]
            facts = f"{row['direction']:<22}  needs {', '.join(row['needs']) or 'nothing'}{runs}"
            lines.append(f"  {row['name']:<{width}}  {facts}"[:_WIDEST])
    return "\n".join([*lines, "settings, range, what a metric detects and misses: v2t-eval list NAME"])


def _page(row: dict[str, Any]) -> str:
    low, high = (end if end is not None else sign for end, sign in zip(row["range"], ("-inf", "inf"), strict=True))
    facts = {
        "needs": ", ".join(row["needs"]) or "nothing",
        "uses": ", ".join(row["uses"]),
        "range": f"{low} to {high}, {row['direction']}",
        "settings": ", ".join(f"{key}={value}" for key, value in row["settings"].items()),
        "requires": row["requires"] or "nothing",
        "runs here": {None: "", True: "yes", False: f"no: {row['why_not']}"}[row["runs"]],
        "detects": row["detects"],
        "misses": row["misses"],
    }
    lines = [f"{row['name']} ({LEVELS[row['level']]})"]
    for key, value in facts.items():
        if value:
            lines += textwrap.wrap(f"{key:<12}{value}", 116, initial_indent="    ", subsequent_indent=" " * 16)
    return "\n".join(lines)
