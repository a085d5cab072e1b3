"""Draw the packages, their rooms and which imports which, from the import statements: docs/architecture.svg.

    python scripts/draw_architecture.py           # write the picture
    python scripts/draw_architecture.py --check   # exit 1 when it is not up to date

In: the sources, read with `ast`; imports inside functions count, those for type checkers do not. Out: an SVG. A box is
a package with its rooms (folders of modules) and, below, which rooms of lower packages some module of it imports
("modules": those directly in a package).
"""

from __future__ import annotations

import argparse
import ast
import html
import sys
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs" / "architecture.svg"
WIDTH, GAP, PAD, LINE = 860, 34, 12, 19  # units of the picture
CHARACTER = 7.4  # units of a character, at most
STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#1b2430}.title{font-weight:700}.uses{fill:#51607a}"
    "rect{fill:#f4f6f9;stroke:#b9c3d1}path{fill:none;stroke:#51607a;stroke-width:1.5}marker path{fill:#51607a}"
)
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


def imported_names(node: ast.AST) -> Iterator[str]:
    """Dotted names that a source imports, at any depth, without `if TYPE_CHECKING:`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom) and child.module and not child.level:
            yield from (f"{child.module}.{alias.name}" for alias in child.names)
        yield from imported_names(child)


def uses() -> dict[tuple[str, str], set[str]]:
    """Rooms of a lower package that some module of a package imports, by (package, lower package).

    Inside the base the first of a pair is a room, such as "video", with the rooms it imports.
    """
    by_pair: dict[tuple[str, str], set[str]] = {}
    for package, (folder, _) in PACKAGES.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            source = room_of(".".join((package, *parts)))
            for name in imported_names(ast.parse(path.read_text("utf-8"))):
                if name.partition(".")[0] not in PACKAGES or (target := room_of(name)) == source:
                    continue
                if target[0] != package:
                    by_pair.setdefault((package, target[0]), set()).add(target[1])
                elif package == BASE:
                    by_pair.setdefault((source[1] or "modules", BASE), set()).add(target[1])
    return by_pair


def _list_text(names: Iterable[str]) -> str:
    return ", ".join(name or "modules" for name in sorted(names))


def _box(x: int, y: int, width: int, title: str, texts: Iterable[tuple[str, str]]) -> tuple[list[str], int]:
    """A box with a title and wrapped texts (class, words); its SVG elements and its height."""
    lines = [("title", title)]
    for kind, text in texts:
        lines += [(kind, line) for line in textwrap.wrap(text, int(width / CHARACTER))]
    height = LINE * len(lines) + 2 * PAD
    elements = [f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="8"/>']
    elements += [
        f'<text class="{kind}" x="{x + PAD}" y="{y + PAD + LINE * number + 14}">{html.escape(line)}</text>'
        for number, (kind, line) in enumerate(lines)
    ]
    return elements, height


def _arrow(x: int, y: int, to_y: int) -> str:
    return f'<path d="M{x} {y}V{to_y - 2}" marker-end="url(#tip)"/>'


def picture() -> str:
    """The SVG."""
    links, half = uses(), (WIDTH - GAP) // 2

    def imports(package: str) -> list[tuple[str, str]]:
        lower = [(name, rooms) for (source, name), rooms in sorted(links.items()) if source == package]
        return [("uses", f"imports of {PACKAGES[name][0]}/: {_list_text(rooms)}") for name, rooms in lower]

    def box(package: str, x: int, y: int, width: int) -> tuple[list[str], int]:
        texts = [("rooms", " · ".join(rooms(package))), *imports(package)]
        return _box(x, y, width, PACKAGES[package][1], texts)

    top, top_height = box("v2t_eval", 0, 0, WIDTH)
    y = top_height + GAP
    left, left_height = box("v2t", 0, y, half)
    right, right_height = box("t2v", half + GAP, y, half)
    floor = y + max(left_height, right_height) + GAP
    inside = [
        ("uses", f"{source}: imports {_list_text(names)}")
        for (source, name), names in sorted(links.items())
        if name == BASE and source not in PACKAGES
    ]
    face = [
        ("uses", f"the face in Python (import cineloop) calls {PACKAGES[name][0]}/: {_list_text(names)}")
        for (source, name), names in sorted(links.items())
        if source == BASE
    ]
    base, base_height = _box(
        0, floor, WIDTH, PACKAGES[BASE][1], [("rooms", " · ".join(["modules", *rooms(BASE)])), *inside, *face]
    )
    arrows = [_arrow(half // 2, top_height, y), _arrow(half + GAP + half // 2, top_height, y)]
    arrows += [_arrow(half // 2, y + left_height, floor), _arrow(half + GAP + half // 2, y + right_height, floor)]
    arrows.append(_arrow(WIDTH // 2, top_height, floor))
    parts = "\n".join([*top, *left, *right, *base, *arrows])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-2 -2 {WIDTH + 4} {floor + base_height + 4}" role="img" '
        f'aria-label="Packages, their rooms and what they import">\n<style>{STYLE}</style>\n<defs><marker id="tip" '
        f'markerWidth="8" markerHeight="8" refX="6" refY="4" orient="auto"><path d="M0 0L8 4L0 8z"/></marker></defs>\n'
        f"{parts}\n</svg>\n"
    )


def main() -> int:
    """Write the picture, or with --check compare it; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when the picture is out of date")
    is_check = parser.parse_args().check  # before the drawing: --help asks for none
    new = picture()
    if is_check:
        old = PICTURE.read_text("utf-8") if PICTURE.exists() else ""
        if new != old:
            print("docs/architecture.svg is not up to date: python scripts/draw_architecture.py", file=sys.stderr)
        return int(new != old)
    PICTURE.write_text(new, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
