"""The command `v2t-eval`: reads arguments, calls the verb, turns errors into exit codes.

In: the command line. Out: an exit code (see `cineloop.errors`); results on stdout, everything else on stderr.
To add a verb: a file in `eval/commands`, and its name in `VERBS`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from cineloop import cli as command
from cineloop.errors import EXIT_OK, EXIT_USAGE
from cineloop.parser import no_verb

ABOUT = "Score captions and generated videos."
VERBS = (
    "score", "select", "pick", "rank", "mine", "learn", "curate", "check-set", "roundtrip", "gate", "gate init",
    "gate update", "engine", "engine calibrate", "audit", "calibrate", "compare", "questions", "list", "suites", "ci",
    "ci comment",
)  # fmt: skip


def overview(argv: Sequence[str] | None = None) -> int:
    """Run `cineloop`, which names the three commands that do the work and shows them at work; returns the exit code."""
    from t2v import cli as t2v
    from v2t import cli as v2t
    from v2t_eval.demo import cli as demo

    words = list(sys.argv[1:] if argv is None else argv)
    if words and words[0] in demo.VERBS:
        return command.main("cineloop", demo.ABOUT, demo.VERBS, words, package="v2t_eval.demo")
    programs = {"v2t": (v2t.ABOUT, v2t.VERBS), "t2v": (t2v.ABOUT, t2v.VERBS), "v2t-eval": (ABOUT, VERBS)}
    if words[:1] in (["-V"], ["--version"]):
        print(command.version())
    elif not words or words[0] in ("-h", "--help", "help"):
        print("Cineloop is three commands; each has --help. A first look at them: cineloop demo")
        for name, (about, verbs) in programs.items():
            print(f"\n{name:<9} {about}\n{'':<9} {', '.join(verbs)}")
    else:
        print(f"error USAGE: {no_verb('cineloop', words[0], tuple(programs))}", file=sys.stderr)
        return EXIT_USAGE
    return EXIT_OK


def main(argv: Sequence[str] | None = None) -> int:
    """Run `v2t-eval`; returns the exit code."""
    return command.main("v2t-eval", ABOUT, VERBS, argv, package="v2t_eval")


if __name__ == "__main__":
    sys.exit(main())
