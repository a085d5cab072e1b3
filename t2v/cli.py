"""The command `t2v`: reads arguments, calls the verb, turns errors into exit codes.

In: the command line. Out: an exit code (see `cineloop.errors`); results on stdout, everything else on stderr.
To add a verb: a file in `t2v/commands`, and its name in `VERBS`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from cineloop import cli as command

ABOUT = "Make videos from text."
VERBS = ("generate", "train", "recipes")


def main(argv: Sequence[str] | None = None) -> int:
    """Run `t2v`; returns the exit code."""
    return command.main("t2v", ABOUT, VERBS, argv)


if __name__ == "__main__":
    sys.exit(main())
