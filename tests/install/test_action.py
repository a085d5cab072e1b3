"""The action and GitLab's job, run step by step as a runner does it, from the wheel in a fresh folder, against
stand-ins for the forges."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from action_runner import Runner
from forge_server import TOKEN, ForgeServer
from v2t_eval.forges.comment import marker_of

pytest_plugins = ["installed_wheel"]

ROOT = Path(__file__).resolve().parents[2]
PROMPTS = "A red ball rolls to the left on the beach.\nA blue car drives to the right in the city.\n"
SUITE = """
name: small
metrics: [sharpness, temporal_flickering]
gate:
  primary:
    - {metric: temporal_flickering, at_least: 0.5}
"""


@pytest.fixture
def server(request):
    made = ForgeServer(getattr(request, "param", "github"))
    yield made
    made.shutdown()
    made.server_close()


def action() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "action.yml").read_text("utf-8"))


@pytest.fixture(scope="module")
def venv(tmp_path_factory) -> Path:
    """An environment with pip and without cineloop, where what the wheel needs is there already."""
    folder = tmp_path_factory.mktemp("runner") / "venv"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    site = next((folder / "lib").glob("python*/site-packages"))
    (site / "packages-of-the-tests.pth").write_text("\n".join(p for p in sys.path if p.endswith("site-packages")))
    return folder


def environment(venv: Path, server: ForgeServer, folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYTEST", "GITHUB_"))}
    # The job's own variables: the token reaches a step only where the action gives it.
    job = {name: value for name, value in server.environ(folder).items() if name != "GITHUB_TOKEN"}
    # pip takes the wheel alone, from disk: its requirements are there.
    pip = {"PIP_NO_DEPS": "1", "PIP_NO_INDEX": "1", "PIP_FORCE_REINSTALL": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    return kept | job | pip | {"PATH": f"{venv / 'bin'}{os.pathsep}{kept['PATH']}", "VIRTUAL_ENV": str(venv)}


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_action_runs_from_the_wheel_and_updates_its_one_comment(wheel, venv, server, tmp_path):
    work = tmp_path / "work"
    work.mkdir()
    (work / "prompts.txt").write_text(PROMPTS)
    (work / "suite.yaml").write_text(SUITE)
    for n in range(130):
        server.add(f"comment {n}")
    server.add(f"{marker_of('gate')}\nof another bot")
    base = {"clips": "clips", "suite": "suite.yaml", "cineloop": str(wheel), "cache": ".gate-cache",
            "args": "--workers 1 --device 'cpu'"}  # fmt: skip
    env = environment(venv, server, tmp_path)

    def run(**inputs: str) -> tuple[int, Runner]:
        runner = Runner(folder=tmp_path, work=work, env=dict(env), inputs=base | inputs)
        code = runner.run(action())
        for name, _, text in runner.log:
            assert TOKEN not in text, name
        return code, runner

    # The first step alone, since the clips are made by what it installs.
    installer = Runner(folder=tmp_path, work=work, env=dict(env), inputs=dict(base))
    assert installer.shell(action()["runs"]["steps"][0] | {"env": {"CINELOOP": str(wheel)}}, "install") == 0, (
        installer.log
    )
    made = subprocess.run(["t2v", "generate", "--prompts", "prompts.txt", "-o", "clips", "--generator", "world"],
                          cwd=work, env=env, capture_output=True, text=True, check=False)  # fmt: skip
    assert made.returncode == 0, made.stderr
    where = subprocess.run(["python", "-c", "import v2t_eval; print(v2t_eval.__path__[0])"], cwd=work, env=env,
                           capture_output=True, text=True, check=True)  # fmt: skip
    assert Path(where.stdout.strip()).is_relative_to(venv), "the wheel's own package runs"

    code, first = run()
    assert code == 0, first.log
    assert first.outputs["gate"] == {"exit-code": "0", "verdict": "pass"}
    assert first.outputs["comment"]["action"] == "created"
    assert server.count("POST") == 1 and server.count("PATCH") == 0
    (upload,) = first.uploads
    assert upload == {"name": "gate-report", "path": "gate-report", "if-no-files-found": "warn"}
    assert {path.name for path in (work / "gate-report").iterdir()} >= {"verdict.json", "gate.html", "junit.xml"}
    assert "Gate: PASS" in (tmp_path / "comment.summary").read_text() and not (tmp_path / "gate.summary").exists()

    # A stricter bound, which these clips do not keep: the gate fails, and the comment says so.
    (work / "suite.yaml").write_text(SUITE.replace("at_least: 0.5", "at_most: 0.1"))
    code, second = run()
    assert code == 6 and second.outputs["gate"] == {"exit-code": "6", "verdict": "fail"}
    assert second.outputs["comment"] == {"action": "updated", "url": first.outputs["comment"]["url"]}
    (ours,) = server.ours(marker_of("gate"))
    assert "Gate: FAIL" in ours["body"] and "artifacts/9" in ours["body"] and "runs/77" in ours["body"]
    assert server.count("POST") == 1 and server.count("PATCH") == 1 and len(server.comments) == 132

    # Margins without a baseline are too early to say: fails or passes as the input asks.
    (work / "suite.yaml").write_text(SUITE.replace("at_least: 0.5", "margin: 0.05"))
    for asked, ends in (("fail", 8), ("pass", 0)):
        code, third = run(inconclusive=asked)
        assert (code, third.outputs["gate"]["verdict"]) == (ends, "inconclusive"), third.log

    # No permission: the report is in the summary, which says why, and the verdict's exit code stands.
    server.answers.append((r"PATCH ", (403, {}, "Resource not accessible by integration")))
    code, fourth = run(inconclusive="pass")
    assert code == 0 and fourth.outputs["comment"] == {"action": "none", "url": ""}
    assert "FORGE_FORBIDDEN" in (tmp_path / "comment.summary").read_text()

    # A gate that cannot run leaves no verdict of before in the comment.
    code, fifth = run(suite="missing.yaml")
    assert code == 2 and fifth.outputs["gate"]["verdict"] == "error"
    (ours,) = server.ours(marker_of("gate"))
    assert "no verdict" in ours["body"] and "exit code 2" in ours["body"]
    code, sixth = run(comment="false", inconclusive="pass")
    assert code == 0 and "comment" not in sixth.outputs and (tmp_path / "gate.summary").exists()
    assert server.count("POST") == 1 and server.count("PATCH") == 5
    verdict = json.loads((work / "gate-report/verdict.json").read_text())
    assert verdict["outcome"] == "inconclusive"
    print(json.dumps({"comments": len(server.ours(marker_of("gate"))), "posts": 1, "patches": server.count("PATCH")}))


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("server", ["gitlab"], indirect=True)
def test_the_job_of_gitlab_runs_from_the_wheel_and_updates_its_one_note(wheel, venv, server, tmp_path):
    (tmp_path / "gate").mkdir()
    (tmp_path / "gate/prompts.txt").write_text(PROMPTS)
    (tmp_path / "gate/requirements.txt").write_text(f"cineloop[eval] @ {wheel.as_uri()}\n")
    env = environment(venv, server, tmp_path)
    env["PATH"] = f"{venv / 'bin'}{os.pathsep}{env['PATH']}"
    job = yaml.safe_load((ROOT / "eval/workflows/gitlab.yml").read_text("utf-8"))["gate"]
    script = "\n".join(job["script"]).replace("--num-videos 2", "--num-videos 1 --generator world --overwrite")

    def run(rule: str) -> tuple[int, str]:
        (tmp_path / "gate/suite.yaml").write_text(SUITE.replace("at_least: 0.5", rule))
        ran = subprocess.run(["bash", "-eo", "pipefail", "-c", script], cwd=tmp_path, env=env, capture_output=True,
                             text=True, check=False)  # fmt: skip
        assert TOKEN not in ran.stdout + ran.stderr
        return ran.returncode, ran.stdout + ran.stderr

    for n in range(130):
        server.add(f"note {n}")
    code, said = run("at_least: 0.5")
    # The job names a baseline, which is made once on the main branch.
    assert code == 2 and "baseline.json" in said
    (ours,) = server.ours(marker_of("gate"))
    assert "no verdict" in ours["body"]
    words = "v2t-eval gate init clips --suite gate/suite.yaml -o gate/baseline.json".split()
    made = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)  # fmt: skip
    assert made.returncode == 0, made.stderr
    code, said = run("at_least: 0.5")
    assert code == 0, said
    code, said = run("at_most: 0.1")
    assert code == 6 and "updated the comment on merge request !5 of project 7" in said, said
    (ours,) = server.ours(marker_of("gate"))
    assert "Gate: FAIL" in ours["body"] and len(server.comments) == 131
    assert server.count("POST") == 1 and server.count("PUT") == 2
