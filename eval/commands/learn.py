"""The verb `v2t-eval learn`: a generator learns from rewards of its own clips, watched by measures outside of them."""

from __future__ import annotations

import argparse
from pathlib import Path

from cineloop.errors import EXIT_OK
from cineloop.options import add_options, add_set, load_options
from cineloop.parser import Parser
from v2t_eval.learn.settings import LearnConfig

SUMMARY = "Teach a generator by a judge: draw, judge, learn, measure; stop when it only learns to please."
EXAMPLES = (
    "  v2t-eval learn -o learnt/                                  # the bundled generator and its judge\n"
    "  v2t-eval learn recipe.yaml -o learnt/ --set objective=raft --set rounds=20\n"
    "  v2t-eval learn recipe.yaml -o learnt/ --dry-run             # what would be drawn and measured, and how long\n"
    "  v2t-eval learn -o learnt/ --set model=Wan-AI/Wan2.1-T2V-1.3B-Diffusers --set generator=diffusers \\\n"
    "      --set rank=16 --set drawn=made/ --set rewards=mine.jsonl --set rounds=1   # rewards by hand\n"
    "  v2t-eval learn -o learnt/ --cluster ray --model-workers 1..8       # clips drawn and judged by many machines\n"
    "\n"
    "exit codes: 0 all rounds done, 6 stopped by a measure or a guard, or failed by the gate, 8 the gate is\n"
    "inconclusive, 9 it cannot compare; the model of the folder is in each case the last one that was not worse"
)


def add_arguments(parser: Parser) -> None:
    add = parser.add_argument
    add("recipe", nargs="?", type=Path, metavar="RECIPE", help="YAML file of settings (docs/learning.md)")
    add("-o", "--output", type=Path, required=True, metavar="DIR", help="folder for all rounds and the report")
    add_set(parser, LearnConfig, "a setting over the recipe's")
    add("--dry-run", action="store_true", help="what would be drawn and measured, and how long; writes nothing")
    add("--json", action="store_true", help="print the result as one JSON object on stdout")
    add_options(parser, LearnConfig)


def run(args: argparse.Namespace) -> int:
    from cineloop import log
    from v2t_eval.learn import plan
    from v2t_eval.learn.report import as_dict, document
    from v2t_eval.learn.run import run as learn
    from v2t_eval.report import terminal

    log.setup(verbosity=-1 if args.quiet else args.verbose)
    config = load_options(args, LearnConfig, file=args.recipe)
    if args.dry_run:
        planned = plan.plan(config, args.output)
        terminal.show(plan.page(planned), planned if args.json else None)
        return EXIT_OK
    learning = learn(config, args.output)
    terminal.show(document(learning, config, args.output), as_dict(learning, config) if args.json else None)
    return learning.exit_code
