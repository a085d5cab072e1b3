"""The verb `v2t world`: clips of the cartoon world."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from cineloop.errors import EXIT_OK

SUMMARY = "Draw clips of the cartoon world, with true captions, questions and facts."
EXAMPLES = "  v2t world -o clips --num 20\n  v2t world -o held_out --num 100 --seed 7 --split unseen --size 320x240"


def _pixels(text: str) -> tuple[int, int]:
    width, sign, height = text.lower().partition("x")
    if not (sign and width.isdigit() and height.isdigit()):
        raise argparse.ArgumentTypeError(f"expected WIDTHxHEIGHT such as 256x256, got {text!r}")
    return int(height), int(width)


def _seconds(text: str) -> tuple[float, float]:
    shortest, _, longest = text.partition("-")
    try:
        return float(shortest), float(longest or shortest)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected SECONDS or FROM-TO such as 2-6, got {text!r}") from error


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("-o", "--output", type=Path, required=True, metavar="DIR", help="folder for the clips and manifest.jsonl")
    add("--num", type=int, default=10, metavar="N", help="number of clips (default: 10)")
    add("--seed", type=int, default=0, help="seed of the clips (default: 0)")
    add("--split", default="train", help="train (default), seen, or unseen: combinations never trained on")
    add("--size", type=_pixels, default=(256, 256), metavar="WxH", help="width and height in pixels (default: 256x256)")
    add("--fps", default="12", help="frames per second, such as 12 or 30000/1001 (default: 12)")
    add("--seconds", type=_seconds, metavar="A-B", help="length of a clip (default: as long as its story)")
    add("--workers", type=int, default=1, metavar="N", help="processes that draw (default: 1)")
    add("--overwrite", action="store_true", help="replace existing clips, also those of other settings")
    add("--json", action="store_true", help="print the result as one JSON object on stdout")


def run(args: argparse.Namespace) -> int:
    from cineloop import log
    from cineloop.world.scenes.corpus import write_world

    logger = log.setup(verbosity=-1 if args.quiet else args.verbose)
    with log.Progress(args.num, "drawing", enabled=not args.quiet) as progress:
        done = write_world(
            args.num,
            args.seed,
            args.split,
            args.size,
            args.fps,
            args.seconds,
            args.output,
            overwrite=args.overwrite,
            workers=args.workers,
            advance=progress.advance,
        )
    if args.json:
        print(json.dumps({"num": done.num, "written": done.written, "manifest": str(done.manifest)}))
    logger.info(
        "%s, %d new; their facts are in %s",
        log.plural(done.num, "clip"),
        done.written,
        log.printable(str(done.manifest)),
    )
    return EXIT_OK
