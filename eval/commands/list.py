"""The verb `v2t-eval list`: which metrics there are, what they need, see and cannot see, and whether they run here."""

from __future__ import annotations

import argparse
import json
import math
import textwrap
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eval.metric import BaseMetric

SUMMARY = "Show the metrics: what each needs, sees and cannot see, and whether it runs here."
EXAMPLES = "  v2t-eval list\n  v2t-eval list clipsim\n  v2t-eval list --json --check"

_DIRECTIONS = {True: "higher is better", False: "lower is better", None: "neither end is good"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the verb takes."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="one metric in full")
    parser.add_argument("--check", action="store_true", help="try to load each, to see whether it runs here (slower)")
    parser.add_argument("--json", action="store_true", help="as JSON on stdout")


def run(args: argparse.Namespace) -> int:
    """Run the verb; returns the exit code."""
    from eval.metric import metric_names
    from v2t.base import log

    log.setup(verbosity=-1 if args.quiet else args.verbose)
    names = [args.name] if args.name else metric_names()
    rows = [about(name, check=args.check or args.name is not None) for name in names]
    if args.json:
        print(json.dumps(rows[0] if args.name else rows, ensure_ascii=False, allow_nan=False))
    elif args.name:
        print(_page(rows[0]))
    else:
        print(_table(rows))
    return 0


def about(name: str, *, check: bool) -> dict[str, Any]:
    """What a metric says of itself; `runs` is None unless it was tried (`check`).

    Raises:
        UsageError: there is no such metric.
    """
    from eval.metric import load_metric
    from v2t.base.config import to_dict

    kind: type[BaseMetric] = load_metric(name)
    low, high = kind.value_range
    found: dict[str, Any] = {
        "name": name,
        "level": kind.level,
        "needs": list(kind.needs),
        "uses": list(kind.uses),
        "range": [end if math.isfinite(end) else None for end in (low, high)],
        "direction": _DIRECTIONS[kind.higher_is_better],
        "settings": to_dict(kind.Settings()),
        "wants": kind.wants,
        "sees": kind.sees,
        "blind": kind.blind,
        "runs": None,
        "why_not": "",
    }
    if check:
        why_not = _why_not(kind)
        found |= {"runs": not why_not, "why_not": why_not}
    return found


def _why_not(kind: type[BaseMetric]) -> str:
    """Why the metric cannot be loaded here with its usual settings; "" when it can."""
    try:
        kind().prepare()
    except Exception as error:  # whatever it is, it does not run here
        return str(error) or type(error).__name__
    return ""


def _table(rows: list[dict[str, Any]]) -> str:
    width = max(len(row["name"]) for row in rows)
    lines = []
    for row in rows:
        state = {None: row["wants"] or "nothing", True: "runs here", False: row["why_not"]}[row["runs"]]
        lines.append(f"{row['name']:<{width}}  {row['level']:<4}  {', '.join(row['needs']):<28}  {state}")
    head = f"{'metric':<{width}}  {'of':<4}  {'needs':<28}  {'wants' if rows[0]['runs'] is None else 'here'}"
    return "\n".join([head, *lines, "", "v2t-eval list NAME shows one in full, --check tries to load them"])


def _page(row: dict[str, Any]) -> str:
    low, high = ("-inf" if row["range"][0] is None else row["range"][0]), row["range"][1]
    facts = {
        "of": row["level"],
        "needs": ", ".join(row["needs"]) or "nothing",
        "looks also at": ", ".join(row["uses"]) or "nothing else",
        "range": f"{low} to {'inf' if high is None else high}, {row['direction']}",
        "settings": ", ".join(f"{key}={value}" for key, value in row["settings"].items()) or "none",
        "wants": row["wants"] or "nothing",
        "runs here": "yes" if row["runs"] else f"no: {row['why_not']}",
        "sees": row["sees"],
        "cannot see": row["blind"],
    }
    lines = [row["name"]]
    for key, value in facts.items():
        lines += textwrap.wrap(f"{key:<14}{value}", 110, initial_indent="  ", subsequent_indent=" " * 16)
    return "\n".join(lines)
