"""`v2t doctor`: what this machine has, what each decoder really decodes, and what is missing for which command.

In: the parsed arguments. Out: a report on stdout (text, or one JSON object with `--json`) and an exit code.
`machine` reads facts, `decoders` tries decoders on clips it writes, `commands` says what each command wants of them,
`report` prints; `sizing` says what serving a model takes. Nothing here is imported before the command runs, and nothing
is downloaded or written but a temporary folder.
"""

from __future__ import annotations

import argparse
import json

from cineloop.errors import EXIT_ENVIRONMENT, EXIT_OK


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `v2t doctor`; `run` reads them."""
    parser.add_argument(
        "--for",
        dest="for_command",
        metavar="COMMAND",
        help="only what this command lacks, such as caption, 't2v train' or gate; exit 5 when it cannot run here",
    )
    parser.add_argument(
        "--serve",
        metavar="MODEL",
        help="instead: memory that serving this model takes, and how many conversations fit on which device",
    )
    parser.add_argument("--dtype", default="bfloat16", help="with --serve: float32, bfloat16 (default) or float16")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")


def run(args: argparse.Namespace) -> int:
    """Report on this machine.

    Args:
        args: `json` (bool), `for_command`, `serve` and `dtype` (str or None), all optional.

    Returns:
        0, or 5 when `for_command` names a command that cannot run here.

    Raises:
        UsageError: `for_command` names no command of this project. MissingDependencyError: `serve` names no model.
    """
    if getattr(args, "serve", None):
        from v2t.doctor import sizing

        table = sizing.sizing(args.serve, dtype=args.dtype)
        print(json.dumps(table, indent=2, allow_nan=False) if args.json else sizing.text(table))
        return EXIT_OK
    from v2t.doctor import commands, decoders, machine, report

    asked = commands.named(getattr(args, "for_command", None))
    facts = machine.facts()
    tried = asked is None or args.json or "a decoder" in commands.COMMANDS[asked].needs
    facts["decoders"] = decoders.try_all() if tried else []
    facts["commands"] = commands.readiness(facts)
    if getattr(args, "json", False):
        print(json.dumps(facts, indent=2, ensure_ascii=False, allow_nan=False))
    else:
        print(report.text(facts) if asked is None else report.asked(asked, facts))
    cannot = asked is not None and not facts["commands"][asked]["ready"]
    return EXIT_ENVIRONMENT if cannot else EXIT_OK
