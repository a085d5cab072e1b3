"""The verb `v2t-eval roundtrip`: prompts in; clips, captions, and how much of the prompts came back out."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from cineloop.options import add_options, load_options
from cineloop.parser import Parser
from v2t_eval.roundtrip.settings import RoundtripConfig

SUMMARY = "Prompts to clips to captions and back: what a generator shows, between chance and a perfect clip."
EXAMPLES = (
    "  v2t-eval roundtrip --world 24 -o trip/\n"
    "  v2t-eval roundtrip prompts.txt -o trip/ --steps 16 --num-videos 4\n"
    "  v2t-eval roundtrip --clips made/ -o trip/\n"
    "  v2t-eval roundtrip prompts.jsonl --clips clips/ -o trip/ --captioner Qwen/Qwen3.5-4B \\\n"
    "      --judge v2t:Qwen/Qwen3.5-4B --reader openai:http://localhost:8000/v1 --reference-clips real/"
)


def add_arguments(parser: Parser) -> None:
    add = parser.add_argument
    add("-o", "--output", type=Path, required=True, metavar="DIR", help="folder for all stages and the report")
    add_options(parser, RoundtripConfig)
    add("--dry-run", action="store_true", help="print what would be made; make nothing")
    add("--json", action="store_true", help="print the figures as one JSON object on stdout")


def run(args: argparse.Namespace) -> int:
    from cineloop import log
    from v2t_eval.report import terminal
    from v2t_eval.roundtrip import run as roundtrip
    from v2t_eval.roundtrip.report import document

    log.setup(verbosity=-1 if args.quiet else args.verbose)
    config = load_options(args, RoundtripConfig)
    if args.dry_run:
        rows = roundtrip.plan(config, args.output)
        for row in rows if not args.json else ():
            print(f"{row['action']}\t{log.printable(row['id'])}\t{log.printable(row['prompt'])}")
        if args.json:
            print(json.dumps(rows, ensure_ascii=False))
        return 0
    trip = roundtrip.run(config, args.output, show_progress=not args.quiet)
    terminal.show(document(trip, args.output), trip.as_dict(clips=False) if args.json else None)
    return trip.exit_code
