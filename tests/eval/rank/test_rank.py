"""`v2t-eval rank` from folders and votes to files: by metrics, by a scripted judge of pairs, beside people."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from cineloop.manifest import write_manifest
from cineloop.video.encode import encode
from pair_reader import PairReader
from v2t_eval import cli
from v2t_eval.judge.judge import Judge
from v2t_eval.metrics import preference
from v2t_eval.rank.entrants import clip_pairs, read_entrants
from v2t_eval.rank.votes import read_votes

PROMPTS = [f"a red dog number {n}" for n in range(12)]
LEVELS = {"dull": 60, "fine": 110, "best": 180}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three generators; a clip's contrast is its quality, so that `sharpness` and a scripted judge see it."""
    root, rng = tmp_path_factory.mktemp("rank"), np.random.default_rng(0)
    noise = rng.random((4, 32, 32, 3))
    for name, level in LEVELS.items():
        (root / name).mkdir()
        rows = []
        for number, prompt in enumerate(PROMPTS):
            pixels = np.clip(128 + (noise - 0.5) * (level + 3 * number), 0, 255).astype(np.uint8)
            encode(pixels, root / name / f"{number}.mp4", 8)
            rows.append({"id": f"{name}{number}", "path": f"{number}.mp4", "prompt": prompt, "prompt_id": f"p{number}"})
        write_manifest(rows, root / name / "manifest.jsonl")
    return root


def run(*words: str | Path) -> int:
    return cli.main(["rank", *map(str, words), "--workers", "1", "-q"])


def all_of(root: Path) -> list[Path]:
    return [root / name for name in LEVELS]


def test_clips_are_paired_by_prompt(folders: Path) -> None:
    entrants = read_entrants(all_of(folders))
    pairs = list(clip_pairs(entrants))
    assert len(pairs) == 3 * len(PROMPTS)
    assert all(one.prompt == other.prompt == prompt for *_, prompt, one, other in pairs)
    assert entrants[0].clips_of("p3", "")[0].id == entrants[0].clips_of(PROMPTS[3], "dull3")[0].id == "dull/dull3"


@pytest.mark.slow
def test_a_metric_ranks_and_people_are_compared_with(folders: Path, tmp_path: Path) -> None:
    lines = ["prompt,left,right,winner,voter"]
    for number in range(len(PROMPTS)):
        for voter in ("v1", "v2"):
            lines.append(f"p{number},best,dull,left,{voter}")
            lines.append(f"p{number},dull,fine,{'right' if number % 3 else 'tie'},{voter}")
            lines.append(f"{PROMPTS[number]},fine,best,right,{voter}")
    lines += ["p0,best,stranger,left,v1", "p99,best,dull,left,v1", "p0,dull,dull,left,v1"]
    votes = tmp_path / "votes.csv"
    votes.write_text("\n".join(lines), encoding="utf-8")
    out = tmp_path / "out"
    assert run(*all_of(folders), "--votes", votes, "--by", "sharpness", "-o", out) == 3, "some votes do not count"
    tree = json.loads((out / "ranking.json").read_text())
    people, sharp = tree["rankings"]
    for one in (people, sharp):
        assert [row["name"] for row in one["generators"]] == ["best", "fine", "dull"] and one["best"] == "best"
    assert sharp["comparisons"] == 36 and people["comparisons"] == 72
    assert {each["code"] for each in tree["votes"]["problems"]} == {"UNKNOWN_GENERATOR", "UNKNOWN_CLIP", "SAME_SIDES"}
    assert [each["row"] for each in tree["votes"]["problems"]] == [73, 74, 75]
    (agreed,) = tree["agreement"]
    assert agreed["name"] == "sharpness" and agreed["votes"] == 72 and agreed["without_ties"]["value"] == 1.0
    assert tree["voters"]["same"]["value"] == 1.0 and tree["voters"]["pairs"] == 36
    page = (out / "index.html").read_text()
    assert "best is best" in page and "UNKNOWN_CLIP" in page and 'src="../' in page
    assert json.loads((out / "scores.json").read_text())["results"][0]["name"] == "sharpness"
    assert run(*all_of(folders), "--by", "sharpness", "-o", out) == 2, "nothing is replaced without --overwrite"


@pytest.mark.slow
def test_a_judge_of_pairs_goes_on_where_it_stopped(
    folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def says(first: float, second: float) -> str:
        return "A" if first > second else "B"

    captioner = PairReader(says)
    monkeypatch.setattr(preference, "open_judge", lambda name, device: Judge(captioner))
    words = (*all_of(folders), "--judge", "v2t:openai:http://x/v1", "--by", "none", "-o", tmp_path)
    assert run(*words) == 0
    tree = json.loads((tmp_path / "ranking.json").read_text())
    (judge,) = tree["rankings"]
    assert [row["name"] for row in judge["generators"]] == ["best", "fine", "dull"]
    assert tree["position_bias"]["contradictions"]["value"] == 0.0
    assert tree["position_bias"]["first_place"]["value"] == 0.5
    asked = len(captioner.heard)
    assert asked == 2 * 36, "both orders of every pair"
    assert run(*words, "--overwrite") == 0 and len(captioner.heard) == asked, "answers are kept"
    rows = read_votes(tmp_path / "comparisons.jsonl")
    assert len(rows.votes) == 36 and not rows.problems, "comparisons are votes of the same form"


def test_what_cannot_be_ranked_is_refused(folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 2 and "nothing to rank" in capsys.readouterr().err
    assert run(folders / "best") == 2 and "two generators or more" in capsys.readouterr().err
    assert run(folders / "best", folders / "best") == 2 and "two of the folders" in capsys.readouterr().err
    assert run(*all_of(folders), "--by", "motion") == 2 and "cannot compare" in capsys.readouterr().err
    assert run(*all_of(folders), "--by", "none", "--judge", "v2t") == 2
    assert "cannot be asked to compare two clips" in capsys.readouterr().err
    votes = tmp_path / "votes.csv"
    votes.write_text("prompt,left,right,winner\np1,x,y,left\n", encoding="utf-8")
    assert run(*all_of(folders), "--votes", votes, "--by", "none") == 4
    assert "no generator" in capsys.readouterr().err


def test_votes_alone_are_ranked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    votes = tmp_path / "votes.jsonl"
    rows = [{"prompt": f"p{n}", "model_a": "xy"[n % 2], "model_b": "yx"[n % 2], "winner": f"model_{'ab'[n % 2]}"}
            for n in range(30)]  # fmt: skip
    votes.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    assert cli.main(["rank", "--votes", str(votes), "--json"]) == 0
    tree = json.loads(capsys.readouterr().out)
    (people,) = tree["rankings"]
    assert people["best"] == "x" and people["generators"][0]["low"] > 0
    assert [note["code"] for note in people["notes"]] == ["NO_VOTERS"] and tree["agreement"] == []
    always_left = [{"prompt": f"p{n}", "left": "x", "right": "y", "winner": "left"} for n in range(30)]
    votes.write_text("\n".join(map(json.dumps, always_left)), encoding="utf-8")
    assert cli.main(["rank", "--votes", str(votes), "--json"]) == 0
    (people,) = json.loads(capsys.readouterr().out)["rankings"]
    assert people["best"] is None, "it may be the place that was preferred"
