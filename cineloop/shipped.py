"""Files that come with the packages and are asked for by name: recipes, suites, workflows.

In: a name or a path, and the files by their names. Out: the file; or a list of the names, or a copy on stdout, for the
verbs that show what is shipped. A name comes before a file in the current folder that is called so, without a suffix.
"""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Mapping
from pathlib import Path

from cineloop.errors import UsageError, did_you_mean


def find(given: str | Path, known: Mapping[str, Path], kind: str) -> Path:
    """The shipped file that is called `given`, else `given` as a path.

    Args:
        given: a name or a path. A path that is not there, ends as the shipped files do and is named in full is given
            back, for its reader to say so.
        known: the shipped files by name.
        kind: what they are, for the message.

    Raises:
        UsageError: neither a name nor a file; names the nearest.
    """
    name, path = str(given), Path(given)
    if name in known:
        return known[name]
    if path.is_file() or path.suffix in {file.suffix for file in known.values()}:
        return path
    raise unknown(name, known, kind)


def unknown(name: str, known: Mapping[str, Path], kind: str) -> UsageError:
    """The error for a name that nothing shipped has; names the nearest."""
    same = [each for each in known if each.split("/")[-1] == name]
    hint = f"did you mean {' or '.join(same)}?" if same else did_you_mean(name, known, show=str)
    hint = hint or f"shipped are {', '.join(known)}"
    return UsageError(f"no {kind} is called {name!r}, and there is no such file", hint=hint)


def add_arguments(parser: argparse.ArgumentParser, kind: str) -> None:
    """What a verb takes which lists and shows shipped files."""
    parser.add_argument("name", nargs="?", metavar="NAME", help=f"the {kind} to print (default: list all)")


def run(args: argparse.Namespace, known: Mapping[str, Path], kind: str) -> int:
    """Print the file that was named, or all names with the first line of each file; returns the exit code.

    Raises:
        UsageError: nothing shipped is called so.
    """
    if args.name is None:
        width = max(map(len, known))
        for name, path in known.items():
            print(f"{name:<{width}}  {summary(path)}")
        return 0
    if args.name not in known:
        raise unknown(args.name, known, kind)
    print(known[args.name].read_text("utf-8"), end="")
    return 0


def summary(path: Path) -> str:
    """The first sentence of a file's leading comment."""
    lines = []
    for line in path.read_text("utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("# "))
    return textwrap.shorten(" ".join(lines).split(". ")[0].rstrip("."), 100, placeholder=" ...")
