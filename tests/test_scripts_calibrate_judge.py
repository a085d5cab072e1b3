"""The script that fits a judge's calibration, with a judge that sees nothing and says yes to everything."""

from __future__ import annotations

import importlib.util
import math
import sys
from pathlib import Path

from v2t.judge import calibration
from v2t.judge.plain_wording import plain_claim, plain_question
from v2t.video.sample import SampleSpec

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "calibrate_judge.py"


class SaysYes:
    """A captioner that finds yes nine times as likely as no, and all choices alike."""

    name, revision, spec, frame_size, concurrency = "says-yes", "1", SampleSpec(num_frames=4), None, 1

    def load(self) -> None:
        """Nothing to load."""

    def watch(self, frames):
        return frames

    def likelihoods(self, watched, question, answers, *, whole=False):
        return [math.log({"yes": 0.8, "Yes": 0.1, "no": 0.05, "No": 0.05}.get(answer, 0.1)) for answer in answers]


def test_a_judge_that_says_yes_to_everything_is_believed_in_nothing(tmp_path, monkeypatch, capsys):
    spec = importlib.util.spec_from_file_location("calibrate_judge", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "calibrate_judge", script)
    spec.loader.exec_module(script)
    monkeypatch.setattr(script, "open_captioner", lambda model: SaysYes())
    target = tmp_path / "judge.json"
    monkeypatch.setattr(sys, "argv", ["calibrate_judge.py", "x", "--num", "12", "-o", str(target)])
    assert script.main() == 0
    found = calibration.load(target)
    assert found.judge == "says-yes@1" and found.clips == 12
    assert {"all", "place", "motion", "yes_no all", "yes_no color"} <= set(found.maps)
    claim, raw = plain_claim("color", "red"), 0.9
    assert 0.25 < found.chance(claim, raw) < 0.75, "yes says nothing, so it is believed half the time"
    assert found.chance(plain_question("place", "room"), 1 / 8) > 0.25, "nor does the share of one of eight"
    table = capsys.readouterr().out
    assert "| yes_no all |" in table and "→" in table and str(target) in table
    monkeypatch.setattr(sys, "argv", ["calibrate_judge.py", "x", "--num", "1"])
    assert script.main() == 2 and "-o judge.json" in capsys.readouterr().err
