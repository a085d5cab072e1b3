"""The verb `v2t-eval gate init`: clips or scores in; the baseline that candidates are compared with out."""

from __future__ import annotations

import argparse
from pathlib import Path

from cineloop.errors import UsageError
from cineloop.run_folder import refuse_existing
from v2t_eval.flags.gate import CLIPS, DRY_RUN, SUITE, keep
from v2t_eval.flags.scoring import add_scoring

SUMMARY = "Make a gate's baseline: scores of the main branch's clips, one file for your repository."
EXAMPLES = (
    "  v2t-eval gate init main-clips/ --suite gate -o baseline.json\n"
    "  v2t-eval gate init main-scores/scores.json --suite gate -o baseline.json"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("clips", type=Path, metavar="CLIPS|RESULTS", help=CLIPS)
    add("--suite", type=Path, required=True, metavar="SUITE", help=SUITE)
    add("-o", "--output", type=Path, required=True, metavar="FILE", help="the baseline, such as baseline.json")
    add("--overwrite", action="store_true", help="replace the file of -o and forget its history")
    add("--json", action="store_true", help="figures, history and advice as one JSON object on stdout")
    add("--dry-run", action="store_true", help=DRY_RUN)
    add_scoring(add)


def run(args: argparse.Namespace) -> int:
    from cineloop import log
    from v2t_eval.audit.record import audit_of
    from v2t_eval.suites.suite import read_suite

    log.setup(verbosity=-1 if args.quiet else args.verbose)
    suite = read_suite(args.suite)
    audit = suite.rules.audit
    _refuse_old(args)
    # Before hours of scoring: an audit that later verdicts cannot read is an error now, a missing one a warning.
    if audit_of(audit) is None and audit is not None:
        log.logger.warning("there is no audit %s: verdicts will not list blind spots of the metrics", audit)
    return keep(args, suite, args.output, lambda: _refuse_old(args))


def _refuse_old(args: argparse.Namespace) -> None:
    if args.output.is_dir():
        raise UsageError(f"-o takes a file, and {args.output} is a folder", hint="-o baseline.json")
    hint = "`gate update --reason` replaces it and keeps its history; --overwrite forgets that"
    refuse_existing([args.output], overwrite=args.overwrite, hint=hint)
