"""The verb `v2t transcribe`: films and recordings in, what is spoken out."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from cineloop.errors import UsageError
from cineloop.options import add_layers, add_options, load_options
from cineloop.parser import Parser
from v2t.commands import show_record, show_summary
from v2t.transcribe.settings import TranscribeConfig

SUMMARY = "Write down what is spoken in films and recordings: subtitles, text and records with times."
EXAMPLES = (
    "  v2t transcribe films/ -o speech/ --model openai/whisper-small\n"
    "  v2t transcribe talk.mp4 --model openai:http://localhost:8000/v1#whisper --language en\n"
    "  v2t transcribe films/ -o speech/ --model whisper-int8/ --track 1 --format vtt,jsonl"
)


def add_arguments(parser: Parser) -> None:
    add = parser.add_argument
    add(
        "paths",
        nargs="*",
        metavar="PATH",
        help="folder, file, glob, @list, manifest.jsonl; - reads a list from stdin",
    )
    add("-o", "--output", type=Path, metavar="DIR", help="output folder; without it transcripts are only printed")
    add_options(parser, TranscribeConfig)
    add("--json", action="store_true", help="records and, last, the summary as JSON lines on stdout")
    add_layers(parser, TranscribeConfig)


def run(args: argparse.Namespace) -> int:
    from cineloop import log
    from v2t.transcribe import run as transcribe

    log.setup(verbosity=-1 if args.quiet else args.verbose)
    settings = load_options(args, TranscribeConfig)
    if not args.paths and not settings.lists:
        raise UsageError("expected the files to transcribe", hint="v2t transcribe FOLDER, or --list FILE")

    def emit(row: dict[str, Any]) -> None:
        show_record(row, as_json=args.json, quiet=args.quiet)

    summary = transcribe.run(args.paths, args.output, settings, emit=emit, show_progress=not args.quiet)
    return show_summary(summary, as_json=args.json)
