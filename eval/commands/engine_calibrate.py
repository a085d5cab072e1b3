"""The verb `v2t-eval engine calibrate`: runs of one engine in; the margins for comparisons with it out."""

from __future__ import annotations

import argparse
import json
from contextlib import ExitStack
from pathlib import Path

from cineloop.errors import UsageError
from cineloop.run_folder import refuse_existing
from v2t_eval.flags.gate import DRY_RUN, ENGINE_SUITE
from v2t_eval.flags.scoring import add_scoring, dry_run, score_options

SUMMARY = "Measure the margins of an inference engine on its own runs: other batch, other order, other GPU."
EXAMPLES = (
    "  v2t-eval engine calibrate run1/ run2/ run3/ -o margins.json\n"
    "  v2t-eval engine calibrate run1/ run2/ run3/ run4/ --suite suite.yaml --cache cache/ -o margins.json"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    runs = "clips of the same prompts and seeds by one engine, three runs and more; the first is the reference"
    add("clips", type=Path, nargs="+", metavar="RUN", help=runs)
    add("--suite", type=Path, default=Path("engine"), metavar="SUITE", help=ENGINE_SUITE)
    add("-o", "--output", type=Path, required=True, metavar="FILE", help="the margins, such as margins.json")
    add("--overwrite", action="store_true", help="replace the file of -o")
    add("--json", action="store_true", help="margins as one JSON object on stdout")
    add("--dry-run", action="store_true", help=DRY_RUN)
    add_scoring(add)


def run(args: argparse.Namespace) -> int:
    from cineloop import log
    from v2t_eval.engine.equivalence import measure_margins
    from v2t_eval.engine.margins import require_runs
    from v2t_eval.engine.pairs import pair_clips
    from v2t_eval.gate import baseline as file
    from v2t_eval.suites.suite import read_suite

    log.setup(verbosity=-1 if args.quiet else args.verbose)
    suite = read_suite(args.suite)
    if args.output.is_dir():
        raise UsageError(f"-o takes a file, and {args.output} is a folder", hint="-o margins.json")
    refuse_existing([args.output], overwrite=args.overwrite)
    reference, *runs = args.clips
    require_runs(len(runs))
    if args.dry_run:
        return dry_run(pair_clips(runs[0], reference), suite.metrics, args)
    with ExitStack() as stack:
        stack.enter_context(file.lock(args.output))
        made = measure_margins(reference, runs, suite, **score_options(args, stack, args.cache))
        file.write(made, args.output)
    if args.json:
        print(json.dumps({"file": log.printable(str(args.output)), "clips": len(made.clips),
                          "rules": list(made.policy["primary"])}, allow_nan=False))  # fmt: skip
        return 0
    print(f"{log.printable(str(args.output))}: {len(made.clips)} clips, {made.history[-1].reason}")
    for rule in made.policy["primary"]:
        value = made.by_name[rule["metric"]].value
        print(f"  {rule['metric']}: {value:.3g}; accepted {rule['accepted']:.3g}, margin {rule['margin']:.3g}")
    return 0
