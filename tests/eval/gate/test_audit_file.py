"""The audit that a suite names: shipped or beside the suite's file, missing or damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from planted_scores import SUITE, scores, write_scores
from v2t_eval.audit.record import read_audit
from v2t_eval.cli import main
from v2t_eval.gate.sides import gate_verdict
from v2t_eval.suites.suite import read_suite

NONE = "what the metrics cannot see is not shown"


@pytest.fixture
def suite(tmp_path):
    """`suite(audit)`: a suite file that names this audit."""

    def write(audit: str) -> str:
        (tmp_path / "suite.yaml").write_text(f"{SUITE.rstrip()}\n  audit: {audit}\n")
        return str(tmp_path / "suite.yaml")

    return write


def test_the_shipped_audit_is_found_by_name_and_one_of_yours_beside_the_suite(suite, tmp_path):
    policy = read_suite(Path(suite("starter"))).policy
    assert policy is not None and policy.audit is not None and read_audit(policy.audit).judge
    policy = read_suite(Path(suite("mine/audit.json"))).policy
    assert policy is not None and policy.audit == tmp_path / "mine/audit.json"
    assert read_suite(Path("gate")).policy.audit.is_file()


@pytest.mark.slow
def test_a_missing_audit_is_a_note_beside_the_verdict(suite, tmp_path, capsys):
    place, rules = str(write_scores(tmp_path / "made", scores())), suite("gone.json")
    baseline = str(tmp_path / "baseline.json")
    assert main(["gate", "init", place, "--suite", rules, "-o", baseline]) == 0
    assert "there is no audit" in capsys.readouterr().err
    assert main(["gate", place, "--suite", rules, "--baseline", baseline]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "gone.json" in told and NONE in told
    assert gate_verdict(Path(place), Path(rules), Path(baseline)).outcome == "pass"


def test_a_damaged_audit_is_refused_when_the_baseline_is_made(suite, tmp_path, capsys):
    (tmp_path / "bad.json").write_text("{}")
    place = str(write_scores(tmp_path / "made", scores()))
    assert main(["gate", "init", place, "--suite", suite("bad.json"), "-o", str(tmp_path / "baseline.json")]) == 2
    assert "bad.json" in capsys.readouterr().err and not (tmp_path / "baseline.json").exists()
