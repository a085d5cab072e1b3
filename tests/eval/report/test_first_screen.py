"""The first screen of a scoring: the result in words, then the worst clip by it; captions beside their truth."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cineloop.video.encode import encode
from cineloop.world.language.wrong_words import wrong_words
from cineloop.world.scenes.corpus import WorldConfig, manifest_row
from v2t_eval.cli import main
from v2t_eval.core.metric import Figure, MetricResult
from v2t_eval.core.scores import ItemScores, Scores, read_scores
from v2t_eval.report import markdown, terminal
from v2t_eval.report.document import Card, Document, Section, StruckText
from v2t_eval.report.page import render
from v2t_eval.report.scoring import document

NUM = 3


@pytest.fixture
def captioned(tmp_path: Path) -> tuple[Path, Path, str]:
    """Captions and truth of clips of the cartoon world that are there; the first caption has a wrong colour, which is
    given back too."""
    import numpy as np

    config = WorldConfig(num=400, seed=5, split="seen")
    rows = [manifest_row(config, number) for number in range(400)]
    # one figure, so that its colour stands once in the caption
    rows = [row for row in rows if len(row["facts"]["actors"]) == 1 and row["facts"]["actors"][0]["color"] == "red"]
    rows = [{**row, "path": f"{row['id']}.mp4"} for row in rows if " red " in row["captions"]["short"][0]][:NUM]
    captions = [
        {"id": row["id"], "status": "ok", "style": "short",
         "caption": row["captions"]["short"][0].replace(" red ", " blue " if number == 0 else " red ")}
        for number, row in enumerate(rows)
    ]  # fmt: skip
    (tmp_path / "world").mkdir()
    for row in rows:
        encode(np.full((8, 32, 32, 3), 90, np.uint8), tmp_path / "world" / row["path"], fps=8)
    for name, lines in (("world/manifest.jsonl", rows), ("captions.jsonl", captions)):
        (tmp_path / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path / "captions.jsonl", tmp_path / "world/manifest.jsonl", rows[0]["id"]


@pytest.mark.slow
def test_captions_are_shown_beside_their_truth(captioned, tmp_path, capsys) -> None:
    captions, truth, wrong = captioned
    out = tmp_path / "out"
    assert main(["score", "--captions", str(captions), "--truth", str(truth), "-o", str(out), "-q"]) == 0
    first, *rest = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{NUM - 1} of {NUM} right in every fact: ")
    said = "\n".join(rest)
    assert f"1 of {NUM} clips have a fact wrong" in said and "~~blue~~" in said and "✗ color (wrong)" in said
    page = (out / "report.html").read_text("utf-8")
    assert "<s>blue</s>" in page and page.count("<video") == 1 and f"world/{wrong}.mp4" in page
    assert "Truth: " in page and "✓ actor" in page and "(place 1;" not in page
    assert '<div class="banner plain-tone"' in page
    assert read_scores(out / "scores.json").by_id[wrong].path == f"{wrong}.mp4"
    assert "~~blue~~" in (out / "report.md").read_text("utf-8")


def _result(name: str, clips: list[ItemScores]) -> MetricResult:
    values = [0.4 + 0.1 * number for number in range(len(clips))]
    items = [{"id": clip.id, "value": value} for clip, value in zip(clips, values, strict=True)]
    figure = Figure(value=0.55, low=0.4, high=0.7, n=len(clips))
    figures = {"mean": figure, "other": figure}
    return MetricResult(
        name=name, headline="mean", figures=figures, n=len(clips), coverage=1.0, fingerprint={}, items=items,
        value_range=(0.0, 1.0),
    )  # fmt: skip


def _scores() -> Scores:
    clips = [ItemScores(id=f"c{i}", cluster=f"p{i}", prompt=f"prompt {i}") for i in range(4)]
    names = ("sharpness", "temporal_flickering", "clipsim", "dynamic_degree", "question_score", "bleu")
    results = [_result(name, clips) for name in names]
    asked = {"question": "Which way?", "answer": "left", "wanted": "right", "right": False}
    for number, item in enumerate(results[4].items):
        item |= {"value": 0.5 if number == 2 else 1.0, "questions": [asked] if number == 2 else []}
    return Scores(sources={}, clips=clips, results=results)


def test_the_first_screen_has_three_figures_and_the_clip_that_does_not_do_as_asked() -> None:
    made = document(_scores())
    first, second = made.sections[:2]
    assert [row[3] for row in first.tables[0].rows] == ["question_score", "dynamic_degree", "temporal_flickering"]
    assert [card.title for card in second.cards][0] == "c2"
    shown, every = terminal.render(made), terminal.render(made, whole=True)
    assert "bleu" not in shown.replace("dynamic_degree", "") and "--all" in shown
    assert all(name in every for name in ("bleu", "clipsim", "sharpness")) and "--all" not in every
    assert len(shown.splitlines()) < 20 < len(every.splitlines())


def test_metrics_that_were_named_make_the_headline() -> None:
    scores = _scores()
    scores.results[:] = [one for one in scores.results if one.name in ("sharpness", "bleu")]
    shown = document(scores)
    assert shown.banner.word.startswith("sharpness 0.") and "bleu 0." in shown.banner.word
    assert "Metrics" in terminal.render(shown), "few metrics are all shown"


# --- words that are wrong


def test_only_false_words_are_struck() -> None:
    config = WorldConfig(num=60, seed=31, split="seen")
    rows = [manifest_row(config, index) for index in range(60)]
    assert not any(wrong_words(row["captions"]["short"][0], row["facts"]) for row in rows)
    found = 0
    for row in rows:
        facts, text = row["facts"], row["captions"]["short"][0]
        color = facts["actors"][0]["color"]
        if len(facts["actors"]) > 1 or text.split().count(color) != 1 or any(e["to_color"] for e in facts["events"]):
            continue
        false = text.replace(f" {color} ", " pink " if color != "pink" else " red ")
        if false != text:
            (span,) = wrong_words(false, facts)
            assert false[slice(*span)] in ("pink", "red")
            found += 1
    assert found > 5


def test_struck_text_is_escaped_in_its_place(tmp_path) -> None:
    text = "a <b>red</b> dog"
    line = StruckText(text, ((5, 8),))
    made = Document(title="t", sections=(Section(title="s", cards=(Card(title=line, lines=(line, "plain")),)),))
    page = render(made, tmp_path).decode()
    assert page.count("a &lt;b&gt;<s>red</s>&lt;/b&gt; dog") == 2
    assert "a &lt;b&gt;~~red~~&lt;/b&gt; dog" in markdown.render(made).replace("&#8203;", "")
    assert "a <b>~~red~~</b> dog" in terminal.render(made)
