"""`v2t-eval engine` and `engine calibrate` from the command line: files, exit codes, refusals before a scoring."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine_runs import SUITE, brighter, write_run
from v2t_eval.cli import main

pytestmark = pytest.mark.slow


def test_from_runs_to_a_verdict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [str(write_run(tmp_path / f"run{seed}", seed)) for seed in range(4)]
    bad = str(write_run(tmp_path / "bad", 9, brighter))
    (tmp_path / "suite.yaml").write_text(SUITE)
    shared = ["--suite", str(tmp_path / "suite.yaml"), "--cache", str(tmp_path / "cache"), "--workers", "1", "-q"]
    margins = str(tmp_path / "margins.json")

    assert main(["engine", "calibrate", *runs[:2], "-o", margins, *shared]) == 2  # one run beside the first
    assert main(["engine", "calibrate", *runs[:3], "-o", margins, "--dry-run", *shared]) == 0
    assert not Path(margins).exists()
    assert main(["engine", "calibrate", *runs[:3], "-o", margins, "--json", *shared]) == 0
    rules = json.loads(capsys.readouterr().out.splitlines()[-1])["rules"]
    assert all(rule["margin"] > rule["accepted"] > 0 for rule in rules)
    assert main(["engine", "calibrate", *runs[:3], "-o", margins, *shared]) == 2  # it is there

    out = tmp_path / "engine"
    assert main(["engine", runs[0], runs[3], "--margins", margins, "-o", str(out), *shared]) == 0
    assert {"verdict.json", "gate.md", "gate.html", "junit.xml", "scores.json"} <= {path.name for path in out.iterdir()}
    assert f"v2t-eval engine {runs[0]} {runs[3]}" in (out / "gate.md").read_text()
    capsys.readouterr()
    assert main(["engine", runs[0], bad, "--margins", margins, "--json", *shared]) == 6
    assert json.loads(capsys.readouterr().out)["outcome"] == "fail"
