"""The ready workflows: valid, harmless to their host, with command lines that our parsers take, exit codes kept."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml

from cineloop import cli as command

FOLDER = Path(__file__).resolve().parents[2] / "eval" / "workflows"
GITHUB, GITLAB = FOLDER / "github.yml", FOLDER / "gitlab.yml"
PROGRAMS = {"v2t-eval": "v2t_eval", "t2v": "t2v", "v2t": "v2t"}


def github() -> dict[Any, Any]:
    return yaml.safe_load(GITHUB.read_text("utf-8"))


def steps() -> list[dict[str, Any]]:
    return github()["jobs"]["gate"]["steps"]


def script(name: str) -> str:
    (found,) = [step["run"] for step in steps() if step.get("name", "").startswith(name)]
    return found


def command_lines(text: str) -> list[list[str]]:
    """Every command of ours in a text, cut where the shell or the sentence goes on."""
    found = re.findall(rf"(?<![\w./-])(?:{'|'.join(PROGRAMS)}) (?:score|gate|generate|caption|world)\b[^\n]*", text)
    return [shlex.split(re.split(r" \|\| | and commit|; | # ", line)[0]) for line in found]


def parsed(words: list[str]):
    program, package = words[0], PROGRAMS[words[0]]
    verbs = import_module(f"{package}.cli").VERBS
    assert words[1] in verbs
    return command.build_parser(program, "", verbs, package).parse_args(words[1:])


@pytest.mark.parametrize("path", [GITHUB, GITLAB], ids=lambda path: path.stem)
def test_every_command_line_is_one_that_we_take(path):
    lines = command_lines(path.read_text("utf-8"))
    verbs = [words[1] for words in lines]
    assert {"score", "gate", "generate"} <= set(verbs) and len(lines) >= 4, lines
    for words in lines:
        parsed(words)
    with pytest.raises(SystemExit):
        parsed(["v2t-eval", "gate", "clips/", "--no-such-option"])


def test_a_fork_can_do_no_harm():
    tree, text = github(), GITHUB.read_text("utf-8")
    triggers = tree[True]  # YAML 1.1 reads the key `on` so
    assert set(triggers) == {"pull_request", "workflow_dispatch"}
    assert tree["permissions"] == {"contents": "read"} and "permissions" not in tree["jobs"]["gate"]
    assert "secrets." not in text
    for step in steps():
        if "uses" in step:
            assert re.fullmatch(r"actions/[\w-]+@v\d+", step["uses"]), step
            assert step.get("with", {}).get("persist-credentials", False) is False
        # Nothing a pull request can name goes into a shell by text.
        assert "${{" not in step.get("run", ""), step
    (checkout,) = [step for step in steps() if step.get("uses", "").startswith("actions/checkout")]
    assert checkout["with"]["persist-credentials"] is False


def test_scripts_are_bash_and_the_page_is_kept_whatever_the_verdict():
    for step in steps():
        if "run" in step:
            subprocess.run(["bash", "-n"], input=step["run"], text=True, check=True)
    (upload,) = [step for step in steps() if step.get("uses", "").startswith("actions/upload-artifact")]
    assert upload["if"] == "always()" and "gate-report/" in upload["with"]["path"]


@pytest.mark.parametrize(
    ("code", "inconclusive", "ends", "says"),
    [
        ("0", "fail", 0, "passes"),
        ("6", "pass", 6, "::error"),
        ("8", "fail", 8, "::error"),
        ("8", "pass", 0, "::warning"),
        ("9", "pass", 9, "gate update"),
        ("5", "pass", 5, "could not run"),
        ("", "pass", 1, "could not run"),
    ],
)
def test_exit_codes_are_those_of_the_verdict(tmp_path, code, inconclusive, ends, says):
    """The step Judge with a stand-in for v2t-eval, then the step Verdict with what it left."""
    tool = tmp_path / "v2t-eval"
    tool.write_text(f"#!/bin/sh\nexit {code or 0}\n")
    tool.chmod(0o755)
    output = tmp_path / "output"
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "GITHUB_OUTPUT": str(output), "INCONCLUSIVE": inconclusive}
    subprocess.run(["bash", "-e", "-c", script("Judge")], env=env, cwd=tmp_path, check=True)
    if code:
        assert output.read_text() == f"code={code}\n"
    told = subprocess.run(["bash", "-e", "-c", script("Verdict")], env=env | {"CODE": code}, capture_output=True,
                          text=True, check=False)  # fmt: skip
    assert told.returncode == ends and says in told.stdout, told


def test_a_generator_that_loses_a_clip_still_reaches_the_gate(tmp_path):
    for code, ends in ((0, 0), (3, 0), (2, 1)):
        tool = tmp_path / "t2v"
        tool.write_text(f"#!/bin/sh\nexit {code}\n")
        tool.chmod(0o755)
        env = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
        told = subprocess.run(["bash", "-e", "-c", script("Generate")], env=env, check=False)
        assert told.returncode == ends, code


def test_gitlab_shows_the_junit_file_and_lets_inconclusive_through():
    job = yaml.safe_load(GITLAB.read_text("utf-8"))["gate"]
    assert job["allow_failure"] == {"exit_codes": [8]} and job["artifacts"]["when"] == "always"
    (line,) = [line for line in job["script"] if line.startswith("v2t-eval gate")]
    assert str(parsed(shlex.split(line)).junit) == job["artifacts"]["reports"]["junit"]
