"""The verb `v2t-eval gate update`: replace a baseline, with a reason that its history keeps; a verdict never does."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from pathlib import Path

from cineloop.errors import UsageError
from v2t_eval.commands.gate import CLIPS, SUITE, add_scoring, plan, scored
from v2t_eval.commands.gate_init import show

SUMMARY = "Replace a gate's baseline, with a reason; its history keeps what was before."
EXAMPLES = (
    "  v2t-eval gate update main-clips/ --suite gate --baseline baseline.json --reason '20 steps now'\n"
    "  v2t-eval gate update scores.json --baseline baseline.json --reason 'another judge'"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the verb takes."""
    add = parser.add_argument
    add("clips", type=Path, metavar="CLIPS|RESULTS", help=CLIPS)
    add("--baseline", type=Path, required=True, metavar="FILE", help="the baseline, which is replaced")
    add("--reason", required=True, metavar="TEXT", help="why, for the baseline's history")
    add("--suite", type=Path, metavar="SUITE", help=f"{SUITE} (default for RESULTS: the baseline's rules)")
    add("--json", action="store_true", help="figures, history and advice as one JSON object on stdout")
    add_scoring(add)


def run(args: argparse.Namespace) -> int:
    """Run the verb; returns the exit code."""
    from cineloop import log
    from v2t_eval.gate import baseline as file
    from v2t_eval.gate import sides
    from v2t_eval.gate.comparable import compared
    from v2t_eval.gate.run import plain_policy, require
    from v2t_eval.suite import read_suite

    log.setup(verbosity=-1 if args.quiet else args.verbose)
    if not args.reason.strip():
        raise UsageError("an update needs a reason", hint='--reason "the sampler takes 20 steps now"')
    suite = None if args.suite is None else read_suite(args.suite)
    policy = None if suite is None else suite.rules
    file.read(args.baseline)  # before hours of scoring
    found = sides.read(args.clips)
    if args.dry_run:
        return plan(found, suite and suite.metrics, args)
    with ExitStack() as stack:
        scores = scored(found, suite and suite.metrics, args, stack, args.cache)
        if policy is not None:
            require(scores, policy)
        stack.enter_context(file.lock(args.baseline))
        old = file.read(args.baseline)
        made = file.baseline_of(
            scores,
            old.suite if suite is None else suite.name,
            old.policy if policy is None else plain_policy(policy),
            old=old,
            reason=args.reason.strip(),
            differences=compared(scores, old).differences,
        )
        file.write(made, args.baseline)
    show(made, scores, policy, args.baseline, as_json=args.json)
    return 0
