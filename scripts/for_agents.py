"""AGENTS.md and llms.txt, which `scripts/make_reference.py` writes: what a program needs before it works with Cineloop.

In: the programs with their packages, the exit codes; of the repository the guides of docs/site.toml and the heads of
the packages. Out: the text of both files.
"""

from __future__ import annotations

import ast
import importlib
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cineloop.cli import verb_module

ROOT = Path(__file__).resolve().parent.parent
MADE = "Made by `python scripts/make_reference.py`; not edited by hand."
PACKAGES = {"cineloop": "cineloop", "v2t": "v2t", "t2v": "t2v", "v2t_eval": "eval"}


def agents() -> str:
    """For programs that change the code: where things are, how they are checked."""
    lines = ["# Working on Cineloop", "", MADE, "", "```bash", "scripts/test --fast", "scripts/test", "```", ""]
    lines += [
        "The first within two minutes, the second is what CI runs; both make their environment in `.venv`. After a"
    ]
    lines += ["change of commands, options, metrics, formats or error codes:", "", "```bash"]
    lines += ["python scripts/make_reference.py", "python scripts/draw_architecture.py"]
    lines += ["python scripts/results.py write --check", "```", "", "## Rooms", ""]
    for package, folder in PACKAGES.items():
        lines += [f"- `{folder}/` (imported as `{package}`): {sentence(ROOT / folder / '__init__.py')}"]
        lines += [
            f"  - `{folder}/{path.parent.name}/`: {sentence(path)}"
            for path in sorted((ROOT / folder).glob("*/__init__.py"))
            if not path.parent.is_symlink()
        ]
    lines += [
        "",
        "`v2t_eval` imports `v2t` and `t2v`, these import `cineloop`, never back; import-linter holds it.",
        "",
    ]
    lines += ["How a metric, format, backend or verb is added: [docs/extending.md](docs/extending.md). House rules:"]
    lines += ["[CONTRIBUTING.md](CONTRIBUTING.md). What imports what: [docs/architecture.md](docs/architecture.md)."]
    return "\n".join(lines)


def llms(programs: Mapping[str, str], exit_codes: Mapping[int, str]) -> str:
    """For programs that use it: what it is, its commands, what they answer, where more stands."""
    about = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["description"]
    lines = ["# Cineloop", "", f"> {about}", "", MADE, ""]
    lines += ["Results go to stdout, all else to stderr; most verbs take `--json`. Examples: `--help` of a verb."]
    lines += ["Exit codes: " + ", ".join(f"{code} {means}" for code, means in exit_codes.items()) + ".", ""]
    for program, package in programs.items():
        module = importlib.import_module(f"{package}.cli")
        lines += [f"## {program}: {module.ABOUT}", ""]
        for verb in module.VERBS:
            lines.append(f"- `{program} {verb}`: {verb_module(package, verb).SUMMARY}")
        lines.append("")
    site = tomllib.loads((ROOT / "docs" / "site.toml").read_text("utf-8"))
    for heading, entries in sections(site["project"]["nav"]):
        lines += [f"## {heading}", ""]
        lines += [f"- [{title}]({path})" for title, path in entries] + [""]
    return "\n".join(lines)


def sections(nav: list[dict[str, Any]]) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Headings of the documentation site with the titles and paths below each."""
    for part in nav:
        for heading, entries in part.items():
            if isinstance(entries, list):
                yield heading, [(title, path) for entry in entries for title, path in entry.items()]


def sentence(path: Path) -> str:
    """The first sentence of a module's head, after a colon; "" where it has none."""
    text = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    first = " ".join(text.split("\n\n")[0].split()).split(". ")[0].rstrip(".:")
    return f": {first}." if first else ""
