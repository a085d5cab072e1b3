"""The frame of every command: verbs are files, errors become exit codes and one plain line on stderr.

In: the command's work as a function, or the command line and the verbs of a package. Out: the exit code (see
`cineloop.errors`). Nothing heavy is imported here.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from traceback import format_exc
from typing import Any

from cineloop import startup, threads
from cineloop.errors import EXIT_ENVIRONMENT, EXIT_INTERRUPTED, EXIT_UNEXPECTED, CineloopError
from cineloop.parser import Parser, no_verb

EXIT_CODES = {
    0: "done", 1: "unexpected", 2: "usage", 3: "finished with failed items", 4: "nothing matched", 5: "environment",
    6: "gate failed", 7: "refused by policy", 8: "gate inconclusive", 9: "not comparable with the baseline",
    130: "interrupted",
}  # fmt: skip
_OF_GATES = (6, 8, 9)  # of v2t-eval alone


def guard(work: Callable[[], int], *, traceback: bool) -> int:
    """Run `work`; its exit code, or that of the error it ended with. `traceback` shows where an error came from that
    no code of ours foresaw."""
    try:
        return work()
    except CineloopError as error:
        _say(f"error {error.code}: {error}")
        return error.exit_code
    except BrokenPipeError:
        # The reader of stdout (head, a closed pager) has seen enough; nothing may be written at exit any more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_INTERRUPTED
    except KeyboardInterrupt:
        _say("interrupted")
        return EXIT_INTERRUPTED
    except Exception as error:  # the last stop: a traceback is for -v, the exit code for everybody
        if traceback:
            print(format_exc(), file=sys.stderr)
        hint = "" if traceback else " (run again with -v for the traceback)"
        if isinstance(error, OSError):
            _say(f"error ENVIRONMENT: {error}{hint}")
            return EXIT_ENVIRONMENT
        _say(f"error UNEXPECTED: {type(error).__name__}: {error}{hint}")
        return EXIT_UNEXPECTED


def main(
    prog: str, description: str, verbs: Sequence[str], argv: Sequence[str] | None, *, package: str | None = None
) -> int:
    """Run the verb that `argv` names, a file of `PACKAGE.commands`; returns the exit code (`package` None: `prog`). A
    verb may be two words: `gate init` is the file `gate_init`, `check-set` is `check_set`."""
    threads.prepare()  # before a verb loads torch
    startup.leave_quickly()
    package = package or prog
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["help"] or not words:
        words = [*words[1:3], "--help"]
    # A verb that is named needs none of the others.
    named = [verb for verb in verbs if verb.split()[0] == words[0]]
    # The list of all verbs needs none of their arguments, nor what these import.
    parser = build_parser(prog, description, named or verbs, package, with_arguments=bool(named))
    pair = " ".join(word for word in words[:2] if not word.startswith("-"))
    if not words[0].startswith("-") and words[0] not in verbs and pair not in verbs:
        parser.error(no_verb(prog, pair if named else words[0], named or verbs))
    args = parser.parse_args(words)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")  # texts and JSON, whatever the locale
    verb = verb_module(package, args.command)
    return guard(lambda: int(verb.run(args)), traceback=bool(getattr(args, "verbose", 0)))


def build_parser(
    prog: str, description: str, verbs: Sequence[str], package: str, *, with_arguments: bool = True
) -> Parser:
    """The parser of the command `prog`, with one subparser for each verb, a file of `PACKAGE.commands`."""
    of_gates = package == "v2t_eval"
    codes = ", ".join(f"{code} {means}" for code, means in EXIT_CODES.items() if of_gates or code not in _OF_GATES)
    parser = Parser(prog=prog, description=description, epilog=f"Exit codes: {codes}.")
    parser.add_argument("-V", "--version", action=_Version, nargs=0, help="print the version and exit")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in verbs:
        module = verb_module(package, name)
        verb = subparsers.add_parser(
            name,
            help=module.SUMMARY,
            description=module.SUMMARY,
            epilog=f"examples:\n{module.EXAMPLES}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if with_arguments:
            module.add_arguments(verb)
        noise = verb.add_mutually_exclusive_group()
        noise.add_argument("-v", "--verbose", action="count", default=0, help="more messages; tracebacks")
        noise.add_argument("-q", "--quiet", action="store_true", help="warnings and errors only")
    return parser


def verb_module(package: str, verb: str) -> Any:
    """The module of a verb of the command whose verbs are in `PACKAGE.commands`."""
    return importlib.import_module(f"{package}.commands.{verb.replace(' ', '_').replace('-', '_')}")


class _Version(argparse.Action):
    """Looks the version up when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *rest: Any) -> None:
        print(version())
        parser.exit()


def version() -> str:
    """The name and version of this installation."""
    from importlib import metadata

    return f"cineloop {metadata.version('cineloop')}"


def add_training_arguments(parser: argparse.ArgumentParser) -> None:
    """What the verb `train` of both packages takes."""
    from cineloop.launch import WAYS

    parser.add_argument(
        "config", type=Path, metavar="RECIPE", help="a YAML file, or a shipped recipe's name (see the verb recipes)"
    )
    parser.add_argument(
        "--with", action="append", default=[], type=Path, metavar="FILE", dest="over",
        help="YAML file of settings over the recipe; gpu is shipped (bf16, larger batches)",
    )  # fmt: skip
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="one setting, as a.b=c")
    parser.add_argument("-o", "--output", type=Path, metavar="DIR", help="run folder, instead of the recipe's")
    parser.add_argument("--plan", action="store_true", help="print parameters, memory, FLOPs and time; train nothing")
    parser.add_argument("--resume", action="store_true", help="continue from the run folder's last checkpoint")
    parser.add_argument("--overwrite", action="store_true", help="replace the run in the folder")
    parser.add_argument("--json", action="store_true", help="with --plan: print JSON on stdout")
    parser.add_argument(
        "--launch", choices=WAYS,
        help="train in several processes of this machine, each with all weights (ddp) or with its part of them (fsdp2)",
    )  # fmt: skip
    parser.add_argument("--nproc", type=int, metavar="N", help="with --launch: how many (default: one for each GPU)")


def run_training(package: str, args: argparse.Namespace) -> int:
    """Run the verb `train` of a package; returns the exit code."""
    from cineloop import log

    log.setup(verbosity=-1 if args.quiet else args.verbose)
    if args.launch and not args.plan and "RANK" not in os.environ:
        from cineloop import launch

        launch.start(package, args.launch, args.nproc, sys.argv[1:])
    code: int = importlib.import_module(f"{package}.train").run(
        args.config,
        over=args.over,
        sets=args.set,
        out=args.output,
        plan=args.plan,
        resume=args.resume,
        overwrite=args.overwrite,
        as_json=args.json,
    )
    return code


def _say(text: str) -> None:
    from cineloop.log import printable

    print(printable(text), file=sys.stderr)
