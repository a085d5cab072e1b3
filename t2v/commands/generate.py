"""The verb `t2v generate`: prompts in, a folder of clips out."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from cineloop.options import add_layers, add_options, load_options
from cineloop.parser import Parser
from t2v.generate.settings import GenerateConfig

SUMMARY = "Make videos from prompts: mp4 files with a manifest, a contact sheet and a gallery."
EXAMPLES = (
    '  t2v generate "A red ball rolls to the left on the beach."\n'
    "  t2v generate --prompts prompts.txt -o clips/ --num-videos 4\n"
    "  t2v generate --prompts world/manifest.jsonl -o drawn/ --generator world\n"
    '  echo "A dog jumps." | t2v generate - -o clips/ --steps 12 --guidance 4\n'
    '  t2v generate "A cat in the snow" --generator diffusers --model Wan-AI/Wan2.1-T2V-1.3B-Diffusers '
    "--offload model --tiling"
)

DEFAULT_OUT = Path("generated")


def add_arguments(parser: Parser) -> None:
    """What the verb takes."""
    add = parser.add_argument
    add("prompt", nargs="*", metavar="PROMPT", help="a prompt, in quotes; - reads prompts from stdin")
    add(
        "--prompts",
        action="append",
        default=[],
        metavar="FILE",
        help="text file with one prompt per line (# begins a comment), or .jsonl with prompt and optional id, seed, "
        "negative_prompt, image; repeatable",
    )
    add("-o", "--output", type=Path, default=DEFAULT_OUT, metavar="DIR", help=f"run folder (default: {DEFAULT_OUT})")
    add_options(parser, GenerateConfig, without={"cluster.decode_workers"})  # it decodes nothing
    add("--resume", action="store_true", help="accepted and without effect: an earlier run is always continued")
    add("--json", action="store_true", help="rows and, last, the summary as JSON lines on stdout")
    add_layers(parser, GenerateConfig)


def run(args: argparse.Namespace) -> int:
    """Run the verb; returns the exit code."""
    from cineloop import log
    from t2v.generate.run import run as generate

    logger = log.setup(verbosity=-1 if args.quiet else args.verbose)
    settings = load_options(args, GenerateConfig)

    def emit(row: dict[str, Any]) -> None:
        if args.json:
            kind = "plan" if "action" in row else "failure" if "error" in row else "clip"
            print(json.dumps({"type": kind, **row}, ensure_ascii=False, allow_nan=False), flush=True)
        elif "action" in row:
            print(f"{row['action']}\t{log.printable(row['id'])}\t{log.printable(row['prompt'])}")
        elif "path" in row and not args.quiet:
            print(f"{args.output / row['path']}\t{log.printable(row['prompt'])}", flush=True)

    summary = generate(args.prompt, args.prompts, args.output, settings, emit=emit, show_progress=not args.quiet)
    if args.json:
        print(json.dumps({"type": "summary", **summary.to_dict()}, ensure_ascii=False, allow_nan=False), flush=True)
    for line in summary.lines():
        logger.info("%s", line)
    return summary.exit_code
