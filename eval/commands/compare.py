"""The verb `v2t-eval compare`: what changed from one scoring to another, metric by metric; decides nothing."""

from __future__ import annotations

import argparse
import json
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cineloop.errors import EXIT_NOT_COMPARABLE, EXIT_OK
from v2t_eval.commands.score import add_machine, config_of

if TYPE_CHECKING:
    from v2t_eval.gate.verdict import ClipChange, MetricVerdict
    from v2t_eval.report.document import Cell, Document
    from v2t_eval.scores import Scores

SUMMARY = "Show what changed from one scoring to another; decides nothing."
EXAMPLES = (
    "  v2t-eval compare before/scores.json after/scores.json\n"
    "  v2t-eval compare baseline.json scores/ --json\n"
    "  v2t-eval compare before-clips/ after-clips/ --suite gate --cache cache/\n"
    "\n"
    "exit codes: 0 compared, 9 the two may not be compared (the differences are named)"
)
NUM_CLIPS = 3  # best and worst clips of each metric


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the verb takes."""
    add = parser.add_argument
    add("before", type=Path, metavar="A", help="scores.json, its folder, a baseline, or clips (with --suite)")
    add("after", type=Path, metavar="B", help="the same, to compare with A; a change is B minus A")
    add("--suite", type=Path, metavar="SUITE", help="score folders of clips by this suite")
    add("--json", action="store_true", help="print one JSON object on stdout")
    add("--workers", type=int, metavar="N", help="processes for clips (default: by cores and GPUs); same result")
    add("--cache", type=Path, metavar="DIR", help="evidence cache of clips, shared by runs")
    add_machine(add)


def run(args: argparse.Namespace) -> int:
    """Run the verb; returns the exit code."""
    from cineloop import log
    from cineloop.interrupt import Stopping
    from v2t_eval.gate.comparable import compared
    from v2t_eval.gate.sides import named, results_of
    from v2t_eval.report import terminal
    from v2t_eval.score import ScoreConfig
    from v2t_eval.suite import read_suite

    log.setup(verbosity=-1 if args.quiet else args.verbose)
    metrics = read_suite(args.suite).metrics if args.suite else None
    sides = [named(args.before), named(args.after)]
    with ExitStack() as stack:
        stop = stack.enter_context(Stopping())
        config = config_of(ScoreConfig, args, args.cache)
        before, after = (
            results_of(side) if metrics is None else side.scored(metrics, config, stop, show_progress=not args.quiet)
            for side in sides
        )
    found = compared(after, before)
    told = [] if found.differences else changes(before, after)
    if args.json:
        tree = {"schema": 1, "comparable": not found.differences, "differences": list(found.differences),
                "notes": list(found.notes), "metrics": told}  # fmt: skip
        print(json.dumps(tree, allow_nan=False))
    else:
        terminal.show(_document(told, found.differences, found.notes))
    return EXIT_NOT_COMPARABLE if found.differences else EXIT_OK


def changes(before: Scores, after: Scores) -> list[dict[str, Any]]:
    """For each metric that both have: both figures, the change with its interval and p, the clips that changed most."""
    from v2t_eval.gate.decide import decide_metrics, worst_clips
    from v2t_eval.gate.policy import Policy, Rule
    from v2t_eval.gate.run import side_of

    old, new = side_of(before), side_of(after)
    shared = [name for name in new.results if name in old.results]
    if not shared:
        return []
    # Every metric in turn is asked about; what a rule would say of it is not told.
    policy = Policy(primary=tuple(Rule(metric=name, margin=1.0, accepted=0.0) for name in shared))
    worst, best = worst_clips(new, old, policy, limit=NUM_CLIPS), worst_clips(old, new, policy, limit=NUM_CLIPS)
    return [
        _told(one, [clip for clip in worst if clip.metric == one.metric], [c for c in best if c.metric == one.metric])
        for one in decide_metrics(new, old, policy)
    ]


def _told(one: MetricVerdict, worst: list[ClipChange], best: list[ClipChange]) -> dict[str, Any]:
    names = ("metric", "higher_is_better", "change", "low", "high", "p", "mde", "num_pairs", "num_clusters")
    figures = {side: None if figure is None else {"value": figure.value, "low": figure.low, "high": figure.high}
               for side, figure in (("a", one.baseline), ("b", one.candidate))}  # fmt: skip
    clips = {
        "worst": [{"id": c.id, "prompt": c.prompt, "a": c.baseline, "b": c.candidate} for c in worst],
        "best": [{"id": c.id, "prompt": c.prompt, "a": c.candidate, "b": c.baseline} for c in best],  # sides turned
    }
    why = one.reasons[0] if one.change is None and one.reasons else None
    beside = {"why_not": why, "notes": list(one.reasons[1:])}
    return {name: getattr(one, name) for name in names} | figures | beside | clips


def _document(told: list[dict[str, Any]], differences: tuple[str, ...], notes: tuple[str, ...]) -> Document:
    from cineloop.log import plural
    from v2t_eval.report.document import Banner, Document, Section, Table
    from v2t_eval.report.summary import DIRECTIONS

    word = "NOT COMPARABLE" if differences else f"{plural(len(told), 'metric')} compared"
    columns = ("Metric", "Direction", "A", "B", "Change (B minus A)", "p", "Rests on")
    rows: list[tuple[Cell, ...]] = []
    for one in told:
        direction = DIRECTIONS[one["higher_is_better"]]
        if one["change"] is None:
            rows.append((one["metric"], direction, None, None, None, None, None))
            continue
        span = "" if one["low"] is None else f" [{one['low']:+.4g}, {one['high']:+.4g}]"
        rows.append(
            (one["metric"], direction, f"{one['a']['value']:.4g}", f"{one['b']['value']:.4g}",
             f"{one['change']:+.4g}{span}", f"{one['p']:.3g}",
             f"{one['num_pairs']} pairs in {one['num_clusters']} clusters")
        )  # fmt: skip
    table = Table(columns=columns, rows=tuple(rows), notes=tuple(map(_notes, told)))
    sections = (
        Section(title="What makes them not comparable", text=differences),
        Section(title="Changes", tables=(table,) if rows else ()),
        Section(title="Notes", text=notes),
    )
    return Document(title="Comparison", banner=Banner(word=word, sentence=""), sections=sections)


def _notes(one: dict[str, Any]) -> tuple[str, ...]:
    """Below a metric: why it is not compared, or that every value is alike; the clips that changed most."""
    if one["change"] is None:
        return (str(one["why_not"]),)
    clips = [
        f"{word}: {clip['id']}  {clip['a']:.4g} → {clip['b']:.4g}  {clip['prompt'] or ''}"
        for word in ("worst", "best")
        for clip in one[word]
    ]
    return (*(note for note in one["notes"] if note.startswith("every value")), *clips)
