"""The published recipe for pull requests, followed to the letter from an installed wheel in a fresh repository."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

from action_runner import Runner

pytest_plugins = ["installed_wheel"]

PROMPTS = "A red ball rolls to the left on the beach.\nA blue car drives to the right in the city.\n"
SMALL = {"--num-videos 2": "--num-videos 2 --generator world"}  # place (3) of the workflow: your own command


def small(script: str) -> str:
    """The script with a generator that is done in a second."""
    for long, short in SMALL.items():
        script = script.replace(long, short)
    return script


def told_in_the_head(text: str) -> list[str]:
    """The commands that the head of a workflow tells to run, in its order."""
    head = text.split("\nname:")[0]
    return re.findall(r"((?:v2t-eval|t2v) (?:ci|suites|generate|gate) .*?)$", head, re.MULTILINE)


def required_in_the_head() -> str:
    """The line of gate/requirements.txt that the head of the workflow tells to write, of this version."""
    text = (Path(__file__).resolve().parents[2] / "eval/workflows/github.yml").read_text("utf-8")
    (line,) = re.findall(r"one line, (cineloop\S*==VERSION)", text)
    return line.replace("VERSION", version("cineloop"))


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.timeout(400)  # two processes that load models
def test_the_line_in_the_head_brings_what_the_suite_decides_by(installed_by, tmp_path):
    (tmp_path / "eval.py").write_text("raise SystemExit('somebody else imports this')\n")
    words = ("v2t-eval", "list", "--suite", "gate")
    ran = installed_by(required_in_the_head()).run(*words, cwd=tmp_path)
    assert ran.returncode == 0 and "cannot run here" not in ran.stdout, ran.stdout + ran.stderr
    ran = installed_by("cineloop").run(*words, cwd=tmp_path)
    assert ran.returncode == 5 and "clipsim decides and could not run: needs open_clip" in ran.stderr, ran.stderr


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_missing_package_is_an_error_before_a_clip_is_measured(installed_by, tmp_path):
    made = installed_by("cineloop").run("t2v", "generate", "A red ball rolls to the left on the beach.", "-o", "made",
                                        "--generator", "world", cwd=tmp_path)  # fmt: skip
    assert made.returncode == 0, made.stderr
    for words in (["gate", "made"], ["gate", "init", "made"]):
        into = ["-o", "baseline.json"] if "init" in words else ["-o", "out"]
        ran = installed_by("cineloop").run(
            "v2t-eval", *words, "--suite", "gate", *into, "--cache", "kept", cwd=tmp_path
        )
        assert ran.returncode == 5 and "pip install 'cineloop[eval]'" in ran.stderr, ran.stderr
        assert not any(path.is_file() for path in (tmp_path / "kept").rglob("*")), "something was measured"


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_pip_installs_the_line_in_the_head(wheel, tmp_path):
    from installed_wheel import Installed  # a plug-in, which pytest imports first

    uv, folder = Path(sys.executable).with_name("uv"), tmp_path / "environment"
    # Without the proxy that keeps the children of tests off the network: this is the one that asks an index.
    env = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    subprocess.run([uv, "venv", "-q", "-p", sys.executable, folder], check=True)
    (tmp_path / "requirements.txt").write_text(required_in_the_head() + "\n")
    ran = subprocess.run(
        [uv, "pip", "install", "-q", "-p", folder, "--find-links", wheel.parent, "-r", tmp_path / "requirements.txt"],
        capture_output=True, text=True, check=False, env=env,
    )  # fmt: skip
    if ran.returncode and re.search(r"Failed to fetch|error sending request|dns error", ran.stderr):
        pytest.skip("the package index cannot be reached")
    assert ran.returncode == 0, ran.stderr
    made = Installed(bin=folder / "bin", site=folder)
    (tmp_path / "eval.py").write_text("raise SystemExit('somebody else imports this')\n")
    ran = made.run("v2t-eval", "list", "--suite", "gate", cwd=tmp_path)
    assert ran.returncode == 0 and "cannot run here" not in ran.stdout, ran.stdout + ran.stderr


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.timeout(1200)  # ten commands, each a process that loads its models
def test_the_workflow_is_set_up_and_judges_a_pull_request(installed_by, tmp_path):
    installed = installed_by(required_in_the_head())

    def shell(script: str, **env: str):
        ran = installed.run("bash", "-e", "-c", small(script), cwd=tmp_path, env=env)
        return ran.returncode, ran.stdout + ran.stderr

    (tmp_path / ".github/workflows").mkdir(parents=True)
    (tmp_path / ".github/actions/gate").mkdir(parents=True)
    (tmp_path / "gate").mkdir()
    (tmp_path / "gate/prompts.txt").write_text(PROMPTS)
    (tmp_path / "eval.py").write_text("raise SystemExit('somebody else imports this')\n")
    code, said = shell("v2t-eval ci github > .github/workflows/gate.yml")
    assert code == 0, said
    text = (tmp_path / ".github/workflows/gate.yml").read_text("utf-8")
    commands = told_in_the_head(text)
    assert [line.split()[1] for line in commands] == ["ci", "ci", "suites", "generate", "gate", "gate"], commands
    for line in commands:
        code, said = shell(line)
        assert code == 0, f"{line}: {said}"
        assert "no audit" not in said
    steps = {step.get("name", ""): step for step in yaml.safe_load(text)["jobs"]["gate"]["steps"]}
    for name in ("Check", "Generate"):
        (script,) = [step["run"] for title, step in steps.items() if title.startswith(name)]
        code, said = shell(script)
        assert code == 0, said
    assert (tmp_path / "clips/manifest.jsonl").is_file()
    (judge,) = [step for title, step in steps.items() if title.startswith("Judge")]
    action = yaml.safe_load((tmp_path / judge["uses"] / "action.yml").read_text("utf-8"))
    env = installed.environment() | {"GITHUB_ACTIONS": "true", "GITHUB_REPOSITORY": "o/r"}
    runner = Runner(folder=tmp_path, work=tmp_path, env=env, inputs={**judge["with"], "inconclusive": "fail"})
    assert runner.run(action) == 0, runner.log
    assert runner.outputs["gate"] == {"exit-code": "0", "verdict": "pass"} and "passes" in runner.said("Verdict")
    for name in ("gate-report/gate.html", "gate-report/verdict.json", "gate-report/junit.xml", "comment.summary"):
        assert (tmp_path / name).stat().st_size, name
    assert "FORGE_NO_REQUEST" in runner.said("Comment"), "it was started by hand"
    assert "reverse" in (tmp_path / "gate-report/gate.md").read_text("utf-8"), "the audit's blind spots are shown"


@pytest.mark.slow
def test_the_gitlab_job_runs_the_same_commands(installed, tmp_path):
    ran = installed.run("v2t-eval", "ci", "gitlab", cwd=tmp_path)
    job = yaml.safe_load(ran.stdout)["gate"]
    steps = yaml.safe_load(installed.run("v2t-eval", "ci", "github", cwd=tmp_path).stdout)["jobs"]["gate"]["steps"]
    same = "\n".join(step.get("run", "") for step in steps)
    for line in job["script"][:3]:
        assert line in same, line
    given = next(step["with"] for step in steps if step.get("uses", "").startswith("./"))
    gate, comment, end = job["script"][3:]
    words = f"{given['clips']} --suite {given['suite']} --baseline {given['baseline']} --cache {given['cache']} "
    assert f"v2t-eval gate {words}" in gate and end == 'exit "$code"'
    assert comment.startswith("v2t-eval ci comment gate-report/ ")


@pytest.mark.slow
@pytest.mark.parametrize(("words", "near"), [(["ci", "githup"], "github"), (["suites", "gates"], "gate")])
def test_a_name_that_nothing_shipped_has(installed, tmp_path, words, near):
    ran = installed.run("v2t-eval", *words, cwd=tmp_path)
    assert ran.returncode == 2 and f"did you mean {near}?" in ran.stderr
