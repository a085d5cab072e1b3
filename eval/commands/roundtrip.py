"""The verb `v2t-eval roundtrip`: prompts in; clips, captions, and how much of the prompts came back out."""

from __future__ import annotations

import argparse
import json
from dataclasses import fields
from pathlib import Path

from v2t_eval.commands.score import add_machine

SUMMARY = "Prompts to clips to captions and back: what a generator shows, between chance and a perfect clip."
EXAMPLES = (
    "  v2t-eval roundtrip --world 24 -o trip/\n"
    "  v2t-eval roundtrip prompts.txt -o trip/ --steps 16 --num-videos 4\n"
    "  v2t-eval roundtrip --clips made/ -o trip/\n"
    "  v2t-eval roundtrip prompts.jsonl --clips clips/ -o trip/ --captioner Qwen/Qwen3-VL-4B-Instruct \\\n"
    "      --judge v2t:Qwen/Qwen3-VL-4B-Instruct --reader openai:http://localhost:8000/v1 --reference-clips real/"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("prompts", nargs="*", metavar="PROMPTS", help="files of prompts (.txt, one per line; .jsonl), or prompts")
    add("-o", "--output", type=Path, required=True, metavar="DIR", help="folder for all stages and the report")
    world = parser.add_argument_group("prompts of the cartoon world, instead of PROMPTS")
    world.add_argument("--world", type=int, metavar="N", help="number of prompts, of one figure each")
    world.add_argument("--split", default="seen", help="seen (default), unseen, train")
    world.add_argument("--seed", type=int, default=0, help="seed of prompts and first clips (default: 0)")
    make = parser.add_argument_group("the clips")
    make.add_argument("--generator", default="dit", help="dit (default: the bundled model), world, diffusers")
    make.add_argument("--model", help="a folder, or for diffusers a hub id")
    make.add_argument("--steps", type=int, metavar="N", help="sampling steps")
    make.add_argument("--num-videos", type=int, default=1, metavar="N", help="clips per prompt (default: 1)")
    make.add_argument("--clips", type=Path, metavar="DIR", help="use existing clips: run folder, manifest or folder")
    best = parser.add_argument_group("the ceiling (default: the cartoon world's exact clips, where it can draw them)")
    best.add_argument("--reference-clips", type=Path, metavar="DIR", help="clips that show the prompts truly, by id")
    best.add_argument("--no-ceiling", dest="ceiling", action="store_false", help="measure no ceiling")
    who = parser.add_argument_group("captioner, judge and reader")
    who.add_argument("--captioner", default="starter", metavar="MODEL", help="any model of `v2t caption --model`")
    who.add_argument("--style", default="detailed", help="caption style (default: detailed)")
    who.add_argument("--judge", default="auto", help="answers from the clip: v2t (the starter), v2t:MODEL, none")
    who.add_argument(
        "--questions", default="grammar", metavar="SOURCE", help="grammar (default), openai:URL, FILE.jsonl"
    )
    who.add_argument("--reader", metavar="MODEL", help="language model that answers from captions in plain English")
    who.add_argument("--sentence", default="auto", metavar="MODEL", help="sentence encoder: folder, hub id, none")
    who.add_argument("--corpus", type=Path, metavar="FILE", help="captions from which CIDEr takes document frequencies")
    add_machine(who.add_argument)
    add("--limit", type=int, metavar="N", help="only the first N prompts or clips")
    add("--overwrite", action="store_true", help="replace what was made with other settings")
    add("--retry-failed", action="store_true", help="retry captions that failed")
    add("--dry-run", action="store_true", help="print what would be made; make nothing")
    add("--json", action="store_true", help="print the figures as one JSON object on stdout")


def run(args: argparse.Namespace) -> int:
    from cineloop import log
    from v2t_eval.report import terminal
    from v2t_eval.roundtrip import run as roundtrip
    from v2t_eval.roundtrip.report import document
    from v2t_eval.roundtrip.settings import RoundtripConfig

    log.setup(verbosity=-1 if args.quiet else args.verbose)
    flags = {each.name: getattr(args, each.name) for each in fields(RoundtripConfig)}
    config = RoundtripConfig(**flags | {"prompts": tuple(args.prompts)})
    if args.dry_run:
        rows = roundtrip.plan(config, args.output)
        for row in rows if not args.json else ():
            print(f"{row['action']}\t{log.printable(row['id'])}\t{log.printable(row['prompt'])}")
        if args.json:
            print(json.dumps(rows, ensure_ascii=False))
        return 0
    found = roundtrip.run(config, args.output, show_progress=not args.quiet)
    terminal.show(document(found, args.output), found.as_dict(clips=False) if args.json else None)
    return found.exit_code
