"""The words of a report, each once: its one sentence, its first screen, its evidence, what is left out for room; other
tests of the room hold its structure and numbers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from v2t_eval.core.metric import Figure, MetricResult
from v2t_eval.core.scores import AbsentMetric, ItemScores, Scores
from v2t_eval.report import markdown, summary, terminal
from v2t_eval.report.document import Banner, Card, Document, Section, Table
from v2t_eval.report.evidence import answer_lines, evidence, fact_lines
from v2t_eval.report.scoring import document

CLIPS = [ItemScores(id=f"c{i}", cluster=f"p{i}", prompt=f"prompt {i}") for i in range(4)]
ASKED = {"question": "Which way?", "answer": "left", "wanted": "right", "right": False}


def result(name: str, values: tuple[float, ...] = (0.4, 0.5, 0.6, 0.7), **other: Any) -> MetricResult:
    items = [{"id": clip.id, "value": value} for clip, value in zip(CLIPS, values, strict=False)]
    figure = Figure(value=sum(values) / len(values), low=0.4, high=0.7, n=len(values))
    known = {"n": len(CLIPS), "coverage": len(values) / len(CLIPS), "fingerprint": {}, "value_range": (0.0, 1.0)}
    return MetricResult(name=name, headline="mean", figures={"mean": figure}, items=items, **{**known, **other})


def scoring(*results: MetricResult, failed: int = 0, skipped: tuple[AbsentMetric, ...] = ()) -> Scores:
    error = {"code": "TRUNCATED", "message": "the file ends early", "hint": "make it again"}
    clips = [replace(clip, status="failed", error=error) if i < failed else clip for i, clip in enumerate(CLIPS)]
    return Scores(sources={}, clips=clips, results=list(results), skipped=list(skipped))


BROKEN = AbsentMetric(metric="spice", reason="no models", hint="get them")
IDLE = AbsentMetric(metric="bleu", reason="no captions", code="NO_CAPTION")
PART = result("cider", (0.4,))
VERDICTS = [
    (scoring(result("sharpness")), "Every metric that ran scored every sample."),
    (scoring(skipped=(IDLE,)), "Every metric that ran scored every sample; 1 metric found nothing to measure."),
    (
        scoring(PART, failed=1, skipped=(BROKEN, IDLE)),
        "1 metric could not run; 1 of 4 clips failed; 1 metric did not score every sample (least: cider, 25.0 %); 1 "
        "metric found nothing to measure.",
    ),
]


@pytest.mark.parametrize(("scores", "words"), VERDICTS)
def test_the_sentence_of_a_scoring(scores, words):
    assert summary.verdict(scores) == words


FIRST_SCREEN = """\
does as asked 0.88, moves 0.55, does not flicker 0.55: 4 clips, 6 metrics. 1 metric could not run; 1
metric did not score every sample (least: cider, 25.0 %); 1 metric found nothing to measure.

First of all
                    Value [95 %]       Clips  Metric
  does as asked     0.88 [0.40, 0.70]  4      question_score
  moves             0.55 [0.40, 0.70]  4      dynamic_degree
  does not flicker  0.55 [0.40, 0.70]  4      temporal_flickering

1 of 4 clips do not do as asked, first of all:
c2
Prompt: prompt 2
✗ Which way? left (asked for: right)

6 metrics in all: --all prints them, report.html in -o shows them

Metrics that could not run
  Metric  Why        What to do
  spice   no models  get them

not scored: 1 NO_CAPTION (give --captions, as `v2t caption` writes them); cider"""


def test_the_first_screen_of_a_scoring():
    names = ("sharpness", "temporal_flickering", "dynamic_degree", "bleu")
    asked = result("question_score", (1.0, 1.0, 0.5, 1.0))
    asked.items[2]["questions"] = [ASKED]
    failed = [{"id": "c3", "code": "NO_CAPTION", "message": "c3 has no caption"}]
    scores = scoring(asked, *map(result, names), replace(PART, failures=failed), skipped=(BROKEN, IDLE))
    assert terminal.render(document(scores)) == FIRST_SCREEN


def test_the_words_of_evidence():
    assert answer_lines([ASKED, ASKED | {"right": None, "answer": "?"}, ASKED | {"right": True}]) == [
        "✗ Which way? left (asked for: right)",
        "– Which way? ? (asked for: right)",
        "✓ Which way? left",
    ]
    facts = {"actor": [1, 0, 0], "color": [0, 1, 0], "place": [2, 0, 1]}
    assert fact_lines({"facts": facts, "made_up": 2}) == [
        "✗ color (missed)  ✗ place (1 wrong)  ✗ 2 made up",
        "✓ actor",
    ]
    failed = [{"id": "c1", "code": "NO_CAPTION", "message": "c1 has no caption"}]
    scores = scoring(replace(PART, failures=failed))
    assert evidence(scores, scores.by_id)["c1"] == ["cider: not scored, NO_CAPTION: c1 has no caption"]


def test_the_words_of_what_is_left_out():
    cards = Section(title="Clips", cards=tuple(Card(title=f"c{i}", lines=("x",)) for i in range(40)))
    rows = Section(title="Rows", tables=(Table(columns=("a",), rows=(("row",),) * 300),), folded=True)
    banner = Banner(word="NO", sentence="why", tone="bad")
    made = Document(title="T", banner=banner, sections=(cards, rows), data="d.json")
    lines = markdown.render(made, max_bytes=500).splitlines()
    assert [line for line in lines if " more" in line] == [
        "24 clips more: left out here, all are in d.json.",
        "284 rows more: left out here, all are in d.json.",
    ]
    long = Section(title="s", text=("word " * 99,) * 99)
    for data, words in (("", ""), ("d.json", "; the rest is in d.json")):
        text = markdown.render(Document(title="T", sections=(long,), data=data), max_bytes=2_000)
        assert text.splitlines()[-1] == f"Cut here: too long for this place{words}."
