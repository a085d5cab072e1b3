"""Every script and benchmark says what it does and what it takes, and does nothing until it is asked."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS, BENCHMARKS = ROOT / "scripts", ROOT / "benchmarks"
# Beside them lie modules that they share.
STARTED = [path for path in SCRIPTS.glob("*.py") if '__name__ == "__main__"' in path.read_text("utf-8")]


@pytest.mark.parametrize("script", sorted([*STARTED, *BENCHMARKS.glob("bench_*.py")]), ids=lambda path: path.name)
def test_help_of_a_script(script, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [str(script), "--help"])
    monkeypatch.setattr(sys, "path", [str(script.parent), *sys.path])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(script), run_name="__main__")
    said = capsys.readouterr().out
    assert not end.value.code and said.startswith(f"usage: {script.name}"), said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "code", "says"),
    [(["--help"], 0, "--num N"), (["--nmu", "3"], 2, "--nmu"), (["--num", "three"], 2, "int"),
     (["--num", "0"], 2, "at least 1 clip")],
)  # fmt: skip
def test_the_demo_names_the_word_it_does_not_know(words, code, says):
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = os.environ | {"CINELOOP_NO_SETUP": "1", "PATH": path}
    ran = subprocess.run([SCRIPTS / "demo", *words], capture_output=True, text=True, check=False, timeout=60, env=env)
    assert ran.returncode == code, ran.stderr
    assert says in (ran.stdout if code == 0 else ran.stderr)
