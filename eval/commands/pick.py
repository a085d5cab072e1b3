"""The verb `v2t-eval pick`: the best of several checkpoints, what cannot be distinguished from it, and what copies."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from cineloop.errors import EXIT_OK
from cineloop.options import add_layers, add_options, load_options
from cineloop.parser import Parser
from v2t_eval.pick.settings import PickConfig

SUMMARY = "Pick the best checkpoint or LoRA of a training: draws where it is close, a guard against copies."
EXAMPLES = (
    "  v2t-eval pick checkpoints/ --prompts held-out.txt -o pick/\n"
    "  v2t-eval pick loras/ --generator diffusers --model Wan-AI/Wan2.1-T2V-1.3B-Diffusers \\\n"
    "      --prompts held-out.txt --training-set clips/ --by clipsim -o pick/\n"
    "  v2t-eval pick checkpoints/ --prompts held-out.txt --prompts more.txt -o pick/     # more prompts, same folder\n"
    "\n"
    "exit codes: 0 one is the best, 3 some could not be drawn with, 6 all copy training clips, 8 several are tied;\n"
    "the report says how many more prompts would decide"
)


def add_arguments(parser: Parser) -> None:
    add = parser.add_argument
    add("-o", "--output", type=Path, required=True, metavar="DIR", help="folder for clips, scores and the report")
    add("--dry-run", action="store_true", help="list the checkpoints, and the most that would be drawn; writes nothing")
    add("--json", action="store_true", help="print the result as one JSON object on stdout")
    add_layers(parser, PickConfig)
    add_options(parser, PickConfig)


def run(args: argparse.Namespace) -> int:
    from cineloop import log
    from v2t_eval.pick import run as pick
    from v2t_eval.pick.report import as_dict, document
    from v2t_eval.report import terminal

    log.setup(verbosity=-1 if args.quiet else args.verbose)
    config = load_options(args, PickConfig)
    if args.dry_run:
        rows = pick.plan(config)
        for row in rows if not args.json else ():
            print(f"{log.printable(row['name'])}\t{row.get('kind') or row['error']}\t{row.get('clips', 0)}")
        if args.json:
            print(json.dumps(rows, ensure_ascii=False))
        return EXIT_OK
    picked = pick.run(config, args.output)
    terminal.show(document(picked, args.output), as_dict(picked) if args.json else None)
    return picked.exit_code
