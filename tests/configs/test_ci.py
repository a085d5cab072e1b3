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

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "eval" / "workflows"
GITHUB, GITLAB, ACTION = FOLDER / "github.yml", FOLDER / "gitlab.yml", ROOT / "action.yml"
PROGRAMS = {"v2t-eval": "v2t_eval", "t2v": "t2v", "v2t": "v2t"}


def github() -> dict[Any, Any]:
    return yaml.safe_load(GITHUB.read_text("utf-8"))


def steps() -> list[dict[str, Any]]:
    return github()["jobs"]["gate"]["steps"]


def action() -> dict[str, Any]:
    return yaml.safe_load(ACTION.read_text("utf-8"))


def script(name: str) -> str:
    """The script of a step, of the workflow or of the action in it."""
    every = [*steps(), *action()["runs"]["steps"]]
    (script,) = [step["run"] for step in every if step.get("name", "").startswith(name) and "run" in step]
    return script


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
    # The event pull_request gives a fork's run a token that only reads, whatever is asked for here.
    assert tree["permissions"] == {"contents": "read", "pull-requests": "write"}
    assert "permissions" not in tree["jobs"]["gate"] and "secrets." not in text and "github.token" not in text
    for step in steps():
        if "uses" in step:
            assert re.fullmatch(r"actions/[\w-]+@v\d+|\./\.github/actions/gate", step["uses"]), step
            assert step.get("with", {}).get("persist-credentials", False) is False
        # Nothing a pull request can name goes into a shell by text.
        assert "${{" not in step.get("run", ""), step
    (checkout,) = [step for step in steps() if step.get("uses", "").startswith("actions/checkout")]
    assert checkout["with"]["persist-credentials"] is False


def test_the_action_is_shipped_and_gives_its_token_to_the_comment_alone():
    assert (FOLDER / "action.yml").read_bytes() == ACTION.read_bytes()
    of_action = action()["runs"]["steps"]
    assert action()["runs"]["using"] == "composite"
    for step in of_action:
        assert "${{" not in step.get("run", ""), "no text of a pull request becomes a command"
        assert "run" not in step or step["shell"] == "bash"
        assert "uses" not in step or re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40}", step["uses"]), step
    with_token = [step["name"] for step in of_action if "token" in str(step.get("env", {})).lower()]
    assert with_token == ["Comment"]
    given = steps()[-1]["with"]
    assert set(given) <= set(action()["inputs"]) and given["inconclusive"] == "${{ env.INCONCLUSIVE }}"
    used = set(re.findall(r"inputs\.([\w-]+)", ACTION.read_text("utf-8")))
    assert used == set(action()["inputs"])


def test_scripts_are_bash_and_the_page_is_kept_whatever_the_verdict():
    for step in (*steps(), *action()["runs"]["steps"]):
        if "run" in step:
            subprocess.run(["bash", "-n"], input=step["run"], text=True, check=True)
    (upload,) = [
        each for each in action()["runs"]["steps"] if each.get("uses", "").startswith("actions/upload-artifact")
    ]
    assert upload["if"] == "always()" and upload["with"]["path"] == "${{ inputs.output }}"


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
    """The step Gate with a stand-in for v2t-eval, then the step Verdict with what it left."""
    tool = tmp_path / "v2t-eval"
    tool.write_text(f"#!/bin/sh\nexit {code or 0}\n")
    tool.chmod(0o755)
    output = tmp_path / "output"
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "GITHUB_OUTPUT": str(output), "INCONCLUSIVE": inconclusive}
    given = {name: "" for name in ("BASELINE", "BASELINE_CLIPS", "CACHE", "ARGS", "COMMENT")}
    given |= {"CLIPS": "clips", "SUITE": "gate", "OUTPUT": "out"}
    subprocess.run(["bash", "-e", "-c", script("Gate")], env=env | given, cwd=tmp_path, check=True)
    if code:
        verdict = {"0": "pass", "6": "fail", "8": "inconclusive", "9": "not_comparable"}.get(code, "error")
        assert output.read_text() == f"exit-code={code}\nverdict={verdict}\n"
    told = subprocess.run(["bash", "-e", "-c", script("Verdict")], env=env | {"CODE": code}, capture_output=True,
                          text=True, check=False)  # fmt: skip
    assert told.returncode == ends and says in told.stdout, told


def test_the_action_hands_its_inputs_on_word_by_word(tmp_path):
    tool = tmp_path / "v2t-eval"
    tool.write_text('#!/bin/sh\nfor word in "$@"; do echo "$word" >> words; done\n')
    tool.chmod(0o755)
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "GITHUB_OUTPUT": str(tmp_path / "output"), "COMMENT": "true",
           "CLIPS": "my clips; touch gone", "SUITE": "$(touch gone)", "BASELINE": "b.json", "BASELINE_CLIPS": "",
           "CACHE": "c", "OUTPUT": "out", "ARGS": "--audit 'an audit.json' --device cpu\n--workers 2"}  # fmt: skip
    subprocess.run(["bash", "-e", "-c", script("Gate")], env=env, cwd=tmp_path, check=True)
    words = (tmp_path / "words").read_text().splitlines()
    assert words[:6] == ["gate", "my clips; touch gone", "--suite", "$(touch gone)", "-o", "out"]
    assert words[6:] == ["--overwrite", "--baseline", "b.json", "--cache", "c", "--audit", "an audit.json", "--device",
                         "cpu", "--workers", "2"]  # fmt: skip
    assert not (tmp_path / "gone").exists()
    args = parsed(["v2t-eval", *words])
    assert str(args.audit) == "an audit.json" and args.workers == 2


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
    (line,) = [line for line in command_lines("\n".join(job["script"])) if line[:2] == ["v2t-eval", "gate"]]
    assert str(parsed(line).junit) == job["artifacts"]["reports"]["junit"]
