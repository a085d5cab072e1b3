"""Captions that exist, of four kinds of places, against a dialect."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from cineloop.errors import NothingMatchedError
from refusals import refusal_code
from two_answers import BlackPool, TwoAnswers
from v2t.caption import job
from v2t.caption import run as caption
from v2t.caption.check import check
from v2t.caption.settings import CaptionConfig
from v2t.caption.wording import Wording
from v2t.cli import main

TABLES = Path(__file__).parents[1] / "styles" / "dialects"
WAN = yaml.safe_load((TABLES / "wan.yaml").read_text("utf-8"))["good"]
H3 = yaml.safe_load((TABLES / "h3.yaml").read_text("utf-8"))["good"]


def test_a_folder_of_texts(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden/no.txt").write_text("A")
    (tmp_path / "good.txt").write_text(WAN[0] + "\n", encoding="utf-8")
    (tmp_path / "deep/bad.txt").write_text("Here is the caption: " + WAN[1])
    (tmp_path / "empty.txt").write_bytes(b"")
    (tmp_path / "gone.txt").symlink_to("nowhere.txt")
    (tmp_path / "short.txt").write_text("A cat.")
    result = check(tmp_path, "wan")
    verdicts = {each.id: [o.code for o in each.objections] for each in result.captions}
    assert verdicts["good.txt"] == [] and verdicts["deep/bad.txt"] == ["DIALECT_PREFACE"]
    assert verdicts["empty.txt"] == verdicts["gone.txt"] == ["BAD_CAPTION"] and len(verdicts) == 5
    assert "DIALECT_SHORT" in verdicts["short.txt"] and (result.num_failed, result.exit_code) == (3, 3)
    assert "UMT5" in result.counted and 100 < next(each.tokens for each in result.captions if each.passes) < 200
    table = result.lines()
    assert table[0].startswith("wan: 5 captions, 3 with errors, 1 more with advice")
    assert table[1].split() == ["BAD_CAPTION", "error", "2"]


def test_rows_of_a_run_of_a_manifest_and_of_prompts(tmp_path):
    rows = [
        {"id": "a.mp4", "caption": H3[10], "duration_s": 9.0, "status": "ok"},
        {"id": "b.mp4", "caption": H3[10], "duration_s": 5.0, "status": "ok"},
        {"id": "c.mp4", "caption": None, "status": "failed"},
        {"id": "r.mp4", "caption": "A cat.", "status": "ok", "review": "rejected"},
        {"path": "d.mp4", "captions": {"long": H3[0], "short": "A cat."}},
        {"prompt": H3[1]},
        {"caption": 5},
        {"url": "x"},
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    result = check(tmp_path / "rows.jsonl", "h3")
    verdicts = {each.id: [o.code for o in each.objections] for each in result.captions}
    assert verdicts == {
        "a.mp4": [],
        "b.mp4": ["DIALECT_TIMES"],
        "d.mp4 (1)": [],
        "d.mp4 (2)": ["DIALECT_FIELDS"],
        "line 6": [],
        "line 7": ["BAD_CAPTION"],
        "line 8": ["BAD_CAPTION"],
    }
    assert result.skipped == 2 and result.counted == "" and result.captions[0].tokens is None
    (tmp_path / "rows.jsonl").write_text('{"caption": "A"}\nnonsense\n')
    assert refusal_code(check, tmp_path / "rows.jsonl", "wan") == (2, "CAPTIONS")


def test_an_output_folder_of_a_run_with_an_edit_of_a_person(tmp_path, monkeypatch):
    monkeypatch.setattr(job, "DecoderPool", BlackPool)
    (tmp_path / "clips").mkdir()
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / "clips" / name).write_text(name)
    model = TwoAnswers("A cat runs.", "never")
    caption.run([str(tmp_path / "clips")], tmp_path / "out", CaptionConfig(format=("txt",)), captioner=model)
    (tmp_path / "out/b.txt").write_text("The video shows a cat.")
    result = check(tmp_path / "out", "cogvideox", Wording(encoder="clip"))
    verdicts = {each.id: {o.code for o in each.objections} for each in result.captions}
    assert verdicts == {"a.mp4": {"DIALECT_SHORT"}, "b.mp4": {"DIALECT_SHORT", "DIALECT_OPENING"}}
    assert "CLIP" in result.counted


def test_the_command_prints_a_table_or_one_object(tmp_path, capsys):
    (tmp_path / "a.txt").write_text(WAN[2], encoding="utf-8")
    assert main(["check-captions", str(tmp_path), "--style", "wan"]) == 0
    assert capsys.readouterr().out.startswith("wan: 1 caption, 0 with errors")
    (tmp_path / "b.txt").write_text("# A cat")
    assert main(["check-captions", str(tmp_path), "--style", "wan", "--json"]) == 3
    shown = json.loads(capsys.readouterr().out)
    assert (shown["num_captions"], shown["num_failed"], shown["codes"]["DIALECT_MARKUP"]) == (2, 1, 1)
    assert shown["captions"][1]["objections"][0]["level"] == "error" and shown["captions"][0]["ok"]
    assert main(["check-captions", str(tmp_path / "a.txt"), "--style", "wan"]) == 0


def test_a_place_of_another_kind(tmp_path):
    (tmp_path / "clip.mp4").write_bytes(b"x")
    assert refusal_code(check, tmp_path / "clip.mp4", "wan") == (2, "CAPTIONS")
    (tmp_path / "empty").mkdir()
    with pytest.raises(NothingMatchedError):
        check(tmp_path / "empty", "wan")
