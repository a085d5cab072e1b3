"""The command `v2t-eval`: reads arguments, calls the verb, turns errors into exit codes.

In: the command line. Out: an exit code (see `v2t.base.errors`); results on stdout, everything else on stderr.
To add a verb: a file in `eval/commands`, and its name in `VERBS`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from v2t.base import command

VERBS = ("score", "roundtrip", "gate", "audit", "compare", "questions", "list")


def main(argv: Sequence[str] | None = None) -> int:
    """Run `v2t-eval`; returns the exit code."""
    return command.main("v2t-eval", "Score captions and generated videos.", VERBS, argv, package="v2t_eval")


if __name__ == "__main__":
    sys.exit(main())
