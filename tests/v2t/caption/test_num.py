"""Several captions of a clip: the first as without, the others drawn, each once; in the record, in formats, in a
resumed run."""

from __future__ import annotations

import csv
import json

import pytest

from caption_stand_ins import TextCaptioner, rows_of
from cineloop.errors import UsageError
from clip_files import clips_in
from v2t.backends import Output
from v2t.caption import run as caption
from v2t.caption.settings import CaptionConfig


class Drawing(TextCaptioner):
    """Answers name temperature and seed; the draw of seed 2 repeats the first caption."""

    def answer(self, conversations, decoding):
        words = (
            "greedy" if not decoding.temperature or decoding.seed == 2 else f"{decoding.temperature} {decoding.seed}"
        )
        self.batches.append(len(conversations))
        return [Output(text=words, tokens=2) for _ in conversations]


@pytest.fixture(autouse=True)
def decoding_here(monkeypatch):
    from caption_stand_ins import TextPool

    monkeypatch.setattr("v2t.caption.job.DecoderPool", TextPool)


def go(source, out, captioner, **settings):
    config = CaptionConfig(format=("txt", "jsonl", "csv", "html"), **settings)
    return caption.run([str(source)], out, config, captioner=captioner)


@pytest.fixture
def clips(tmp_path):
    return clips_in(tmp_path / "clips", a="a", b="b")


def test_further_captions_are_drawn_and_kept(clips, tmp_path):
    captioner = Drawing()
    go(clips, tmp_path / "out", captioner, num=4)
    row = rows_of(tmp_path / "out")["a.mp4"]
    assert row["caption"] == "greedy" and row["captions"] == ["greedy", "0.8 1", "0.8 3"]
    assert row["tokens"] == 8 and sum(captioner.batches) == 8
    assert (tmp_path / "out" / "a.txt").read_text() == "greedy\n"
    with open(tmp_path / "out" / "captions.csv", newline="") as file:
        assert json.loads(next(csv.DictReader(file))["captions"]) == row["captions"]
    assert "0.8 3" in (tmp_path / "out" / "index.html").read_text()
    again = Drawing()
    assert go(clips, tmp_path / "out", again, num=4).done_before == 2 and again.batches == []
    with pytest.raises(UsageError) as refused:
        go(clips, tmp_path / "out", again)
    assert refused.value.code == "OTHER_SETTINGS" and "num" in refused.value.message


def test_a_draw_that_fails_is_a_warning(clips, tmp_path):
    class Failing(Drawing):
        def answer(self, conversations, decoding):
            if decoding.temperature:
                raise RuntimeError("no draw")
            return super().answer(conversations, decoding)

    go(clips, tmp_path / "out", Failing(), num=2)
    row = rows_of(tmp_path / "out")["a.mp4"]
    assert row["captions"] == ["greedy"] and [warning["code"] for warning in row["warnings"]] == ["DRAW_FAILED"]


def test_num_goes_with_whole_clips():
    with pytest.raises(UsageError):
        CaptionConfig(num=2, parts="segment:5")
