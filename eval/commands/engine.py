"""The verb `v2t-eval engine`: clips of two engines and calibrated margins in; one verdict with one exit code out."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from pathlib import Path

from v2t_eval.flags.gate import DRY_RUN, ENGINE_SUITE
from v2t_eval.flags.scoring import add_scoring, add_tracking, check_tracking, dry_run, lock_output, score_options
from v2t_eval.flags.verdict import delete_verdict, refuse_old, show_verdict, write_verdict

SUMMARY = "Pass or fail an inference engine against another, within margins measured on the other's own runs."
EXAMPLES = (
    "  v2t-eval engine calibrate run1/ run2/ run3/ -o margins.json\n"
    "  v2t-eval engine run1/ candidate/ --margins margins.json -o engine/\n"
    "  v2t-eval engine run1/ candidate/ --margins margins.json --known-bad bad/manifest.jsonl --json\n"
    "\n"
    "exit codes of a verdict:\n"
    "  0 pass, 6 fail, 8 inconclusive (more prompts), 9 not comparable (other sizes, lengths, metrics);\n"
    "  5 a metric that decides could not run here, which is never a pass\n"
    "\n"
    "Write a folder named calibrate as ./calibrate. See docs/engines.md."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    clips = "clips of the {}: a run folder, a manifest.jsonl with prompts and seeds, or a folder of videos"
    add("reference", type=Path, metavar="REFERENCE", help=clips.format("reference engine"))
    add("clips", type=Path, metavar="CANDIDATE", help=clips.format("candidate"))
    add("--margins", type=Path, required=True, metavar="FILE", help="what `v2t-eval engine calibrate` wrote")
    add("--suite", type=Path, default=Path("engine"), metavar="SUITE", help=ENGINE_SUITE)
    bad = "manifest of clips that must fail, each by exactly the metrics that its row lists as `fails`"
    add("--known-bad", type=Path, metavar="FILE", help=bad)
    into = "folder for verdict.json, gate.md, gate.html, junit.xml and the scores"
    add("-o", "--output", type=Path, metavar="DIR", help=into)
    add("--junit", type=Path, metavar="FILE", help="write the verdict as JUnit XML")
    add_tracking(add)
    add("--overwrite", action="store_true", help="replace the files of -o and --junit")
    add("--json", action="store_true", help="print the verdict as one JSON object on stdout")
    add("--dry-run", action="store_true", help=DRY_RUN)
    add_scoring(add, "evidence cache, shared by runs (default: inside -o)")


def run(args: argparse.Namespace) -> int:
    from cineloop import log
    from v2t_eval.engine.equivalence import EngineInputs
    from v2t_eval.engine.report import document
    from v2t_eval.report import document_of, write

    log.setup(verbosity=-1 if args.quiet else args.verbose)
    check_tracking(args)
    refuse_old(args)
    sides = EngineInputs.read(args.reference, args.clips, args.margins, args.suite, args.known_bad)
    if args.dry_run:
        return dry_run(sides.pairs, sides.suite.metrics, args)
    with ExitStack() as stack:
        cache = lock_output(args, stack)
        delete_verdict(args)
        scores, verdict = sides.verdict(
            about_candidate={"folder": log.printable(str(args.clips))},
            about_baseline={"folder": log.printable(str(args.reference)), "file": log.printable(str(args.margins))},
            **score_options(args, stack, cache),
        )
        root = sides.pairs.clips_root
        if args.output:
            write(scores, document_of(scores, args.output, root), args.output, cache)
        report = document(verdict, root, args.reference)
        write_verdict(verdict, report, args)
    show_verdict(verdict, report, as_json=args.json)
    return verdict.exit_code
