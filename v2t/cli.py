"""The command `v2t`: reads arguments, calls the verb, turns errors into exit codes.

In: the command line. Out: an exit code (see `cineloop.errors`); results on stdout, everything else on stderr.
To add a verb: a file in `v2t/commands`, and its name in `VERBS`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from cineloop import cli as command

ABOUT = "Watch videos and write what happens in them."
VERBS = (
    "caption",
    "transcribe",
    "ask",
    "chat",
    "serve",
    "edit",
    "check-captions",
    "merge",
    "cluster print",
    "cluster status",
    "train",
    "recipes",
    "world",
    "doctor",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run `v2t`; returns the exit code."""
    return command.main("v2t", ABOUT, VERBS, argv)


if __name__ == "__main__":
    sys.exit(main())
