"""The page of the demo: right captions first, false words struck, the card's figure beside that of these few."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from cineloop.world.scenes.corpus import WorldConfig, manifest_row
from v2t_eval.core.sample import Sample
from v2t_eval.metrics.facts import Metric

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


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
    return tmp_path


def test_right_captions_come_first_and_the_sentence_has_the_card_figure(demo, monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import demo_page

    rows, cards, sentence = demo_page.captions(demo)
    assert [":" in facts for _, _, facts in rows] == [False, False, True]
    assert [bool(card.title.parts) for card in cards] == [False, False, True]
    assert any(line.startswith("✗") for line in cards[-1].lines) and cards[-1].lines[0].startswith("Truth: ")
    joint = json.loads(demo_page.FIGURES.read_text("utf-8"))["unseen"]["facts/joint"]
    assert sentence.startswith("2 of 3 captions right in every fact; ")
    assert f"{joint['n']:,}" in sentence and f"{joint['value']:.2f}" in sentence
    sys.modules.pop("demo_page")
