"""The demo: right things first, in 80 columns; false words struck; a planted fault that a gate fails."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from cineloop.errors import UsageError
from cineloop.video.decode import Request, decode
from cineloop.video.encode import encode
from cineloop.video.sample import SampleSpec
from cineloop.world.scenes.corpus import WorldConfig, manifest_row
from v2t_eval.cli import overview
from v2t_eval.core.sample import Sample
from v2t_eval.demo import page, work
from v2t_eval.gate.verdict import MetricVerdict, Verdict
from v2t_eval.metrics.facts import Metric
from v2t_eval.suites.suite import read_suite


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    """The demo's files of three clips; the first caption is that of another clip."""
    config = WorldConfig(num=3, seed=31, split="seen")
    rows = [manifest_row(config, number) | {"path": f"{number}.mp4"} for number in range(3)]
    texts = [rows[number]["captions"]["short"][0] for number in (1, 1, 2)]
    metric = Metric()
    metric.update(
        Sample(id=row["id"], caption=text, row={"facts": row["facts"]}) for row, text in zip(rows, texts, strict=True)
    )
    captions = [{"id": row["id"], "caption": text} for row, text in zip(rows, texts, strict=True)]
    files = {"clips/manifest.jsonl": rows, "captions/captions.jsonl": captions}
    for name, lines in files.items():
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "score").mkdir()
    result = asdict(metric.compute()) | {"value_range": None}
    (tmp_path / "score/scores.json").write_text(json.dumps({"results": [result]}))
    prompts = work.SHOWN[:2]
    made = [{"id": f"{n:02}", "prompt": prompt, "path": f"clips/{n}.mp4"} for n, prompt in enumerate(prompts)]
    answers = [{"question": "What is in the clip?", "answer": "a dog", "wanted": "a heart", "right": False}]
    items = [{"id": "00", "questions": answers}, {"id": "01", "questions": [answers[0] | {"right": True}]}]
    for name in ("made", "scores"):
        (tmp_path / name).mkdir()
    (tmp_path / "made/manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in made))
    judged = {"results": [{"name": "question_score", "items": items}]}
    (tmp_path / "scores/scores.json").write_text(json.dumps(judged))
    return tmp_path


def verdict(outcome: str, change: float) -> Verdict:
    measured = MetricVerdict(
        metric="question_score", role="primary", outcome=outcome, change=change, low=change - 0.1, high=change + 0.1,
        margin=0.3,
    )  # fmt: skip
    return Verdict(outcome=outcome, reason="as planted", metrics=(measured,))


def done(again: str = "pass") -> work.DemoRun:
    verdicts = {"again": verdict(again, 0.0), "broken": verdict("fail", -0.6)}
    return work.DemoRun(seconds={"captions": 3.0, "made": 4.0}, verdicts=verdicts)


def test_right_captions_come_first_and_the_sentence_has_the_card_figure(demo):
    rows, cards, sentence = page.captions(demo)
    assert [":" in facts for _, _, facts in rows] == [False, False, True]
    assert [bool(card.title.parts) for card in cards] == [False, False, True]
    assert any(line.startswith("✗") for line in cards[-1].lines) and cards[-1].lines[0].startswith("Truth: ")
    joint = json.loads(page.FIGURES.read_text("utf-8"))["unseen"]["facts/joint"]
    assert sentence.startswith("2 of 3 captions right in every fact; ")
    assert f"{joint['n']:,}" in sentence and f"{joint['value']:.2f}" in sentence


def test_the_screen_shows_first_what_is_right_in_80_columns(demo, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    seen = page.outcome(demo, done())
    marks = [row.right for row in seen.rows]
    assert marks == sorted(marks, reverse=True) and marks.count(True) == 5 and marks.count(False) == 2
    page.show(seen, page.write_page(demo, seen))
    table, _, rest = capsys.readouterr().out.partition("clips watched")
    assert max(map(len, table.splitlines())) <= 80 and "8 clips" not in rest
    after = [line for line in rest.splitlines() if not line.startswith("Look:")]  # a path may be of any length
    assert max(map(len, after)) <= 80 and any("--model" in line for line in after)
    assert table.index("planted fault") < table.index("(truth: ")
    text = (demo / "index.html").read_text("utf-8")
    assert "Gated" in text and "Watched" in text and "planted fault (freeze)" in text


def test_a_gate_that_errs_is_shown_as_wrong(demo):
    seen = page.outcome(demo, done(again="inconclusive"))
    (wrong,) = [row for row in seen.rows if row.what == "gate" and not row.right]
    assert wrong.says == "inconclusive, should pass"


def test_the_planted_fault_stands_still(tmp_path):
    clips = tmp_path / "again" / "clips"
    clips.mkdir(parents=True)
    (tmp_path / "again/manifest.jsonl").write_text("{}\n")
    moving = np.linspace(0, 255, 20).astype(np.uint8)[:, None, None, None] * np.ones((20, 32, 32, 3), np.uint8)
    encode(moving, clips / "a.mp4", 8)
    work._freeze(tmp_path / "again", tmp_path / "broken")
    frozen = decode(tmp_path / "broken/clips/a.mp4", Request(spec=SampleSpec.every_frame())).pixels
    assert len(frozen) == 20 and np.ptp(frozen.astype(int), axis=0).max() <= 3
    assert (tmp_path / "broken/manifest.jsonl").is_file()


def test_the_gate_of_the_demo_is_read_and_its_prompts_hold_the_margin():
    rules = read_suite(work.SUITE).rules
    assert [rule.metric for rule in rules.primary] == ["question_score"]
    assert rules.primary[0].margin > 3 / work.NUM_PROMPTS  # below it no pass is possible at all


def test_a_clip_at_least_is_watched(tmp_path):
    with pytest.raises(UsageError, match="at least 1 clip"):
        work.work(tmp_path, num=0)


@pytest.mark.long
def test_the_demo_passes_the_generator_and_fails_the_fault(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert overview(["demo", "--num", "2", "--json", "-q"]) == 0
    shown = json.loads(capsys.readouterr().out)
    gates = {row["text"]: row["says"] for row in shown["rows"] if row["what"] == "gate"}
    assert list(gates.values()) == ["pass, as it should", "fail, as it should"], gates
    assert Path(shown["page"]).read_text("utf-8").count("<video") > 10
