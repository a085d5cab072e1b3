"""scripts/story.sh: its commands are commands, its recipes are recipes, and the small story is whole to the page."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest

from cineloop.cli import build_parser
from cineloop.training.recipe import read_recipe
from v2t_eval.suites.suite import read_suite

ROOT = Path(__file__).resolve().parents[2]
STORY = ROOT / "scripts/story.sh"
FAIL = 6


def numbers(size: str) -> dict[str, str]:
    """The numbers that a size sets."""
    (line,) = re.findall(rf"^  {size}\) (.*) ;;$", STORY.read_text("utf-8"), flags=re.MULTILINE)
    return dict(word.split("=") for word in line.split())


def steps(size: str) -> list[tuple[str, str, list[str]]]:
    """Name, expected exit codes and command of each step, as the shell would see it."""
    text = STORY.read_text("utf-8").replace("\\\n", " ")
    text = re.sub(r'"\$\(again [^)]*\)"', "--overwrite", text)
    for name, value in {"out": "DIR", **numbers(size)}.items():
        text = re.sub(rf"\${name}\b", value, text)
    found = [shlex.split(line) for line in text.splitlines() if line.startswith("step ")]
    return [(words[1], words[2], words[3:]) for words in found]


@pytest.mark.long
def test_both_sizes_set_the_same_numbers():
    small, full = numbers("small"), numbers("full")
    assert small.keys() == full.keys()
    assert all(int(small[name]) <= int(full[name]) for name in small)


@pytest.mark.long
@pytest.mark.parametrize("size", ["small", "full"])
def test_every_command_parses(size):
    told = steps(size)
    assert len({name for name, _, _ in told}) == len(told) > 15
    for name, codes, words in told:
        assert not any("$" in word for word in words), f"{name}: {words}"
        package = "v2t_eval" if words[0] == "v2t-eval" else words[0]
        verbs = importlib.import_module(f"{package}.cli").VERBS
        args = build_parser(words[0], "", verbs, package).parse_args(words[1:])  # exits when it cannot
        assert (codes == str(FAIL)) == (name == "gate-fail"), name
        if args.command == "train":
            _, config = read_recipe(f"{package}.train", ROOT / args.config, sets=args.set, out=args.output)
            assert str(config.out).startswith("DIR/"), name
            _, alone = read_recipe(f"{package}.train", ROOT / args.config)
            assert (config.loop.steps == alone.loop.steps) == (size == "full"), f"{name}: steps of the recipe"
        for word in words:
            if word.startswith("configs/"):
                assert (ROOT / word).is_file(), f"{name}: {word}"


@pytest.mark.long
def test_the_gate_asks_what_the_suite_measures():
    suite = read_suite(ROOT / "configs/story/gate.yaml")
    assert suite.policy is not None and all(rule.margin for rule in suite.policy.primary)


@pytest.mark.long
def test_what_a_step_reads_was_written_before():
    written = set()
    for name, _, words in steps("small"):
        for before, word in zip(["", *words], words, strict=False):
            for path in re.findall(r"DIR/[\w.-]+", word):
                if before in ("-o", "--out", "--cache") or word.startswith("cache="):
                    written.add(path)
                else:
                    assert path in written, f"{name} reads {path}"


def told_by(folder: Path, *, size: str = "small") -> tuple[int, str]:
    """Exit code and output of the story in `folder`, at most as far as it comes."""
    binaries = Path(sys.executable).parent
    environment = os.environ | {
        "CINELOOP_NO_SETUP": "1",
        "STORY_SIZE": size,
        "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
    }
    log = folder.parent / "log.txt"
    with open(log, "wb") as out:
        # A group of its own: a test that is cut short leaves no training behind.
        story = subprocess.Popen(
            ["bash", STORY, folder], stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment,
            start_new_session=True,
        )  # fmt: skip
        try:
            story.wait()
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(story.pid, signal.SIGKILL)
    return story.returncode, log.read_text(errors="replace")


@pytest.mark.long
def test_another_size_is_refused(tmp_path):
    code, log = told_by(tmp_path / "story", size="medium")
    assert code == 2 and "small or full, not medium" in log
    assert not (tmp_path / "story").exists()


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.timeout(5400)  # two dozen programs in turn: minutes alone, half an hour beside sixteen busy processes
def test_the_story_is_whole(tmp_path):
    folder = tmp_path / "story"
    code, log = told_by(folder)
    assert code == 0, log[-4000:]
    done = {path.name: path.read_text().splitlines() for path in (folder / "steps").iterdir()}
    assert done.keys() == {name for name, _, _ in steps("small")}
    for name, codes, _ in steps("small"):
        assert done[name][1] in codes.split()
    same, worse = (json.loads((folder / name / "verdict.json").read_text()) for name in ("gate-pass", "gate-fail"))
    assert (same["outcome"], worse["outcome"]) == ("pass", "fail")
    assert all(one["change"] == 0 for one in same["metrics"])
    page = (folder / "index.html").read_text("utf-8")
    links = [unquote(link) for link in re.findall(r'(?:href|src)="((?!#|data:)[^"]*)"', page)]
    assert len(links) > 20 and not [link for link in links if not (folder / link).exists()]
    for word in ("roundtrip/report.html", "audit/audit.html", "gate-fail/gate.html", "exit code 6"):
        assert word in page
    # Told again, nothing is done again.
    code, log = told_by(folder)
    assert code == 0 and log.count("done before") == len(done), log[-4000:]
