"""Papers: links lead somewhere, parsers take the commands, made pages are up to date, the README is short."""

from __future__ import annotations

import argparse
import ast
import importlib
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from PIL import Image

from cineloop.errors import CineloopError

ROOT = Path(__file__).resolve().parents[2]
README_BYTES = 9_000
GUIDES = ("docs", "README.md", "CONTRIBUTING.md")
PACKAGES = {"v2t": "v2t", "t2v": "t2v", "v2t-eval": "v2t_eval", "cineloop": "v2t_eval.demo"}
_LINK = re.compile(r"!?\[[^\]]*\]\(<?([^()\s<>]+)>?[^()]*\)")
_PROGRAM = r"(?:v2t-eval|v2t|t2v|cineloop)"
_FENCE = re.compile(r"^(```|~~~).*?^\1", re.DOTALL | re.MULTILINE)


def pages() -> list[Path]:
    """Every Markdown file of the repository, relative to its root."""
    listed = subprocess.run(["git", "ls-files", "-z", "*.md"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode == 0:
        return [Path(name) for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]
    skipped = {".venv", ".venv-serve", "runs", "build", "dist"}
    found = (path.relative_to(ROOT) for path in ROOT.rglob("*.md"))
    return sorted(path for path in found if not skipped & set(path.parts))


def tracked(*folders: str) -> list[Path]:
    """The files of the repository in these folders, relative to its root."""
    listed = subprocess.run(["git", "ls-files", "-z", *folders], cwd=ROOT, capture_output=True, text=True, check=False)
    names = listed.stdout.split("\0") if listed.returncode == 0 else []
    found = [Path(name) for name in names if name and (ROOT / name).is_file()]
    return found or [
        path.relative_to(ROOT) for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()
    ]


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


def lines_of(block: str) -> list[str]:
    """The command lines of a block: continued lines joined, without comments."""
    lines = re.sub(r"\\\n[ \t]*#?", " ", block).splitlines()
    return [line for line in (re.sub(r"(^|\s)#\s.*", "", line).strip() for line in lines) if line]


def commands(text: str) -> list[str]:
    """The lines of a page's shell blocks."""
    blocks = re.findall(r"^```(?:bash|sh)\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    return lines_of("\n".join(blocks))


def mentions(text: str) -> list[str]:
    """Command lines in a page's other blocks and in its sentences; these may leave out what a command needs."""
    blocks = re.findall(r"^```(?!(?:bash|sh)\n)\w*\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    found = [line for line in lines_of("\n".join(blocks)) if re.match(rf"(\w+=\S+ +)*{_PROGRAM} +[a-z]", line)]
    return found + quoted(_FENCE.sub("", text))


def quoted(text: str) -> list[str]:
    """Command lines between backticks."""
    return [" ".join(line.split()) for line in re.findall(rf"`({_PROGRAM} [a-z][^`]*)`", text)]


def headers(text: str) -> list[str]:
    """Command lines in the comments of a configuration, and in what a job runs."""
    lines = re.sub(r"\\\n\s*#?", " ", text).splitlines()
    form = rf"(?:\s*#?\s*(?:- )?|.*(?::\s+|=|/))((?:[A-Z_]+=\S+ +)*{_PROGRAM} +[a-z].*)"
    found = (one[1] for one in map(re.compile(form).match, lines) if one)
    return [re.sub(r"\{\{.*?\}\}", "X", re.sub(r"\s#\s.*| +\(.*|, .*| +and .*", "", line)).strip() for line in found]


def texts(path: Path) -> Iterator[tuple[str, bool]]:
    """The strings of a Python file, in place of what is put into them X; true for hints, which name commands without
    backticks."""
    source = path.read_text("utf-8")
    if not re.search(rf"{_PROGRAM} [a-z]", source):  # to parse it would be for nothing
        return
    nodes = list(ast.walk(ast.parse(source)))
    hints = {id(node.value) for node in nodes if isinstance(node, ast.keyword) and node.arg == "hint"}
    for node in nodes:
        if isinstance(node, ast.JoinedStr):
            parts = (part.value if isinstance(part, ast.Constant) else "X" for part in node.values)
            yield "".join(map(str, parts)), id(node) in hints
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value, id(node) in hints


def examples() -> dict[str, list[str]]:
    """The command lines of each verb's EXAMPLES, by program and verb."""
    found = {}
    for program, package in PACKAGES.items():
        folder = Path(str(importlib.import_module(package).__file__)).parent / "commands"
        for verb in sorted(path.stem for path in folder.glob("[!_]*.py")):
            block = importlib.import_module(f"{package}.commands.{verb}").EXAMPLES
            lines = [line for line in block.splitlines(keepends=True) if line.startswith("  ") or line.endswith("\\\n")]
            found[f"{program} {verb}"] = [line for line in lines_of("".join(lines)) if re.search(_PROGRAM, line)]
    return found


def wrong_values(words: list[str], args: argparse.Namespace) -> list[str]:
    """What is wrong with values that no parser looks into: metrics, judges, settings, shipped recipes."""
    from cineloop.config import load
    from cineloop.training.recipe import recipes
    from t2v.generate.settings import GenerateConfig
    from v2t.ask.settings import AskConfig
    from v2t.caption.settings import CaptionConfig
    from v2t.serve.settings import ServeConfig
    from v2t_eval.judge.judge import model_of
    from v2t_eval.learn.settings import LearnConfig
    from v2t_eval.suites.suite import parse_metrics

    settings = {"v2t caption": CaptionConfig, "v2t ask": AskConfig, "v2t chat": AskConfig, "v2t serve": ServeConfig,
                "t2v generate": GenerateConfig, "v2t-eval learn": LearnConfig}  # fmt: skip
    complaints = []
    try:
        for name in ("metrics", "by", "check"):
            value = getattr(args, name, None)
            if isinstance(value, str) and value != "none" and ".py" not in value:
                parse_metrics(value)
        judge = getattr(args, "judge", None)
        if isinstance(judge, str) and judge not in ("auto", "none"):
            model_of(judge)
        if (kind := settings.get(" ".join(words[:2]))) is not None:
            load(kind, sets=args.set)
    except CineloopError as error:
        complaints.append(f"{' '.join(words)}: {error.message}")
    recipe = str(args.config) if words[1:2] == ["train"] else ""
    shipped = recipes(f"{words[0]}.train") if "/" in recipe else {}
    if recipe and recipe.partition("/")[0] in {name.partition("/")[0] for name in shipped} and recipe not in shipped:
        complaints.append(f"{' '.join(words)}: no recipe {recipe}")
    if recipe.startswith("configs/") and not (ROOT / recipe).is_file():
        complaints.append(f"{' '.join(words)}: no file {recipe}")
    return complaints


def refused(line: str, capsys: pytest.CaptureFixture[str], *, whole: bool = True) -> list[str]:
    """What is wrong with a command line: a script that is not there, words that a parser does not take, metrics,
    settings and recipes that there are not. Where it is not `whole`, it may end early or leave out what is required."""
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
            given = [word for word in part[1:] if whole or not ("…" in word or word == "...")]
            try:
                complaints += wrong_values([name, *given], parser(name).parse_args(given))
            except SystemExit as end:
                said = capsys.readouterr().err.strip()
                if end.code and (
                    whole or not re.search("arguments are required|expected (one|at least one) argument", said)
                ):
                    complaints.append(f"{line}: {said}")
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
    assert refused("v2t caption --no-such-option", capsys, whole=False)
    assert refused("v2t caption --model ... --style", capsys, whole=False) == []
    assert refused("v2t-eval score made/ --metrics clipsmi", capsys)
    assert refused("v2t-eval select made/ --by 'vqascore[judge=openai:http://localhost:8000/v1]'", capsys)
    assert refused("v2t-eval audit --judge openai:http://localhost:8000/v1 -o audit", capsys)
    assert refused("v2t-eval learn -o out --set ruonds=2", capsys)
    assert refused("v2t train starter/towel", capsys)
    assert refused("scripts/gone --num 3", capsys)
    assert refused("python benchmarks/gone.py --full", capsys)
    assert refused('STORY_SIZE=full v2t ask film.mp4 "Why # not?" | v2t chat > answers.txt', capsys) == []


@pytest.mark.parametrize(
    "page", [p for p in pages() if p.parts[0] in ("docs", "README.md", "CONTRIBUTING.md")], ids=str
)
def test_commands(page, capsys):
    lines = commands((ROOT / page).read_text("utf-8"))
    assert [complaint for line in lines for complaint in refused(line, capsys)] == []


@pytest.mark.parametrize("page", [p for p in pages() if p.name != "CHANGELOG.md"], ids=str)  # which tells of the past
def test_commands_in_passing(page, capsys):
    lines = mentions((ROOT / page).read_text("utf-8"))
    assert [complaint for line in lines for complaint in refused(line, capsys, whole=False)] == []


def test_examples_of_every_verb(capsys):
    listed = examples()
    assert len(listed) > 25 and all(listed.values()), [verb for verb, lines in listed.items() if not lines]
    assert [complaint for lines in listed.values() for line in lines for complaint in refused(line, capsys)] == []


def test_commands_in_configurations_and_workflows(capsys):
    suffixes = {".sh", ".yaml", ".yml", ".j2", ".service", ".toml", ".in", ".conf", ""}
    files = [path for path in tracked("configs", "eval/workflows", "scripts", "pyproject.toml", "docs") if
             path.suffix in suffixes]  # fmt: skip
    lines = [line for path in files for line in headers((ROOT / path).read_text("utf-8", "replace"))]
    assert len(lines) > 50
    assert [complaint for line in lines for complaint in refused(line, capsys, whole=False)] == []


def test_commands_in_docstrings_messages_and_hints(capsys):
    lines = []
    for path in tracked("cineloop", "v2t", "t2v", "eval", "scripts"):
        if path.suffix == ".py":
            for text, is_hint in texts(ROOT / path):
                lines += quoted(text)
                if is_hint:
                    lines += re.findall(rf"(?<![\w`/-]){_PROGRAM} (?:[a-z]+ ?)(?:--?[\w-]+ [^\s,;:)-]+ ?)*", text)
    assert len(lines) > 100
    assert [complaint for line in lines for complaint in refused(line, capsys, whole=False)] == []


def test_the_readme_is_short_and_begins_with_a_moving_picture_and_the_demo():
    text = (ROOT / "README.md").read_text("utf-8")
    assert len(text.encode()) <= README_BYTES
    first = ROOT / _LINK.findall(text)[0]
    with Image.open(first) as picture:
        assert first.suffix == ".webp" and picture.n_frames > 50 and first.stat().st_size < 1.5e6
    assert {"scripts/demo", "scripts/test"} <= set(commands(text))


@pytest.mark.parametrize(
    "command",
    [
        pytest.param("draw_architecture.py --check", marks=pytest.mark.slow),
        pytest.param("make_reference.py --check", marks=pytest.mark.slow),
        "results.py write --check",
    ],
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
