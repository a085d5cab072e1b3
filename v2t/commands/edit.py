"""The verb `v2t edit`: captions corrected beside the playing video, in the browser."""

from __future__ import annotations

import argparse

from cineloop.options import add_layers, add_options, load_options
from cineloop.parser import Parser
from v2t.commands import folder_or_address
from v2t.edit.settings import EditConfig

SUMMARY = "Correct the captions of a run beside the playing video, in the browser."
EXAMPLES = (
    "  v2t caption clips/ -o captions/ && v2t edit captions/        # at http://127.0.0.1:8010\n"
    "  v2t-eval mine clips/ --captions captions/captions.jsonl -o mined/ && v2t edit captions/ --doubts mined/\n"
    "  v2t edit captions/ --model Qwen/Qwen3.5-4B         # another model to ask again\n"
    "  V2T_SERVE_KEY=$(openssl rand -hex 16) v2t edit captions/ --host 0.0.0.0"
)


def add_arguments(parser: Parser) -> None:
    parser.add_argument("captions", type=folder_or_address, metavar="CAPTIONS", help="output folder of v2t caption")
    add_options(parser, EditConfig)
    add_layers(parser, EditConfig)


def run(args: argparse.Namespace) -> int:
    from cineloop import isolation, log
    from v2t.edit.run import run as edit

    log.setup(verbosity=-1 if args.quiet else args.verbose)
    settings = load_options(args, EditConfig)
    isolation.hide()  # the clients' keys, from decoders and the like
    return edit(args.captions, settings)
