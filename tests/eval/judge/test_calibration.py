"""Calibration: planted slopes and offsets come back, blind kinds say nothing, files fit their judge or are refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

from cineloop.errors import UsageError
from v2t_eval.judge import calibration
from v2t_eval.judge.calibration import Calibration, Platt, fit, kind_of, log_odds
from v2t_eval.judge.grammar.wording import plain_claim, plain_question
from v2t_eval.judge.question import Question


def claims(slope: float, offset: float, num: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Log-odds of a judge, and truths drawn as `slope` and `offset` say."""
    draw = np.random.default_rng(seed)
    x = draw.normal(0, 3, num)  # (n,)
    return x, draw.random(num) < 1 / (1 + np.exp(-(slope * x + offset)))


def raws(x: np.ndarray) -> list[float]:
    return (1 / (1 + np.exp(-x))).tolist()


def calibration_error(chances: list[float], truths: np.ndarray) -> float:
    """Expected calibration error (Naeini et al. 2015) over ten bins."""
    p = np.array(chances)
    bins = np.minimum((p * 10).astype(int), 9)
    return sum(abs(float((p[bins == b] - truths[bins == b]).sum())) for b in range(10)) / len(p)


def test_planted_slope_and_offset_come_back():
    x, y = claims(0.5, -1.5, 4000)
    found = fit(["place"] * 4000, raws(x), y.tolist(), judge="j@1")
    for kind in ("all", "place"):
        assert found.maps[kind].slope == pytest.approx(0.5, abs=0.05)
        assert found.maps[kind].offset == pytest.approx(-1.5, abs=0.15)
        assert found.maps[kind].count == 4000
    chances = [found.maps["place"].chance(raw) for raw in raws(x)]
    assert calibration_error(chances, y) < 0.02 < calibration_error(raws(x), y)
    assert np.mean(chances) == pytest.approx(y.mean(), abs=0.01), "a chance leans neither way"


def test_the_fit_is_that_of_newtons_method():
    """Slopes and offsets of the same claims by Newton's steps, which the shipped calibration was fitted with."""
    rng = np.random.default_rng(3)
    kinds = [("color", "motion", "yes_no color")[number] for number in rng.integers(0, 3, 400)]
    chances = rng.random(400)
    truths = rng.random(400) < 0.2 + 0.6 * chances**2
    maps = fit(kinds, chances.tolist(), truths.tolist(), judge="j").maps
    known = {"all": (0.4833261274, -0.3728322425, 271), "color": (0.5584418015, -0.5730261822, 135),
             "motion": (0.4032566735, -0.1686371923, 136), "yes_no all": (0.5237172958, -0.2796300027, 129),
             "yes_no color": (0.5217305760, -0.2800146113, 129)}  # fmt: skip
    assert {kind: (one.slope, one.offset, one.count) for kind, one in maps.items()} == {
        kind: pytest.approx(values, abs=1e-6) for kind, values in known.items()
    }


def test_a_slope_that_newtons_steps_would_have_overshot_is_found():
    """Claims far apart around a shallow map: a first step below zero is no proof that there is no information."""
    rng = np.random.default_rng(1)
    x = 5 * rng.normal(size=300)
    y = rng.random(300) < 1 / (1 + np.exp(2 - 0.4 * x))
    assert fit(["all"] * 300, raws(x), y.tolist(), judge="j").maps["all"].slope > 0.3


def test_yes_and_no_have_maps_of_their_own_and_small_kinds_stay_near_all():
    x, y = claims(1.0, 0.0, 1000)
    a, b = claims(1.0, 3.0, 1000, seed=1)
    kinds = ["color"] * 995 + ["size"] * 5 + ["yes_no color"] * 997 + ["yes_no size"] * 3
    found = fit(kinds, raws(np.r_[x, a]), [*y.tolist(), *b.tolist()], judge="j@1")
    assert set(found.maps) == {"all", "color", "size", "yes_no all", "yes_no color", "yes_no size"}
    assert found.maps["yes_no all"].offset > 2 > 0.5 > abs(found.maps["all"].offset)
    for form in ("", "yes_no "):
        assert abs(found.maps[f"{form}size"].offset - found.maps[f"{form}all"].offset) < 1.2
    closed, claim = plain_question("color", "red"), plain_claim("color", "red")
    assert (kind_of(closed), kind_of(claim)) == ("color", "yes_no color")
    assert found.chance(closed, 0.5) == pytest.approx(found.maps["color"].chance(0.5))
    other = Question(id="x", question="Is it raining?")
    assert found.chance(other, 0.5) == pytest.approx(found.maps["yes_no all"].chance(0.5))
    no = Question(id="x", question="Is it raining?", answer="no")
    assert found.chance(no, 0.3) + found.chance(other, 0.7) == pytest.approx(1)


def test_a_blind_or_turned_judge_gets_no_slope_and_a_perfect_one_a_finite_one():
    x, y = claims(-2.0, 0.0, 400)
    turned = fit(["motion"] * 400, raws(x), y.tolist(), judge="j@1").maps["motion"]
    assert turned.slope == 0 and 0.3 < turned.chance(0.999) < 0.7
    sure = fit(["kind"] * 40, [0.999] * 20 + [0.001] * 20, [True] * 20 + [False] * 20, judge="j@1").maps["kind"]
    assert 0.3 < sure.slope < 10 and sure.chance(0.999) > 0.95 and sure.chance(0.001) < 0.05
    assert log_odds(0.0) == pytest.approx(-log_odds(1.0)) and Platt().chance(0.3) == pytest.approx(0.3)
    with pytest.raises(UsageError, match="as many kinds"):
        fit([], [], [], judge="j@1")


def test_a_file_gives_back_what_was_saved_or_says_why_not(tmp_path):
    made = Calibration(judge="j@abc", maps={"all": Platt(slope=0.3, offset=-1.0, count=9)}, clips=4, note="seen")
    made.save(tmp_path)
    path = tmp_path / calibration.FILE_NAME
    assert calibration.load(path) == made and calibration.load(path).key == made.key
    assert made.fits("other-folder@abc") and not made.fits("j@abd") and not made.fits("j@unknown")
    told = json.loads(path.read_text())
    for change, message in (
        ({"wordings": "x"}, "other wordings"),
        ({"schema": 1}, "schema 1"),
        ({"maps": {"all": {"slope": "steep"}}}, "not a calibration"),
        ({"maps": {"all": {"slope": float("nan"), "offset": 0.0, "count": 1}}}, "not a JSON number"),
    ):
        path.write_text(json.dumps(told | change))
        with pytest.raises(UsageError, match=message):
            calibration.load(path)
    with pytest.raises(UsageError, match="not a calibration"):
        calibration.load(tmp_path / "none.json")


def test_the_one_beside_the_weights_is_taken_when_it_fits(tmp_path, caplog):
    from cineloop.video.sample import SampleSpec
    from v2t.backends import VideoLM
    from v2t_eval.judge.judge import Judge

    class Folder(VideoLM):
        name, revision, spec, frame_size, concurrency, folder = "m", "1", SampleSpec(), None, 1, tmp_path

        def load(self) -> None:
            """Nothing to load."""

    assert Judge(Folder()).calibration is None
    made = Calibration(judge="trained@1", maps={"all": Platt(slope=2.0)})
    made.save(tmp_path)
    judge = Judge(Folder())
    assert judge.calibration == made and judge.fingerprint()["calibration"] == made.key
    Calibration(judge="trained@2", maps={}).save(tmp_path)
    assert Judge(Folder()).calibration is None, "other weights"
    (tmp_path / calibration.FILE_NAME).write_text("{")
    assert Judge(Folder()).calibration is None


def test_it_is_no_part_of_the_captioners_revision(tmp_path):
    from v2t.backends.local import revision_of

    (tmp_path / "model.safetensors").write_bytes(b"weights")
    before = revision_of(tmp_path)
    Calibration(judge="m@1", maps={}).save(tmp_path)
    assert revision_of(tmp_path) == before
    (tmp_path / "config.json").write_text("{}")
    assert revision_of(tmp_path) != before


def test_the_starter_comes_with_a_calibration_of_its_own_weights_and_of_these_wordings():
    from cineloop.world.language.plain_questions import PLAIN
    from v2t.backends.local import Backend
    from v2t_eval.judge.judge import Judge

    found = Judge(Backend("starter")).calibration
    assert found is not None, "v2t-eval calibrate starter -o judge.json, then move it to v2t/starter"
    assert {"all", "yes_no all", *PLAIN} <= set(found.maps)
