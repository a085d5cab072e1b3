"""The command line's parser: a wrong word ends in one line that names the nearest right one.

In: argv and the verbs of a program. Out: parsed arguments, or exit 2. argparse alone prints the whole usage and leaves
out which option was meant; and it takes a wrong option of a verb for one of the program.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from cineloop import plugin
from cineloop.errors import EXIT_USAGE, did_you_mean

_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]+):/")  # what a Path makes of s3://
PROGRAMS = {"v2t": "v2t", "t2v": "t2v", "v2t-eval": "v2t_eval"}  # and their packages


class Parser(argparse.ArgumentParser):
    """A parser of one program or verb.

    Attributes:
        settings: the config whose keys a verb's --set takes; None where it has none, or one of each recipe.
    """

    settings: type | None = None

    def error(self, message: str) -> NoReturn:
        """Say what is wrong in one line and end with exit 2."""
        from cineloop.log import printable

        print(printable(f"error USAGE: {message} ({self.prog} --help)"), file=sys.stderr)
        raise SystemExit(EXIT_USAGE)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse's, with the nearest option of the verb for one that it does not know. A verb may be two words."""
        words = list(sys.argv[1:] if args is None else args)
        if self._verb(pair := " ".join(words[:2])) is not self:
            words[:2] = [pair]
        parsed, unknown = self.parse_known_args(words, namespace)
        if unknown:
            verb = self._verb(getattr(parsed, "command", None))
            # argparse takes an optional argument for left out when options stand before it: `v2t ask FILE -q QUESTION`.
            left_out = [a for a in verb._actions if not a.option_strings and a.nargs == "?" and not a.type]
            left_out = [action for action in left_out if getattr(parsed, action.dest, None) is None]
            if len(unknown) == 1 and left_out and not unknown[0].startswith("-"):
                setattr(parsed, left_out[0].dest, unknown[0])
                return parsed
            verb.error(_unknown(unknown, [flag for action in verb._actions for flag in action.option_strings]))
        for name, value in vars(parsed).items():
            for each in value if isinstance(value, list) else [value]:
                if isinstance(each, Path) and (address := _ADDRESS.match(str(each))):
                    verb = self._verb(parsed.command)
                    verb.error(f"{name}: expected a path on this machine, got an address of {address[1]}://")
        return parsed

    def _verb(self, name: str | None) -> Parser:
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction) and name in action.choices:
                return action.choices[name]  # type: ignore[index,no-any-return]
        return self


def _unknown(words: Sequence[str], known: Iterable[str]) -> str:
    """The message for words that a parser does not know; of options the first alone, what follows may be its value."""
    options = [word.split("=")[0] for word in words if word.startswith("-")]
    if not options:
        return f"too many arguments: {' '.join(words)}"
    near = did_you_mean(options[0].replace("_", "-"), known, show=str)
    return f"unknown option {options[0]}" + (f"; {near}" if near else "")


def no_verb(prog: str, word: str, verbs: Sequence[str]) -> str:
    """The message for a word that is no verb of `prog`: one of another program, or the nearest."""
    for other, package in PROGRAMS.items():
        if other != prog and word in plugin.choices(f"{package}.commands", "SUMMARY"):
            return f"{prog} has no command {word!r}; did you mean {other} {word}?"
    known = did_you_mean(word, verbs, show=str) or f"there are {', '.join(verbs)}"
    return f"{prog} has no command {word!r}; {known}"
