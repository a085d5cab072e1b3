"""The verb `v2t-eval gate`: clips or scores against a baseline in; one verdict with one exit code out."""

from __future__ import annotations

import argparse
import json
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from v2t_eval.flags.gate import CLIPS, DRY_RUN, SUITE, plan
from v2t_eval.flags.scoring import add_scoring, add_tracking, check_tracking, lock_output, score_options
from v2t_eval.flags.verdict import delete_verdict, refuse_old, show_verdict, write_verdict

if TYPE_CHECKING:
    from v2t_eval.gate.sides import GateInputs

SUMMARY = "Pass or fail a generator's clips against a baseline, by declared rules; one verdict, one exit code."
EXAMPLES = (
    "  v2t-eval gate init main-clips/ --suite gate -o baseline.json\n"
    "  v2t-eval gate clips/ --suite gate --baseline baseline.json -o gate/\n"
    "  v2t-eval gate scores/ --suite gate --baseline baseline.json --json\n"
    "  v2t-eval gate baseline.json --suite gate --self-test\n"
    "  v2t-eval gate update clips/ --suite gate --baseline baseline.json --reason '20 steps now'\n"
    "\n"
    "exit codes of a verdict:\n"
    "  0 pass, 6 fail, 8 inconclusive (more prompts, or a wider margin), 9 not comparable with the baseline;\n"
    "  5 a metric that decides could not run here, which is never a pass\n"
    "\n"
    "Write a folder named init or update as ./init. See docs/gate.md."
)
SELF_TEST = (
    "take CLIPS|RESULTS for a baseline: gate halves of its prompts against each other 200 times, print how often the "
    "gate fails where nothing changed; no verdict"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("clips", type=Path, metavar="CLIPS|RESULTS", help=CLIPS)
    add("--suite", type=Path, required=True, metavar="SUITE", help=SUITE)
    add("--baseline", type=Path, metavar="FILE", help="baseline to compare with; without it only absolute rules decide")
    into = "folder for verdict.json, gate.md, gate.html, junit.xml and the scores"
    add("-o", "--output", type=Path, metavar="DIR", help=into)
    add("--audit", type=Path, metavar="FILE", help="what the metrics cannot see (default: the suite's audit)")
    add("--junit", type=Path, metavar="FILE", help="write the verdict as JUnit XML")
    add_tracking(add)
    add("--baseline-clips", type=Path, metavar="DIR", help="the baseline's clips, shown next to those that got worse")
    add("--overwrite", action="store_true", help="replace the files of -o and --junit")
    add("--self-test", action="store_true", help=SELF_TEST)
    add("--json", action="store_true", help="print the verdict, or the self-test, as one JSON object on stdout")
    add("--dry-run", action="store_true", help=DRY_RUN)
    add_scoring(add, "evidence cache, shared by runs (default: inside -o)")


def run(args: argparse.Namespace) -> int:
    from cineloop import log
    from v2t_eval.core.scores import Scores
    from v2t_eval.gate.report import document
    from v2t_eval.gate.sides import GateInputs
    from v2t_eval.report import document_of, write

    log.setup(verbosity=-1 if args.quiet else args.verbose)
    check_tracking(args)
    refuse_old(args)
    sides = GateInputs.read(args.clips, args.suite, args.baseline, args.audit)
    if args.dry_run:
        return plan(sides.candidate, sides.suite.metrics, args)
    root = None if isinstance(sides.candidate, Scores) else sides.candidate.clips_root
    names = {"file": args.baseline, "folder": args.baseline_clips}
    if args.self_test:
        return _self_test(sides, args)
    with ExitStack() as stack:
        cache = lock_output(args, stack)
        delete_verdict(args)
        scores = sides.scores(**score_options(args, stack, cache))
        if args.output:
            write(scores, document_of(scores, args.output, root), args.output, cache)
        verdict = sides.verdict(
            scores, suite=log.printable(str(args.suite)), about_candidate={"folder": log.printable(str(args.clips))},
            about_baseline={key: log.printable(str(path)) for key, path in names.items() if path is not None},
        )  # fmt: skip
        report = document(verdict, root, args.baseline_clips)
        write_verdict(verdict, report, args)
    show_verdict(verdict, report, as_json=args.json)
    return verdict.exit_code


def _self_test(sides: GateInputs, args: argparse.Namespace) -> int:
    """Print the outcomes of gates between halves of the baseline; returns the exit code.

    Raises:
        UsageError: with --baseline or -o, which have no part in it; as `v2t_eval.gate.self_test.self_test`.
    """
    from cineloop.errors import UsageError
    from cineloop.log import Progress
    from v2t_eval.gate.self_test import SPLITS, self_test

    if args.baseline or args.output or args.junit:
        raise UsageError("--self-test goes without --baseline, -o and --junit", hint="CLIPS|RESULTS is the baseline")
    with ExitStack() as stack:
        scores = sides.scores(**score_options(args, stack, args.cache))
        bar = stack.enter_context(Progress(SPLITS, "self-test", enabled=not args.quiet))
        outcome = self_test(scores, sides.suite.rules, step=lambda: bar.advance(1))
    if args.json:
        print(json.dumps(outcome.as_dict(), allow_nan=False))
        return 0
    print(f"self-test: {outcome.splits} splits of {outcome.prompts} prompts, {outcome.half} against {outcome.half}, by "
          f"{', '.join(outcome.metrics)}")  # fmt: skip
    for name, word in (("fail", "false fails"), ("inconclusive", "inconclusive"), ("pass", "passes")):
        low, high = outcome.interval(name)
        num = outcome.outcomes.get(name, 0)
        print(f"  {word}: {num / outcome.splits:.1%} [{low:.1%}, {high:.1%}], {num} of {outcome.splits}")
    for name, num in outcome.failed_by.items():
        print(f"  failed by {name}: {num}")
    if outcome.left_out:
        print(f"  left out, no mean over clips with a margin: {', '.join(outcome.left_out)}")
    print(
        "  half the prompts, and other ones on either side: a gate with all of them decides more often (docs/gate.md)"
    )
    return 0
