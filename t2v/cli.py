"""The command `t2v`: reads arguments, calls the verb, turns errors into exit codes.

In: the command line. Out: an exit code (see `v2t.base.errors`); results on stdout, everything else on stderr.
To add a verb: a file in `t2v/commands`, and its name in `VERBS`.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import Any

from v2t.base.command import guarded

VERBS = ("generate", "train")


def main(argv: Sequence[str] | None = None) -> int:
    """Run `t2v`; returns the exit code."""
    args = _parser().parse_args(argv)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")  # prompts and JSON, whatever the locale
    verb = importlib.import_module(f"t2v.commands.{args.command}")
    return guarded(lambda: verb.run(args), traceback=bool(getattr(args, "verbose", 0)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="t2v",
        description="Make videos from text.",
        epilog="Exit codes: 0 done, 1 unexpected, 2 usage, 3 finished with failed items, 4 nothing matched, "
        "5 environment, 7 refused by policy, 130 interrupted.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in VERBS:
        module = importlib.import_module(f"t2v.commands.{name}")
        verb = subparsers.add_parser(
            name,
            help=module.SUMMARY,
            description=module.SUMMARY,
            epilog=f"examples:\n{module.EXAMPLES}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(verb)
        noise = verb.add_mutually_exclusive_group()
        noise.add_argument("-v", "--verbose", action="count", default=0, help="more messages; tracebacks")
        noise.add_argument("-q", "--quiet", action="store_true", help="warnings and errors only")
    return parser


class _Version(argparse.Action):
    """Looks the version up when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *rest: Any) -> None:
        from importlib import metadata

        print(f"cineloop {metadata.version('cineloop')}")
        parser.exit()


if __name__ == "__main__":
    sys.exit(main())
