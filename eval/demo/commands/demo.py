"""The verb `cineloop demo`: the starters at work, from nothing, in one page."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

SUMMARY = "Watch the bundled models work: clips, captions, generated clips, a judge, a gate; one page, no network."
EXAMPLES = "  cineloop demo\n  cineloop demo --num 12 --seed 123 -o demo-123/"
FOLDER = Path("cineloop-demo")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("-o", "--output", type=Path, default=FOLDER, metavar="DIR", help=f"folder to write to (default: {FOLDER})")
    add("--num", type=int, default=8, metavar="N", help="clips to watch (default: 8)")
    add("--seed", type=int, default=7, metavar="N", help="seed of the clips (default: 7)")
    add("--json", action="store_true", help="one JSON object on stdout")


def run(args: argparse.Namespace) -> int:
    from cineloop import log
    from cineloop.errors import EXIT_FAILED_ITEMS, EXIT_OK

    log.setup(verbosity=-1 if args.verbose == 0 else args.verbose)  # what single steps say is for -v

    from v2t_eval.demo.page import outcome, show, write_page
    from v2t_eval.demo.work import work

    done = work(args.output, args.num, args.seed, quiet=args.quiet)
    seen = outcome(args.output, done)
    page = write_page(args.output, seen)
    if args.json:
        print(json.dumps(seen.as_dict() | {"page": str(page)}, ensure_ascii=False, allow_nan=False))
    else:
        show(seen, page)
    return EXIT_FAILED_ITEMS if done.failures else EXIT_OK
