"""The verb `v2t-eval gate`: clips or scores against a baseline in; one verdict with one exit code out."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from cineloop.run_folder import refuse_existing
from v2t_eval.flags.scoring import add_scoring, add_tracking, check_tracking, lock_output, old_files, score_options

if TYPE_CHECKING:
    from v2t_eval.core.inputs import Inputs
    from v2t_eval.core.metric import BaseMetric
    from v2t_eval.core.scores import Scores
    from v2t_eval.gate.verdict import Verdict
    from v2t_eval.report.document import Document

SUMMARY = "Pass or fail a generator's clips against a baseline, by declared rules; one verdict, one exit code."
EXAMPLES = (
    "  v2t-eval gate init main-clips/ --suite gate -o baseline.json\n"
    "  v2t-eval gate clips/ --suite gate --baseline baseline.json -o gate/\n"
    "  v2t-eval gate scores/ --suite gate --baseline baseline.json --json\n"
    "  v2t-eval gate update clips/ --suite gate --baseline baseline.json --reason '20 steps now'\n"
    "\n"
    "exit codes of a verdict:\n"
    "  0 pass, 6 fail, 8 inconclusive (more prompts, or a wider margin), 9 not comparable with the baseline;\n"
    "  5 a metric that decides could not run here, which is never a pass\n"
    "\n"
    "Write a folder named init or update as ./init. See docs/gate.md."
)
NAMES = ("verdict.json", "gate.md", "gate.html", "junit.xml")
CLIPS = (
    "a folder of videos, a run folder or a manifest.jsonl, which are scored by the suite; or a scores.json, its folder "
    "or a baseline, taken as they are"
)
SUITE = "metrics and rules: gate (shipped), or a YAML file of yours"
DRY_RUN = "read all inputs, print what would be measured; write nothing"


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
    add("--json", action="store_true", help="print the verdict as one JSON object on stdout")
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
    _refuse_old(args)
    sides = GateInputs.read(args.clips, args.suite, args.baseline, args.audit)
    if args.dry_run:
        return plan(sides.candidate, sides.suite.metrics, args)
    root = None if isinstance(sides.candidate, Scores) else sides.candidate.clips_root
    names = {"file": args.baseline, "folder": args.baseline_clips}
    with ExitStack() as stack:
        cache = lock_output(args, stack)
        _delete_verdict(args)
        scores = sides.scores(**score_options(args, stack, cache))
        if args.output:
            write(scores, document_of(scores, args.output, root), args.output, cache)
        verdict = sides.verdict(
            scores, suite=log.printable(str(args.suite)), about_candidate={"folder": log.printable(str(args.clips))},
            about_baseline={key: log.printable(str(path)) for key, path in names.items() if path is not None},
        )  # fmt: skip
        report = document(verdict, root, args.baseline_clips)
        _write(verdict, report, args)
    _show(verdict, report, as_json=args.json)
    return verdict.exit_code


def plan(candidate: Scores | Inputs, metrics: list[BaseMetric] | None, args: argparse.Namespace) -> int:
    """Print what would be measured; returns the exit code.

    Raises:
        UsageError: clips without metrics.
    """
    from v2t_eval.core.scores import Scores
    from v2t_eval.flags.scoring import dry_run
    from v2t_eval.gate import sides

    if not isinstance(candidate, Scores) and metrics is not None:
        return dry_run(candidate, metrics, args)
    scores = sides.scores_of(candidate, None)
    names = list(scores.by_name)
    counts = {"clips": len(scores.clips), "metrics": names}
    print(json.dumps(counts) if args.json else f"{len(scores.clips)} clips with scores by {', '.join(names)}")
    return 0


def _refuse_old(args: argparse.Namespace) -> None:
    from v2t_eval.report import NAMES as REPORTS

    there = old_files(args.output, (*NAMES, *REPORTS)) if args.output else []
    there += [path for path in (args.junit, args.metrics_json) if path]
    refuse_existing(there, overwrite=args.overwrite)


def _delete_verdict(args: argparse.Namespace) -> None:
    """Delete the verdict of an earlier run, which must not be read should this run fail."""
    for path in [args.output / name for name in NAMES] if args.output else []:
        path.unlink(missing_ok=True)
    for path in (args.junit, args.metrics_json):
        if path:
            path.unlink(missing_ok=True)


def _write(verdict: Verdict, report: Document, args: argparse.Namespace) -> None:
    from cineloop.documents import utf8_bytes
    from cineloop.files import write_atomic
    from cineloop.log import logger, printable
    from v2t_eval.report import junit, markdown, page, tracking

    if args.metrics_json:
        tracking.write(tracking.of_verdict(verdict), args.metrics_json, args.step)
    if args.junit:
        write_atomic(args.junit, junit.render(report))
    if not args.output:
        return
    folder: Path = args.output
    tree = json.dumps(verdict.as_dict(), ensure_ascii=False, allow_nan=False, indent=1)
    written = {
        "gate.md": markdown.render(report, max_bytes=markdown.COMMENT_BYTES).encode(),
        "gate.html": page.render(report, folder),
        "junit.xml": junit.render(report),
        "verdict.json": utf8_bytes(tree + "\n"),
    }
    for name, data in written.items():
        write_atomic(folder / name, data)
        logger.info("%s", printable(str(folder / name)))


def _show(verdict: Verdict, report: Document, *, as_json: bool) -> None:
    from v2t_eval.report import github, terminal

    github.write_summary(report, os.environ)
    if as_json:
        print(json.dumps(verdict.as_dict(), allow_nan=False))
    else:
        terminal.show(report)
    with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
        github.announce(report, os.environ)
