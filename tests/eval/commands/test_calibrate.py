"""`v2t-eval calibrate`, with a judge that sees nothing and says yes to everything; what it refuses to write."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

import v2t
from scripted_captioner import Scripted
from v2t import backends
from v2t_eval.cli import main
from v2t_eval.judge import calibration
from v2t_eval.judge.grammar.wording import plain_claim, plain_question

STARTER = Path(v2t.__path__[0]) / "starter"


class SaysYes(Scripted):
    """A captioner that finds yes nine times as likely as no, and all choices alike."""

    name, has_likelihoods = "says-yes", True

    def likelihoods(self, clip, question, answers, *, whole=False):
        return [math.log({"yes": 0.8, "Yes": 0.1, "no": 0.05, "No": 0.05}.get(answer, 0.1)) for answer in answers]


@pytest.fixture(autouse=True)
def judge(monkeypatch):
    monkeypatch.setattr(backends, "open_backend", lambda model: SaysYes())


@pytest.mark.slow
def test_a_judge_that_says_yes_to_everything_is_believed_in_nothing(tmp_path, capsys):
    target = tmp_path / "new" / "judge.json"
    assert main(["calibrate", "x", "--num", "12", "--few", "-o", str(target)]) == 0
    found = calibration.load(target)
    assert found.judge == "says-yes@1" and found.clips == 12
    assert {"all", "place", "motion", "yes_no all", "yes_no color"} <= set(found.maps)
    claim, raw = plain_claim("color", "red"), 0.9
    assert 0.25 < found.chance(claim, raw) < 0.75, "yes says nothing, so it is believed half the time"
    assert found.chance(plain_question("place", "room"), 1 / 8) > 0.25, "nor does the share of one of eight"
    table = capsys.readouterr().out
    assert "| yes_no all |" in table and "→" in table and str(target) in table
