"""The round trip by its command, from prompts to report: six prompts of the cartoon world, drawn exactly, captioned and
judged by the starter."""

from __future__ import annotations

import json
import re

import pytest

from t2v.generators import world
from v2t.backends import local
from v2t_eval.cli import main

pytestmark = pytest.mark.slow  # every test wants the whole trip: seven seconds of computing


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """Six prompts of the cartoon world, drawn exactly, captioned and judged by the starter; by the command."""
    out = tmp_path_factory.mktemp("real") / "trip"
    command = ["roundtrip", "--world", "6", "--generator", "world", "-o", str(out), "-q"]
    return out, command, main(command)


@pytest.mark.long
def test_every_stage_leaves_its_folder(real):
    out, _, code = real
    assert code == 0
    for name in (
        "made/manifest.jsonl",
        "captions/captions.jsonl",
        "ceiling/made/manifest.jsonl",
        "ceiling/captions/captions.jsonl",
        "roundtrip.json",
        "report.md",
        "report.html",
    ):
        assert (out / name).is_file(), name


def test_the_captioner_is_shown_names_and_nothing_else(real):
    out, _, _ = real
    for place in (out, out / "ceiling"):
        rows = [json.loads(line) for line in (place / "shown.jsonl").read_text().splitlines()]
        assert [sorted(row) for row in rows] == [["id", "path"]] * 6
        assert all(re.fullmatch(r"made/clips/[0-9a-f]{12}\.mp4", row["path"]) for row in rows)


def test_the_result_of_the_exact_world_is_its_own_ceiling(real):
    found = json.loads((real[0] / "roundtrip.json").read_text())
    assert found["schema"] == 1
    figures = {one["name"]: one["figures"] for one in found["families"]}
    assert set(figures) >= {"facts", "facts_f1", "questions", "events", "sentence", "cider", "clip_judge",
                            "clip_referee"}  # fmt: skip
    for name in ("facts", "questions", "sentence"):
        told = figures[name]
        assert told["floor"]["value"] < told["generator"]["value"]
        assert told["corrected"]["low"] <= 1 <= told["corrected"]["high"], name
        assert told["auroc"]["value"] > 0.8
    assert figures["clip_referee"]["generator"]["value"] > 0.9  # what is drawn is read back
    told = {(one["who"], one["side"]) for one in found["cells"]}
    assert told == {(who, side) for who in ("judge", "referee") for side in ("generator", "ceiling")}
    assert len(found["clips"]) == 6
    assert all((real[0] / row["path"]).is_file() and (real[0] / row["ceiling"]).is_file() for row in found["clips"])
    assert "--world 6" not in found["command"]  # pytest called, not the command


def test_the_report_says_it_in_words(real):
    text = (real[0] / "report.md").read_text()
    for said in (
        "Between floor and ceiling",
        "Error attribution",
        "The clips are drawn by a program",
        "95 % intervals",
    ):
        assert said in text
    page = (real[0] / "report.html").read_text()
    assert "Error attribution" in page
    assert "<video" in page


def test_the_same_command_does_nothing_twice(real, monkeypatch, capsys):
    out, command, _ = real

    def again(*args, **kwargs):
        raise AssertionError("made already")

    monkeypatch.setattr(world.Generator, "generate", again)
    monkeypatch.setattr(local.Backend, "answer", again)
    monkeypatch.setattr(local.Backend, "encode_clip", again)
    before = json.loads((out / "roundtrip.json").read_text())
    assert main([*command, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["clips"] == 6
    after = json.loads((out / "roundtrip.json").read_text())
    assert {**after, "environment": 0, "command": 0} == {**before, "environment": 0, "command": 0}


def test_other_settings_are_refused_by_the_stage(real, capsys):
    out, command, _ = real
    assert main([*command, "--style", "short"]) == 2
    assert "OTHER_SETTINGS" in capsys.readouterr().err


def test_a_dry_run_says_what_is_there(real, tmp_path, capsys):
    out, command, _ = real
    assert main([*command, "--dry-run"]) == 0
    assert [line.split("\t")[0] for line in capsys.readouterr().out.splitlines()] == ["keep"] * 6
    assert main(["roundtrip", "A red ball rolls.", "-o", str(tmp_path / "none"), "--dry-run"]) == 0
    assert capsys.readouterr().out.startswith("make\t")
    assert not (tmp_path / "none").exists()
