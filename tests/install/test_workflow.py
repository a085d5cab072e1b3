"""The published recipe for pull requests, followed to the letter from an installed wheel in a fresh repository."""

from __future__ import annotations

import re

import pytest
import yaml

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


@pytest.mark.slow
@pytest.mark.timeout(1200)  # ten commands, each a process that loads its models
def test_the_workflow_is_set_up_and_judges_a_pull_request(installed, tmp_path):
    def shell(script: str, **env: str):
        ran = installed.run("bash", "-e", "-c", small(script), cwd=tmp_path, env=env)
        return ran.returncode, ran.stdout + ran.stderr

    (tmp_path / ".github/workflows").mkdir(parents=True)
    (tmp_path / "gate").mkdir()
    (tmp_path / "gate/prompts.txt").write_text(PROMPTS)
    code, said = shell("v2t-eval ci github > .github/workflows/gate.yml")
    assert code == 0, said
    text = (tmp_path / ".github/workflows/gate.yml").read_text("utf-8")
    commands = told_in_the_head(text)
    assert [line.split()[1] for line in commands] == ["ci", "suites", "generate", "gate", "gate"], commands
    for line in commands:
        code, said = shell(line)
        assert code == 0, f"{line}: {said}"
        assert "no audit" not in said
    steps = {step.get("name", ""): step for step in yaml.safe_load(text)["jobs"]["gate"]["steps"]}
    (generate,) = [step["run"] for name, step in steps.items() if name.startswith("Generate")]
    code, said = shell(generate)
    assert code == 0 and (tmp_path / "clips/manifest.jsonl").is_file(), said
    code, said = shell(
        steps["Judge"]["run"], GITHUB_OUTPUT="output", GITHUB_ACTIONS="true", GITHUB_STEP_SUMMARY="summary"
    )
    assert code == 0 and (tmp_path / "output").read_text() == "code=0\n", said
    for name in ("gate-report/gate.html", "gate-report/verdict.json", "gate-junit.xml", "summary"):
        assert (tmp_path / name).stat().st_size, name
    assert "reverse" in (tmp_path / "gate-report/gate.md").read_text("utf-8"), "the audit's blind spots are shown"
    code, said = shell(steps["Verdict"]["run"], CODE="0", INCONCLUSIVE="fail")
    assert code == 0 and "passes" in said


@pytest.mark.slow
def test_the_gitlab_job_runs_the_same_commands(installed, tmp_path):
    ran = installed.run("v2t-eval", "ci", "gitlab", cwd=tmp_path)
    job = yaml.safe_load(ran.stdout)["gate"]
    github = installed.run("v2t-eval", "ci", "github", cwd=tmp_path).stdout
    for line in job["script"]:
        assert line in github, line


@pytest.mark.parametrize(("words", "near"), [(["ci", "githup"], "github"), (["suites", "gates"], "gate")])
def test_a_name_that_nothing_shipped_has(installed, tmp_path, words, near):
    ran = installed.run("v2t-eval", *words, cwd=tmp_path)
    assert ran.returncode == 2 and f"did you mean {near}?" in ran.stderr
