"""The verb `v2t caption`: a folder of videos in, captions out."""

from __future__ import annotations

import argparse
from typing import Any

from cineloop.errors import UsageError
from cineloop.options import add_layers, add_options, load_options
from cineloop.parser import Parser
from v2t.caption.settings import CaptionConfig
from v2t.commands import folder_or_address, show_record, show_summary

SUMMARY = "Caption videos: a folder in, captions at mirrored paths and captions.jsonl out."
EXAMPLES = (
    "  v2t caption clip.mp4\n  v2t caption clips/ -o captions/\n"
    "  v2t caption clips/ -o captions/ --style detailed --sample 3\n"
    "  v2t caption film.mp4 -o captions/ --parts scene --format vtt,jsonl\n"
    "  find clips -name '*.mp4' | v2t caption - -o captions/ --retry-failed\n"
    "several GPUs or machines, one process each, then one merge:\n"
    "  CUDA_VISIBLE_DEVICES=0 v2t caption clips/ -o captions/ --shard 1/2 &\n"
    "  CUDA_VISIBLE_DEVICES=1 v2t caption clips/ -o captions/ --shard 2/2 & wait; v2t merge captions/\n"
    "on an object store (pip install 'cineloop[remote]'):\n"
    "  v2t caption s3://bucket/clips -o captions/\n"
    "  v2t caption s3://bucket/clips -o s3://bucket/captions"
)


def add_arguments(parser: Parser) -> None:
    add = parser.add_argument
    add(
        "paths",
        nargs="*",
        metavar="PATH",
        help="folder, file, glob, @list, manifest.jsonl, URL (s3://...); - reads a list from stdin",
    )
    into = "output folder, or s3://BUCKET/DIR; without it captions are only printed"
    add("-o", "--output", type=folder_or_address, metavar="DIR", help=into)
    # Keys of `options`, which every captioner has its own of.
    add("--revision", dest="options.revision", metavar="REV", help="branch, tag or commit of a hub model "
        "(default: the newest)")  # fmt: skip
    add("--quantize", dest="options.quantize", metavar="HOW", help="quantize a hub model: 4bit or 8bit")
    add("--trust-remote-code", dest="options.trust_remote_code", action="store_const", const=True,
        help="allow code of the hub model's repository to run")  # fmt: skip
    add("--concurrency", dest="options.concurrency", type=int, metavar="N", help="concurrent requests to a server "
        "(default: 16)")  # fmt: skip
    add_options(parser, CaptionConfig)
    add("--json", action="store_true", help="records and, last, the summary as JSON lines on stdout")
    add_layers(parser, CaptionConfig)


def run(args: argparse.Namespace) -> int:
    from cineloop import log
    from v2t.caption import run as caption

    log.setup(verbosity=-1 if args.quiet else args.verbose)
    settings = load_options(args, CaptionConfig)
    if not args.paths and not settings.lists:
        raise UsageError("expected the clips to caption", hint="v2t caption FOLDER, or --list FILE")

    def emit(row: dict[str, Any]) -> None:
        show_record(row, as_json=args.json, quiet=args.quiet)

    summary = caption.run(args.paths, args.output, settings, emit=emit, show_progress=not args.quiet)
    return show_summary(summary, as_json=args.json)
