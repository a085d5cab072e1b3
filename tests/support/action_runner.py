"""A runner of composite actions, as far as ours need one: inputs, environment, conditions, outputs, a shell a step."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from forge_server import TOKEN

_EXPRESSION = re.compile(r"\$\{\{\s*(.*?)\s*\}\}")


@dataclass
class Runner:
    """One job of one action. `outputs`: by step; `log`: name, exit code, text of each step; `uploads`: of artefacts."""

    folder: Path  # of its own files; `work` is where steps run
    work: Path
    env: dict[str, str]
    inputs: dict[str, str]
    outputs: dict[str, dict[str, str]] = field(default_factory=dict)
    log: list[tuple[str, int, str]] = field(default_factory=list)
    uploads: list[dict[str, str]] = field(default_factory=list)

    def run(self, action: dict[str, Any]) -> int:
        """Every step; the exit code of the first that failed."""
        for name, given in action["inputs"].items():
            self.inputs.setdefault(name, self.value(str(given.get("default", ""))))
        failed = 0
        for number, step in enumerate(action["runs"]["steps"]):
            if not self.holds(step.get("if", "success()"), failed):
                continue
            key = step.get("id", f"step-{number}")
            if "uses" in step:
                self.uploads.append({name: self.value(value) for name, value in step["with"].items()})
                self.outputs[key] = {"artifact-url": "https://github.test/o/r/actions/runs/77/artifacts/9"}
                continue
            code = self.shell(step, key)
            failed = failed or code
        return failed

    def shell(self, step: dict[str, Any], key: str) -> int:
        assert step["shell"] == "bash"
        output, summary = self.folder / f"{key}.output", self.folder / f"{key}.summary"
        env = {name: self.value(value) for name, value in step.get("env", {}).items()}
        files = {"GITHUB_OUTPUT": str(output), "GITHUB_STEP_SUMMARY": str(summary)}
        ran = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]], cwd=self.work,
            env={**self.env, **files, **env}, capture_output=True, text=True, check=False, timeout=280,
        )  # fmt: skip
        self.log.append((step["name"], ran.returncode, ran.stdout + ran.stderr))
        lines = output.read_text().splitlines() if output.exists() else []
        self.outputs[key] = dict(line.split("=", 1) for line in lines)
        output.unlink(missing_ok=True)
        return ran.returncode

    def holds(self, condition: str, failed: int) -> bool:
        parts = [part.strip() for part in condition.split("&&")]
        if "always()" not in parts and failed:
            return False
        return all(self.compared(part) for part in parts if part not in ("always()", "success()"))

    def compared(self, text: str) -> bool:
        left, sign, right = re.fullmatch(r"(\S+) (==|!=) '(.*)'", text).groups()
        return (self.looked_up(left) == right) is (sign == "==")

    def value(self, text: str) -> str:
        return _EXPRESSION.sub(lambda match: self.looked_up(match[1]), text)

    def looked_up(self, name: str) -> str:
        parts = name.split(".")
        if parts[0] == "inputs":
            return self.inputs[parts[1]]
        if parts[0] == "steps":
            return self.outputs.get(parts[1], {}).get(parts[3], "")
        assert name == "github.token", name
        return TOKEN

    def said(self, name: str) -> str:
        return "\n".join(text for step, _, text in self.log if step == name)
