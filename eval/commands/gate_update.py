"""The verb `v2t-eval gate update`: replace a baseline, with a reason that its history keeps; a verdict never does."""

from __future__ import annotations

import argparse
from pathlib import Path

from cineloop.errors import UsageError
from v2t_eval.flags.gate import CLIPS, DRY_RUN, SUITE, keep
from v2t_eval.flags.scoring import add_scoring

SUMMARY = "Replace a gate's baseline, with a reason; its history keeps what was before."
EXAMPLES = (
    "  v2t-eval gate update main-clips/ --suite gate --baseline baseline.json --reason '20 steps now'\n"
    "  v2t-eval gate update scores.json --baseline baseline.json --reason 'another judge'"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("clips", type=Path, metavar="CLIPS|RESULTS", help=CLIPS)
    add("--baseline", type=Path, required=True, metavar="FILE", help="the baseline, which is replaced")
    add("--reason", required=True, metavar="TEXT", help="why, for the baseline's history")
    add("--suite", type=Path, metavar="SUITE", help=f"{SUITE} (default for RESULTS: the baseline's rules)")
    add("--json", action="store_true", help="figures, history and advice as one JSON object on stdout")
    add("--dry-run", action="store_true", help=DRY_RUN)
    add_scoring(add)


def run(args: argparse.Namespace) -> int:
    from cineloop import log
    from v2t_eval.gate.baseline import read
    from v2t_eval.suites.suite import read_suite

    log.setup(verbosity=-1 if args.quiet else args.verbose)
    if not args.reason.strip():
        raise UsageError("an update needs a reason", hint='--reason "the sampler takes 20 steps now"')
    read(args.baseline)  # before hours of scoring
    suite = None if args.suite is None else read_suite(args.suite)
    return keep(args, suite, args.baseline, lambda: read(args.baseline), reason=args.reason.strip())
