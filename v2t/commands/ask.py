"""The verb `v2t ask`: questions about a video, or when something happens in it."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from cineloop.options import add_layers, add_options, load_options
from cineloop.parser import Parser
from v2t.ask.progress import NoteProgress
from v2t.ask.settings import AskConfig

SUMMARY = "Ask about a video of any length: an answer, or with --when the times at which something happens."
EXAMPLES = (
    '  v2t ask clip.mp4 "What does the dog do?"\n'
    '  v2t ask film.mp4 "What happens at 34:22?"\n'
    '  v2t ask film.mp4 "How many times does a dog jump?"\n'
    '  v2t ask film.mp4 --when "a dog jumps"     # exit 4 when it never does\n'
    "  v2t ask clip.mp4 --questions questions.txt"
)


def add_arguments(parser: Parser) -> None:
    parser.add_argument("video", metavar="VIDEO", help="a video file")
    parser.add_argument("question", nargs="?", metavar="QUESTION", help="a question; it may name a moment (at 34:22)")
    parser.add_argument("--when", metavar="STATEMENT", help="find when this happens, instead of asking a question")
    parser.add_argument(
        "--questions",
        type=Path,
        metavar="FILE",
        help="a text file with a question a line, - for stdin: each is printed with its answer, a tab between; "
        "exit 3 where one has none",
    )
    parser.add_argument("--json", action="store_true", help="JSON on stdout: one object, for --questions one a line")
    add_options(parser, AskConfig)
    add_layers(parser, AskConfig)


def run(args: argparse.Namespace) -> int:
    from cineloop import log
    from cineloop.errors import EXIT_NOTHING_MATCHED, EXIT_OK, UsageError
    from v2t.ask.answer import ask, when

    logger = log.setup(verbosity=-1 if args.quiet else args.verbose)
    if [args.question, args.when, args.questions].count(None) != 2:
        raise UsageError(
            "expected a question, --when STATEMENT or --questions FILE", hint='v2t ask video.mp4 "What happens?"'
        )
    questions = None if args.questions is None else _lines(args.questions)
    settings = load_options(args, AskConfig)

    with NoteProgress(enabled=not args.quiet) as progress:
        if questions is not None:
            return _answer_each(args, questions, settings, progress)
        if args.when is not None:
            answer = when(args.video, args.when, settings, advance=progress)
        else:
            answer = ask(args.video, args.question, settings, advance=progress)
    for warning in answer.warnings:
        logger.warning("%s", log.printable(str(warning)))
    if args.json:
        print(json.dumps(answer.to_dict(), ensure_ascii=False, allow_nan=False))
    elif args.when is None:
        print("\n".join(log.printable(line) for line in answer.answer.splitlines()))
    else:
        for span in answer.to_dict()["spans"]:
            print(f"{span['text']}\t{log.printable(span['note'])}".rstrip())
        if not answer.spans:
            logger.info("%s: %s", log.printable(args.when), answer.answer)
    return EXIT_NOTHING_MATCHED if args.when is not None and not answer.spans else EXIT_OK


def _answer_each(args: argparse.Namespace, questions: list[str], settings: Any, progress: NoteProgress) -> int:
    """Print the answers as they come; each warning once."""
    from cineloop import log
    from cineloop.errors import EXIT_FAILED_ITEMS, EXIT_OK, CineloopError
    from v2t.ask.answer import ask_each

    seen, num_failed = set(), 0
    for question, answer in zip(questions, ask_each(args.video, questions, settings, advance=progress), strict=True):
        if isinstance(answer, CineloopError):
            num_failed += 1
            log.logger.error("%s: %s", log.printable(question), log.printable(str(answer)))
            record, text = {"question": question, "error": answer.record()}, ""
        else:
            for warning in answer.warnings:
                if warning not in seen:
                    log.logger.warning("%s", log.printable(str(warning)))
                seen.add(warning)
            record, text = answer.to_dict(), " ".join(answer.answer.split())
        shown = json.dumps(record, ensure_ascii=False, allow_nan=False) if args.json else ""
        print(shown or f"{log.printable(question)}\t{log.printable(text)}", flush=True)
    return EXIT_FAILED_ITEMS if num_failed else EXIT_OK


def _lines(path: Path) -> list[str]:
    """The questions in a file. Raises UsageError: it cannot be read, is not UTF-8, or has none."""
    from cineloop.errors import UsageError

    try:
        data = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
        questions = [line.strip() for line in data.decode("utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--questions {path}: {error}") from error
    if not questions:
        raise UsageError(f"--questions {path}: expected a question a line, got none")
    return questions
