"""The verb `t2v generate`: prompts in, a folder of clips out."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from cineloop.cluster.settings import FLAGS as CLUSTER
from cineloop.cluster.settings import add_flags

SUMMARY = "Make videos from prompts: mp4 files with a manifest, a contact sheet and a gallery."
EXAMPLES = (
    '  t2v generate "A red ball rolls to the left on the beach."\n'
    "  t2v generate --prompts prompts.txt -o clips/ --num-videos 4\n"
    "  t2v generate --prompts world/manifest.jsonl -o drawn/ --generator world\n"
    '  echo "A dog jumps." | t2v generate - -o clips/ --steps 12 --guidance 4\n'
    '  t2v generate "A cat in the snow" --generator diffusers --model Wan-AI/Wan2.1-T2V-1.3B-Diffusers '
    "--offload model --tiling"
)

FLAGS = (
    "generator model num_frames height width fps steps guidance seed num_videos negative_prompt image batch_size "
    "device dtype lora offload tiling overwrite dry_run"
).split()
DEFAULT_OUT = Path("generated")


def add_arguments(parser: argparse.ArgumentParser) -> None:
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
    add("--generator", help="dit (default: the bundled model), world (draws the cartoon world), diffusers, FILE.py")
    add("--model", help="a folder, or for diffusers a hub id (default: the bundled model)")
    shape = parser.add_argument_group("the clips (default: the model's own values)")
    shape.add_argument("--num-frames", type=int, metavar="N", help="frames; rounded to what the model can make")
    shape.add_argument("--height", type=int, metavar="H", help="height in pixels")
    shape.add_argument("--width", type=int, metavar="W", help="width in pixels")
    shape.add_argument("--fps", type=float, help="frames per second")
    shape.add_argument("--steps", type=int, metavar="N", help="sampling steps")
    shape.add_argument("--guidance", type=float, metavar="S", help="scale of classifier-free guidance; 1 is off")
    shape.add_argument("--negative-prompt", metavar="TEXT", help="what not to show")
    shape.add_argument("--image", type=Path, metavar="FILE", help="first frame of every clip (image to video)")
    shape.add_argument("--seed", type=int, help="seed of each prompt's first clip; further clips count up (default: 0)")
    shape.add_argument("--num-videos", type=int, metavar="N", help="clips per prompt (default: 1)")
    machine = parser.add_argument_group("the machine")
    machine.add_argument("--batch-size", type=int, metavar="N", help="clips in a batch (default: the generator's)")
    machine.add_argument("--device", help="auto (default), cpu, cuda, cuda:1")
    machine.add_argument("--dtype", help="auto (default), float32, bfloat16, float16")
    machine.add_argument("--lora", action="append", metavar="PATH[:WEIGHT]", help="LoRA weights; repeatable")
    machine.add_argument("--offload", help="keep parts of the model in main memory: none (default), model, sequential")
    machine.add_argument("--tiling", action="store_const", const=True, help="decode in tiles: less memory, slower")
    add_flags(parser.add_argument_group("a cluster (pip install 'cineloop[cluster]')").add_argument, decodes=False)
    add("--resume", action="store_true", help="accepted and without effect: an earlier run is always continued")
    add("--overwrite", action="store_const", const=True, help="make existing clips again")
    add("--dry-run", action="store_const", const=True, help="list what would be made; write nothing")
    add("--json", action="store_true", help="rows and, last, the summary as JSON lines on stdout")
    add("--config", type=Path, metavar="FILE", help="YAML file with settings; flags override it")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="one setting, as a.b=c")


def run(args: argparse.Namespace) -> int:
    """Run the verb; returns the exit code."""
    from cineloop import config, log
    from t2v.generate.run import run as generate
    from t2v.generate.settings import GenerateConfig

    logger = log.setup(verbosity=-1 if args.quiet else args.verbose)
    flags = {name: getattr(args, name) for name in FLAGS}
    flags |= {key: getattr(args, name) for name, key in CLUSTER.items() if name != "decode_workers"}
    settings = config.load(GenerateConfig, file=args.config, sets=args.set, flags=flags)

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
