"""The verb `v2t-eval compare`: what changed from one scoring to another, metric by metric; decides nothing."""

from __future__ import annotations

import argparse
import json
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cineloop.errors import EXIT_NOT_COMPARABLE, EXIT_OK
from v2t_eval.flags.scoring import add_scoring, score_options

if TYPE_CHECKING:
    from v2t_eval.core.changes import ClipChange, MetricChange
    from v2t_eval.report.document import Cell, Document

SUMMARY = "Show what changed from one scoring to another; decides nothing."
EXAMPLES = (
    "  v2t-eval compare before/scores.json after/scores.json\n"
    "  v2t-eval compare baseline.json scores/ --json\n"
    "  v2t-eval compare before-clips/ after-clips/ --suite gate --cache cache/\n"
    "\n"
    "A metric whose definition differs (version, model, settings) is refused alone, and says why. exit codes: 0 what\n"
    "may be compared is, 9 nothing may be, or a metric that decides in the gate of the --suite may not"
)
NUM_CLIPS = 3  # best and worst clips of each metric


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("before", type=Path, metavar="A", help="scores.json, its folder, a baseline, or clips (with --suite)")
    add("after", type=Path, metavar="B", help="the same, to compare with A; a change is B minus A")
    add("--suite", type=Path, metavar="SUITE", help="score folders of clips by this suite")
    add("--json", action="store_true", help="print one JSON object on stdout")
    add_scoring(add)


def run(args: argparse.Namespace) -> int:
    from cineloop import log
    from v2t_eval.core.changes import changes
    from v2t_eval.gate import sides
    from v2t_eval.gate.comparable import comparison
    from v2t_eval.report import terminal
    from v2t_eval.suites.suite import read_suite

    log.setup(verbosity=-1 if args.quiet else args.verbose)
    suite = read_suite(args.suite) if args.suite else None
    metrics = suite.metrics if suite else None
    both = [sides.read(args.before), sides.read(args.after)]
    with ExitStack() as stack:
        options = score_options(args, stack, args.cache)
        before, after = (sides.scores_of(side, metrics, **options) for side in both)
    deciding = [rule.metric for rule in suite.policy.primary] if suite and suite.policy else []
    check = comparison(after, before, deciding)
    if not check.incompatible < set(after.by_name) & set(before.by_name):
        check = comparison(after, before)  # all that both have, if any, decide: nothing is left
    by_name = {} if check.differences else changes(before, after)
    rows = rows_of(by_name)
    if args.json:
        tree = {"schema": 1, "comparable": not check.differences, "differences": list(check.differences),
                "notes": list(check.notes), "metrics": rows}  # fmt: skip
        print(json.dumps(tree, allow_nan=False))
    else:
        terminal.show(_document(rows, by_name, check.differences, check.notes))
    return EXIT_NOT_COMPARABLE if check.differences else EXIT_OK


def rows_of(by_name: dict[str, MetricChange]) -> list[dict[str, Any]]:
    """For each metric that both have: both figures, the change with its bounds and p, the clips that changed most; or
    why it is not what it was."""
    from v2t_eval.core.changes import worst_clips
    from v2t_eval.gate.comparable import definition_changes

    why = {name: "; ".join(each.text for each in definition_changes(one.ours, one.theirs)[0])
           for name, one in by_name.items() if one.ours and one.theirs}  # fmt: skip
    same = {name: one for name, one in by_name.items() if not why[name]}
    worst, best = (worst_clips(same, limit=NUM_CLIPS, best=best) for best in (False, True))
    return [
        _row(
            one,
            why[name],
            len(same),
            [clip for clip in worst if clip.metric == name],
            [clip for clip in best if clip.metric == name],
        )
        for name, one in by_name.items()
    ]


def _row(
    one: MetricChange, why: str, num_tests: int, worst: list[ClipChange], best: list[ClipChange]
) -> dict[str, Any]:
    from v2t_eval.core.changes import ALPHA
    from v2t_eval.core.power import POWER, least_change
    from v2t_eval.gate.sentences import below_minimum, notes_on, obstacle

    change, (b, a) = None if why else one.change, one.figures
    mde = change and change.se and least_change(change, accepted=0.0, alpha=ALPHA, power=POWER, num_tests=num_tests)
    return {
        "metric": one.name,
        "higher_is_better": one.higher_is_better,
        "change": change and change.value,
        "low": change and change.low,
        "high": change and change.high,
        "p": change and change.p,
        "num_pairs": change.num_pairs if change else 0,
        "num_clusters": change.num_clusters if change else 0,
        "mde": mde or None,
        "a": a and {"value": a.value, "low": a.low, "high": a.high},
        "b": b and {"value": b.value, "low": b.low, "high": b.high},
        "why_not": why or obstacle(one) or None,
        "notes": [] if why else [*filter(None, [below_minimum(one)]), *notes_on(one)],
        "worst": [_clip(clip) for clip in worst],
        "best": [_clip(clip) for clip in best],
    }


def _clip(clip: ClipChange) -> dict[str, Any]:
    return {"id": clip.id, "prompt": clip.prompt, "a": clip.baseline, "b": clip.candidate}


def _document(
    rows: list[dict[str, Any]], by_name: dict[str, MetricChange], differences: tuple[str, ...], notes: tuple[str, ...]
) -> Document:
    from cineloop.log import plural
    from v2t_eval.report.document import Banner, Document, Section, Table
    from v2t_eval.report.summary import DIRECTIONS

    refused = sum(one["change"] is None for one in rows)
    word = "NOT COMPARABLE" if differences else f"{plural(len(rows) - refused, 'metric')} compared"
    if refused:
        word += f", {refused} not"
    columns = ("Metric", "Direction", "A", "B", "Change (B minus A)", "p", "Rests on")
    lines: list[tuple[Cell, ...]] = []
    for one in rows:
        cells: tuple[Cell, ...] = (None,) * 5
        if one["change"] is not None:
            cells = (
                f"{one['a']['value']:.4g}", f"{one['b']['value']:.4g}",
                f"{one['change']:+.4g} [{one['low']:+.4g}, {one['high']:+.4g}]", f"{one['p']:.3g}",
                f"{one['num_pairs']} pairs in {one['num_clusters']} clusters",
            )  # fmt: skip
        lines.append((one["metric"], DIRECTIONS[one["higher_is_better"]], *cells))
    table = Table(columns=columns, rows=tuple(lines), notes=tuple(_notes(one, by_name[one["metric"]]) for one in rows))
    sections = (
        Section(title="What makes them not comparable", text=differences),
        Section(title="Changes", tables=(table,) if rows else ()),
        Section(title="Notes", text=notes),
    )
    return Document(title="Comparison", banner=Banner(word=word, sentence=""), sections=sections)


def _notes(one: dict[str, Any], change: MetricChange) -> tuple[str, ...]:
    """Below a metric: why it is not compared, or that all values are equal; the clips that changed most."""
    from v2t_eval.gate.sentences import level_note

    if one["change"] is None:
        return (str(one["why_not"]),)
    clips = [
        f"{word}: {clip['id']}  {clip['a']:.4g} → {clip['b']:.4g}  {clip['prompt'] or ''}"
        for word in ("worst", "best")
        for clip in one[word]
    ]
    return (*level_note(change), *clips)
