"""The verb `v2t chat`: a conversation about a video in the terminal, or from a pipe."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

from cineloop.options import add_layers, add_options, load_options
from cineloop.parser import Parser
from v2t.ask.progress import NoteProgress
from v2t.ask.settings import AskConfig

SUMMARY = "Chat about a video in the terminal: several turns, /at 34:22 to look at a moment, /help for the rest."
EXAMPLES = (
    "  v2t chat clip.mp4\n  v2t chat film.mp4 --model openai:http://127.0.0.1:8000/v1\n  v2t chat < questions.txt"
)


def add_arguments(parser: Parser) -> None:
    parser.add_argument("video", nargs="?", metavar="VIDEO", help="a video file; /video opens one later")
    add_options(parser, AskConfig, without={"top"})
    add_layers(parser, AskConfig)


def run(args: argparse.Namespace) -> int:
    from cineloop import log
    from v2t.ask.chat import Chat
    from v2t.ask.viewer import Viewer

    logger = log.setup(verbosity=-1 if args.quiet else args.verbose)
    settings = load_options(args, AskConfig)

    def write(text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    with NoteProgress(enabled=not args.quiet) as progress, Viewer(settings, advance=progress) as viewer:
        logger.info("%s", log.printable(viewer.introduction))
        chat = Chat(viewer, write, lambda text: logger.info("%s", text))
        if args.video is not None:
            chat.open(args.video)
        chat.run(_prompt_lines() if sys.stdin.isatty() else iter(sys.stdin))
    return 0


def _prompt_lines() -> _PromptLines:
    try:
        import readline  # noqa: F401  # gives input() its line editing and history
    except ImportError:
        pass
    return _PromptLines()


class _PromptLines(Iterator[str]):
    """Lines typed at a prompt; continues after a KeyboardInterrupt, which would end a generator."""

    def __next__(self) -> str:
        try:
            return input("> ")
        except EOFError:
            raise StopIteration from None
