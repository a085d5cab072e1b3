"""A caption that breaks its dialect is asked for once more, in one conversation, and the better one is kept."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from cineloop.errors import ItemError
from refusals import refusal
from two_answers import BlackPool, TwoAnswers
from v2t.caption import job
from v2t.caption import run as caption
from v2t.caption.settings import CaptionConfig
from v2t.caption.wording import Wording

TABLES = Path(__file__).parents[1] / "styles" / "dialects"
WAN = yaml.safe_load((TABLES / "wan.yaml").read_text("utf-8"))["good"]
H3 = yaml.safe_load((TABLES / "h3.yaml").read_text("utf-8"))["good"]
SHORT = "A cat runs."


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(job, "DecoderPool", BlackPool)
    (tmp_path / "clips").mkdir()
    for name in ("a", "b"):
        (tmp_path / f"clips/{name}.mp4").write_text(name)
    return tmp_path / "clips"


def go(folder: Path, model: TwoAnswers, out: str = "out", **settings):
    rows: list[dict] = []
    config = CaptionConfig(format=("txt",), **settings)
    summary = caption.run([str(folder)], folder.parent / out, config, captioner=model, emit=rows.append)
    return summary, rows


def codes(row: dict) -> list[str]:
    return [warning["code"] for warning in row["warnings"]]


def test_a_second_answer_that_is_better_is_kept_and_the_record_says_so(folder):
    model = TwoAnswers(SHORT, WAN[0])
    _, rows = go(folder, model, style="wan")
    assert [row["caption"] for row in rows] == [WAN[0]] * 2 and [codes(row) for row in rows] == [["ASKED_AGAIN"]] * 2
    message = rows[0]["warnings"][0]["message"]
    assert "DIALECT_SHORT" in message and "DIALECT_CAMERA" in message
    assert rows[0]["tokens"] == 3 + len(WAN[0].split())
    assert [len(conversation) for conversation in model.asked] == [1, 1, 3, 3]
    prompt, answer, request = model.asked[2]
    assert len(prompt.videos) == 1 and (answer.role, answer.text) == ("assistant", SHORT)
    assert "3 words, the guide wants 60 to 200" in request.text and not request.videos
    assert (folder.parent / "out/a.txt").read_text() == WAN[0] + "\n"


def test_a_caption_that_obeys_is_not_asked_for_again(folder):
    model = TwoAnswers("Sure! Here is the caption:\n" + WAN[1], "never")
    _, rows = go(folder, model, style="wan")
    assert [row["caption"] for row in rows] == [WAN[1]] * 2 and len(model.asked) == 2 and codes(rows[0]) == []


def test_of_two_that_are_equally_bad_the_first_is_kept(folder):
    _, rows = go(folder, TwoAnswers(SHORT, "A dog sleeps."), style="wan")
    assert rows[0]["caption"] == SHORT
    assert codes(rows[0]) == ["ASKED_AGAIN", "DIALECT_CAMERA", "DIALECT_LIGHT", "DIALECT_SHORT"]


@pytest.mark.parametrize("second", ["", ItemError("too long", code="PROMPT_TOO_LONG")])
def test_a_second_request_that_fails_costs_nothing(folder, second):
    summary, rows = go(folder, TwoAnswers(SHORT, second), style="wan")
    assert rows[0]["status"] == "ok" and rows[0]["caption"] == SHORT and rows[0]["tokens"] == 3
    assert codes(rows[0])[0] == "ASKED_AGAIN" and summary.exit_code == 0


def test_advice_alone_asks_again_only_where_it_is_wanted(folder):
    for number, (how, count) in enumerate((("advice", 4), ("error", 2), ("never", 2))):
        model = TwoAnswers(SHORT, WAN[0])
        go(folder, model, f"out{number}", style="wan", ask_again=how)
        assert len(model.asked) == count, how
    model = TwoAnswers("integrated_multimodal_description: A cat.", H3[0])
    _, rows = go(folder, model, "out3", style="h3", ask_again="error")
    assert rows[0]["caption"] == H3[0] and rows[0]["fields"]["overall_soundscape"] == "N/A"


def test_the_clip_ends_before_a_cut_in_its_caption(folder):
    _, rows = go(folder, TwoAnswers(H3[10], H3[1]), style="h3")  # four seconds; cuts up to 7.9 s, and one at 3.2 s
    assert rows[0]["caption"] == H3[1] and codes(rows[0]) == ["ASKED_AGAIN"]
    assert "DIALECT_TIMES" in rows[0]["warnings"][0]["message"]


def test_what_is_written_is_checked_with_its_trigger_and_read_by_the_encoder_that_is_named(folder):
    _, rows = go(folder, TwoAnswers(H3[0], "never"), style="h3", wording=Wording(trigger="mystyle, "))
    assert rows[0]["caption"].startswith("mystyle, integrated") and codes(rows[0]) == ["DIALECT_FIELDS"]
    _, rows = go(folder, TwoAnswers(WAN[0], WAN[0]), "clip", style="wan", wording=Wording(encoder="clip"))
    assert (
        codes(rows[0]) == ["ASKED_AGAIN", "LONG_FOR_ENCODER"] and "clip reads 77" in rows[0]["warnings"][1]["message"]
    )


def test_a_prompt_of_ones_own_has_no_dialect_and_the_dialect_is_a_setting(folder):
    model = TwoAnswers(SHORT, WAN[0])
    _, rows = go(folder, model, style="wan", prompt="Say what you see.")
    assert rows[0]["caption"] == SHORT and rows[0]["warnings"] == []
    go(folder, TwoAnswers(WAN[0], ""), "out2", style="wan")
    assert go(folder, TwoAnswers("", ""), "out2", style="wan")[0].done_before == 2
    error = refusal(go, folder, TwoAnswers("", ""), "out2", style="wan", ask_again="never")
    assert error.code == "OTHER_SETTINGS" and "ask_again: " in error.message
