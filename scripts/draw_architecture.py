"""Draw the packages, their rooms and which imports which, from the import statements, into docs/architecture.md.

    python scripts/draw_architecture.py           # write the picture into the page
    python scripts/draw_architecture.py --check   # exit 1 when the page is not up to date

In: the sources, read with `ast`; imports inside functions count, those for type checkers do not. Out: a Mermaid
flowchart between two marks of the page. A box is a package with its rooms (folders of modules). An arrow says which
rooms of the other package some module imports ("modules": those directly in it); the base's rooms have their own boxes.
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- begin: scripts/draw_architecture.py -->\n", "<!-- end -->"
BASE = "cineloop"
# Packages from the top layer down, with their folder and what stands on their box.
PACKAGES = {
    "v2t_eval": ("eval", "eval/, imported as v2t_eval: scores, judge, gate"),
    "v2t": ("v2t", "v2t/: video to text"),
    "t2v": ("t2v", "t2v/: text to video"),
    "cineloop": ("cineloop", "cineloop/: the base"),
}


def rooms(package: str) -> list[str]:
    """The folders of modules directly in a package, sorted."""
    folder = ROOT / PACKAGES[package][0]
    return sorted(p.name for p in folder.iterdir() if not p.is_symlink() and (p / "__init__.py").is_file())


def room_of(module: str) -> tuple[str, str]:
    """The package and the room of a dotted name; the room of a module directly in a package is ""."""
    package, _, rest = module.partition(".")
    room = rest.partition(".")[0]
    return package, room if (ROOT / PACKAGES[package][0] / room / "__init__.py").is_file() and room else ""


def imported(node: ast.AST) -> Iterator[str]:
    """Dotted names that a source imports, at any depth, without `if TYPE_CHECKING:`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom) and child.module and not child.level:
            yield from (f"{child.module}.{alias.name}" for alias in child.names)
        yield from imported(child)


def uses() -> dict[tuple[str, str], set[str]]:
    """Rooms of a lower package that some module of a package imports, by (package, lower package).

    Inside the base the first of a pair is a room, such as "cineloop_video", with the rooms it imports.
    """
    found: dict[tuple[str, str], set[str]] = {}
    for package, (folder, _) in PACKAGES.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            source = room_of(".".join((package, *parts)))
            for name in imported(ast.parse(path.read_text("utf-8"))):
                if name.partition(".")[0] not in PACKAGES or (target := room_of(name)) == source:
                    continue
                if target[0] != package:
                    found.setdefault((package, target[0]), set()).add(target[1])
                elif package == BASE:
                    found.setdefault((_node(source[1]), BASE), set()).add(target[1])
    return found


def _node(room: str) -> str:
    return f"{BASE}_{room or 'modules'}"  # Mermaid's names: letters, digits, underscores


def _listed(names: Iterable[str]) -> str:
    return ", ".join(name or "modules" for name in sorted(names))


def picture() -> str:
    """The flowchart, with its fences."""
    lines = ["```mermaid", "flowchart TB"]
    for package, (_, title) in PACKAGES.items():
        if package == BASE:
            lines.append(f'  subgraph {package}["{title}"]')
            lines += [f'    {_node(room)}["{room or "modules"}"]' for room in ["", *rooms(package)]]
            lines.append("  end")
        else:
            lines.append(f'  {package}["<b>{title}</b><br/>{" · ".join(rooms(package))}"]')
    for (source, target), names in sorted(uses().items()):
        if source in PACKAGES:
            lines.append(f'  {source} -->|"{_listed(names)}"| {target}')
        else:
            lines += [f"  {source} --> {_node(room)}" for room in sorted(names)]
    return "\n".join([*lines, "```", ""])


def drawn(page: str) -> str:
    """The page with the picture of today between its marks.

    Raises:
        ValueError: the page has no marks.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{PAGE.name} needs the two lines {BEGIN.strip()} and {END}")
    return before + begin + picture() + end + after


def main() -> int:
    """Write the page, or with --check compare it; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when the page is not up to date")
    page = PAGE.read_text("utf-8")
    new = drawn(page)
    if parser.parse_args().check:
        if new != page:
            print("docs/architecture.md is not up to date: python scripts/draw_architecture.py", file=sys.stderr)
        return int(new != page)
    PAGE.write_text(new, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
