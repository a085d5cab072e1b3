"""Papers: links lead somewhere, parsers take the commands, made pages are up to date, the README is short."""

from __future__ import annotations

import argparse
import importlib
import re
import runpy
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
README_BYTES = 9_000
GUIDES = ("docs", "README.md", "CONTRIBUTING.md")
PACKAGES = {"v2t": "v2t", "t2v": "t2v", "v2t-eval": "v2t_eval"}
_LINK = re.compile(r"!?\[[^\]]*\]\(<?([^()\s<>]+)>?[^()]*\)")
_FENCE = re.compile(r"^(```|~~~).*?^\1", re.DOTALL | re.MULTILINE)


def pages() -> list[Path]:
    """Every Markdown file of the repository, relative to its root."""
    listed = subprocess.run(["git", "ls-files", "-z", "*.md"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode == 0:
        return [Path(name) for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]
    skipped = {".venv", ".venv-serve", "runs", "build", "dist"}
    found = (path.relative_to(ROOT) for path in ROOT.rglob("*.md"))
    return sorted(path for path in found if not skipped & set(path.parts))


def anchors(text: str) -> set[str]:
    """The anchors GitHub gives the headings of a page."""
    found: set[str] = set()
    for line in re.findall(r"^#{1,6} +(.+?) *#*$", _FENCE.sub("", text), flags=re.MULTILINE):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", line)
        anchor = re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")
        number = 0
        while f"{anchor}-{number}" in found or (not number and anchor in found):
            number += 1
        found.add(f"{anchor}-{number}" if number else anchor)
    return found


def broken(page: Path, text: str, root: Path = ROOT) -> list[str]:
    """Links of a page that lead to no file, out of the repository, or to no heading."""
    complaints = []
    for link in _LINK.findall(re.sub(r"`[^`\n]*`", "", _FENCE.sub("", text))):
        if re.match(r"[a-z][a-z0-9+.-]*:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (root / page.parent / path).resolve() if path else root / page
        if not target.exists() or not target.is_relative_to(root):
            complaints.append(f"{page}: {link}: no such file")
        elif anchor and target.suffix == ".md":
            there = text if target == root / page else target.read_text("utf-8")
            if anchor not in anchors(there):
                complaints.append(f"{page}: {link}: no such heading")
    return complaints


@cache
def parser(program: str) -> argparse.ArgumentParser:
    from cineloop.cli import build_parser

    module = importlib.import_module(f"{PACKAGES[program]}.cli")
    return build_parser(program, module.ABOUT, module.VERBS, PACKAGES[program])


def commands(text: str) -> list[str]:
    """The lines of a page's shell blocks, without comments."""
    blocks = re.findall(r"^```(?:bash|sh)\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    lines = [re.sub(r"(^|\s)#\s.*", "", line).strip() for line in lines]
    return [line for line in lines if line]


def refused(line: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What is wrong with a command line: a script that is not there, words that a parser does not take."""
    words = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
    words.whitespace_split = True
    parts: list[list[str]] = [[]]
    for word in words:
        if set(word) <= set("|&;"):
            parts.append([])
        else:
            parts[-1].append(word)
    complaints = []
    for part in parts:
        part = part[: next((n for n, word in enumerate(part) if set(word) <= set("<>")), len(part))]
        while part and re.match(r"\w+=", part[0]):
            part = part[1:]
        name = re.sub(r"^\.venv(-serve)?/bin/", "", part[0]) if part else ""
        if name.startswith("scripts/") and not (ROOT / name).is_file():
            complaints.append(f"{line}: no file {name}")
        if name == "python" and part[1].startswith(("scripts/", "benchmarks/")) and not (ROOT / part[1]).is_file():
            complaints.append(f"{line}: no file {part[1]}")
        if name in PACKAGES:
            try:
                parser(name).parse_args(part[1:])
            except SystemExit as end:
                if end.code:
                    complaints.append(f"{line}: {capsys.readouterr().err.strip()}")
    return complaints


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[gone](docs/gone.md)", "no such file"),
        ("![picture](docs/gone.png)", "no such file"),
        ("[out](../elsewhere.md)", "no such file"),
        ("[gate](docs/gate.md#no-heading)", "no such heading"),
        ("# One\n[two](#two)", "no such heading"),
    ],
)
def test_a_planted_link_is_seen(text, says):
    assert says in broken(Path("README.md"), text)[0]


def test_links_of_all_kinds_hold():
    text = (
        "# One [thing](LICENSE)\n## `a` & b\n[x](#one-thing) [y](#a--b) [z](docs/gate.md#the-rules) [w](https://x.org)"
    )
    assert broken(Path("README.md"), text) == []


@pytest.mark.parametrize("page", pages(), ids=str)
def test_links(page):
    assert broken(page, (ROOT / page).read_text("utf-8")) == []


def test_a_planted_command_is_refused(capsys):
    assert refused("v2t caption clips/ --no-such-option", capsys)
    assert refused("v2t world -o world && v2t-eval gaet clips/", capsys)
    assert refused("scripts/gone --num 3", capsys)
    assert refused("python benchmarks/gone.py --full", capsys)
    assert refused('STORY_SIZE=full v2t ask film.mp4 "Why # not?" | v2t chat > answers.txt', capsys) == []


@pytest.mark.parametrize(
    "page", [p for p in pages() if p.parts[0] in ("docs", "README.md", "CONTRIBUTING.md")], ids=str
)
def test_commands(page, capsys):
    lines = commands((ROOT / page).read_text("utf-8"))
    assert [complaint for line in lines for complaint in refused(line, capsys)] == []


def test_the_readme_is_short_and_begins_with_a_moving_picture_and_the_demo():
    text = (ROOT / "README.md").read_text("utf-8")
    assert len(text.encode()) <= README_BYTES
    first = ROOT / _LINK.findall(text)[0]
    with Image.open(first) as picture:
        assert first.suffix == ".webp" and picture.n_frames > 50 and first.stat().st_size < 1.5e6
    assert {"scripts/demo", "scripts/test"} <= set(commands(text))


@pytest.mark.parametrize(
    "command", ["draw_architecture.py --check", "make_reference.py --check", "results.py write --check"]
)
def test_made_pages_are_up_to_date(command, monkeypatch, capsys):
    """In this process, which has imported what the pages are made of."""
    script, *arguments = command.split()
    monkeypatch.setattr(sys, "argv", [script, *arguments])
    monkeypatch.setattr(sys, "path", [str(ROOT / "scripts"), *sys.path])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(ROOT / "scripts" / script), run_name="__main__")
    assert end.value.code == 0, capsys.readouterr().err


def test_stored_figures_hold_no_path_of_a_machine():
    for path in (ROOT / "docs/figures").glob("*.json"):
        assert not re.search(r'"/\w', path.read_text("utf-8")), path


def test_every_room_has_its_line_in_the_architecture():
    page = (ROOT / "docs/architecture.md").read_text("utf-8")
    tree = page.split("## The tree")[1].split("```")[1]
    of = dict(re.findall(r"^(\w+)/(.*(?:\n .*)*)", tree, flags=re.MULTILINE))
    for top in ("cineloop", "v2t", "t2v", "eval"):
        rooms = {path.parent.name for path in (ROOT / top).glob("*/__init__.py")}
        named = set(re.findall(r"(?:^  |  )(\w+)/", of[top], flags=re.MULTILINE))
        assert rooms <= named, f"{top}: no line for {rooms - named}"
    for path in re.findall(r"`((?:cineloop|v2t|t2v|eval|scripts)/[a-z_/]+\.(?:py|sh|md))`", page):
        assert (ROOT / path).exists(), path
