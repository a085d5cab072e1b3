"""Clips under prompts of another world than the judge's, through every command that asks a judge: none is right."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cineloop.errors import NothingMatchedError
from cineloop.manifest import write_manifest
from cineloop.video.encode import encode
from cineloop.world.scenes.render import render
from cineloop.world.scenes.solo import FPS, sample_solo
from foreign_prompts import FOREIGN
from scripted_captioner import FirstLikely
from v2t.backends import Output
from v2t_eval.cli import main
from v2t_eval.core import models
from v2t_eval.core.score import ScoreConfig
from v2t_eval.judge import judge as judges
from v2t_eval.learn.rewards import Reward
from v2t_eval.learn.settings import RewardPart
from v2t_eval.mine.claims import examine
from v2t_eval.mine.settings import MineConfig
from v2t_eval.roundtrip.run import run as roundtrip
from v2t_eval.roundtrip.settings import RoundtripConfig
from v2t_eval.testing.clips import ClipEvaluator

KNOWN = "A red dog rolls to the left on the beach."
SUITE = """name: foreign
metrics: [question_score, sharpness]
gate:
  primary:
    - {metric: question_score, margin: 0.1}
    - {metric: sharpness, margin: 0.25}
"""


class Affirms(FirstLikely):
    """A captioner of the world's words that finds the first of any answers likeliest, and captions alike."""

    name = "affirms"

    def answer(self, conversations, decoding):
        return [Output(text=KNOWN, tokens=9) for _ in conversations]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Ten clips of the world under foreign prompts, and one under a prompt in its words."""
    folder, rows = tmp_path_factory.mktemp("made"), []
    for number, prompt in enumerate((*FOREIGN, KNOWN)):
        times = [n / FPS for n in range(9)]
        encode(render(sample_solo("seen", 77, number), (64, 64), times_s=times), folder / f"c{number}.mp4", fps=FPS)
        rows.append({"id": f"c{number:02d}", "path": f"c{number}.mp4", "prompt": prompt, "seed": number})
    write_manifest(rows, folder / "manifest.jsonl")
    captions = [{"id": r["id"], "path": r["path"], "status": "ok", "caption": r["prompt"]} for r in rows]
    (folder / "captions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in captions))
    (folder / "gate.yaml").write_text(SUITE)
    return folder


@pytest.fixture(params=["stand-in", pytest.param("starter", marks=pytest.mark.slow)])
def judge(request, monkeypatch):
    """The judge called v2t: a stand-in that affirms all it is asked, or the starter."""
    if request.param == "stand-in":
        models.release()
        request.addfinalizer(models.release)  # no other test may be given this one
        monkeypatch.setattr(judges, "open_backend", lambda name, device: Affirms())
    return request.param


CONFIG = ScoreConfig(workers=1)


@pytest.mark.slow
def test_score_gives_no_value_and_says_why_once(made, judge, tmp_path, capsys):
    code = main(["score", str(made), "--metrics", "question_score,vqascore", "-o", str(tmp_path / "s"),
                 "--workers", "1"])  # fmt: skip
    said = capsys.readouterr().out
    assert code == 0, "an abstention is no failure"
    assert said.count("not scored: 10 UNAUDITED") == 1 and "does not know 'giraffe', 'plays', 'piano'" in said
    scores = json.loads((tmp_path / "s" / "scores.json").read_text())
    for result in scores["results"]:
        assert result["coverage"] == pytest.approx(1 / 11)
        assert result["counts"]["outside"] == 10 and len(result["items"]) == 1
        assert {failure["code"] for failure in result["failures"]} == {"UNAUDITED"}


@pytest.mark.slow
def test_a_gate_of_such_prompts_does_not_pass_even_against_itself(made, judge, tmp_path, capsys):
    suite, base = str(made / "gate.yaml"), str(tmp_path / "base.json")
    main(["gate", "init", str(made), "--suite", suite, "-o", base, "--workers", "1"])
    assert "10 of 11 clips" in "".join(capsys.readouterr())
    code = main(["gate", str(made), "--suite", suite, "--baseline", base, "-o", str(tmp_path / "g"), "--workers", "1"])
    said = capsys.readouterr().out
    assert code == 6 and "10 of 11 clips" in said and "cannot be asked (UNAUDITED)" in said


@pytest.mark.slow
def test_select_keeps_none_of_them(made, judge, tmp_path, capsys):
    code = main(["select", str(made), "--workers", "1", "--json", "-o", str(tmp_path / "best")])
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert code == 3 and [one["id"] for one in found["clips"] if one["kept"]] == ["c10"]
    assert sum("does not know" in line for line in said.err.splitlines()) == len(FOREIGN)


@pytest.mark.slow
def test_learn_rewards_none_of_them(made, judge, tmp_path):
    folder = tmp_path / "drawn"
    folder.mkdir()
    rows = [json.loads(line) for line in (made / "manifest.jsonl").read_text().splitlines()]
    for row in rows:
        (folder / row["path"]).write_bytes((made / row["path"]).read_bytes())
    write_manifest(rows, folder / "manifest.jsonl")
    reward = Reward([RewardPart(metric="question_score", key="chance")])
    assert reward.write(folder, CONFIG, stop=lambda: False) == {"UNAUDITED": 10, "ok": 1}
    written = [json.loads(line) for line in (folder / "rewards.jsonl").read_text().splitlines()]
    assert [row["reward"] is None for row in written] == [True] * 10 + [False]
    write_manifest(rows[:10], folder / "manifest.jsonl")
    with pytest.raises(NothingMatchedError, match="has a reward: 10 UNAUDITED") as error:
        reward.write(folder, CONFIG, stop=lambda: False)
    assert "does not know" in error.value.hint


@pytest.mark.slow
def test_mine_has_no_claims_of_such_captions(made, judge):
    asked = MineConfig(encoder="none")
    found = examine(made, [made / "captions.jsonl"], None, asked, CONFIG)
    assert [one.code for one in found.captions] == ["UNAUDITED"] * 10 + [""]
    assert [bool(one.claims) for one in found.captions] == [False] * 10 + [True]


@pytest.mark.slow
def test_the_round_trip_counts_them_neither_right_nor_wrong(made, judge, tmp_path):
    config = RoundtripConfig(clips=made, sentence="none", ceiling=False, judge="v2t")
    found = roundtrip(config, tmp_path / "trip", captioner=Affirms())
    (line,) = [note for note in found.notes if note.startswith("UNAUDITED")]
    assert "10 of 11 prompts" in line and "does not know" in line
    assert all(one.scored <= 1 for one in found.families if one.name == "clip_judge")
    none = roundtrip(RoundtripConfig(clips=_first(made, tmp_path), sentence="none", ceiling=False),
                     tmp_path / "none", captioner=Affirms())  # fmt: skip
    assert none.sources["questions answered from the clip by"] == "none"
    assert any("3 of 3 prompts" in note for note in none.notes), "the judge is left out, and the report says so"


def _first(made: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "three"
    folder.mkdir()
    rows = [json.loads(line) for line in (made / "manifest.jsonl").read_text().splitlines()][:3]
    for row in rows:
        (folder / row["path"]).write_bytes((made / row["path"]).read_bytes())
    write_manifest(rows, folder / "manifest.jsonl")
    return folder


@pytest.mark.slow
def test_pytest_calls_them_outside(made, judge):
    evaluator = ClipEvaluator()
    try:
        for number, prompt in enumerate(FOREIGN):
            verdict = evaluator.verdict(made / f"c{number}.mp4", prompt=prompt)
            assert verdict.outcome == "outside" and "does not know" in verdict.outside
    finally:
        evaluator.close()


def test_mine_says_which_words_it_does_not_know_where_nothing_else_is_left(made, judge, tmp_path, capsys):
    captions = (made / "captions.jsonl").read_text().splitlines()[:10]
    (tmp_path / "c.jsonl").write_text("\n".join(captions) + "\n")
    code = main(["mine", str(made), "--captions", str(tmp_path / "c.jsonl"), "--encoder", "none", "-o",
                 str(tmp_path / "m"), "--workers", "1"])  # fmt: skip
    said = capsys.readouterr().err
    assert code == 4 and "10 not judged: UNAUDITED" in said and "does not know 'giraffe'" in said
