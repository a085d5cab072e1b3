"""The command on clips of the world with planted captions, by the starter's judge and dual encoder."""

from __future__ import annotations

import json
import random

import pytest

from cineloop.manifest import read_manifest, write_manifest
from cineloop.world.language.words import caption
from cineloop.world.scenes.corpus import write_world
from v2t.data.near_miss import change_one
from v2t.data.preferences import read_pairs
from v2t_eval.cli import main

SWAPPED = ("train-3-000000.mp4", "train-3-000001.mp4")  # each has the caption of the other


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Eight clips; in captions a.jsonl all true but those of SWAPPED, in b.jsonl each wrong in its colour."""
    folder = tmp_path_factory.mktemp("world")
    write_world(8, 3, "train", (64, 64), 8, out=folder / "clips")
    rows = list(read_manifest(folder / "clips/manifest.jsonl"))
    true = {row["id"]: caption(row["facts"], "short", random.Random(row["id"])) for row in rows}
    changed = {row["id"]: change_one(row["facts"], "color", random.Random(1)) for row in rows}
    false = {id: caption(facts, "short", random.Random(id)) for id, facts in changed.items()}
    told = true | dict(zip(SWAPPED, [true[id] for id in reversed(SWAPPED)], strict=True))
    for name, captions in (("a", told), ("b", false), ("true", true)):
        records = [{"id": row["id"], "path": row["path"], "status": "ok", "style": "short",
                    "caption": captions[row["id"]]} for row in rows]  # fmt: skip
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return folder


@pytest.fixture(scope="module")
def mined(world, tmp_path_factory):
    out = tmp_path_factory.mktemp("mined")
    truth = ["--truth", str(world / "clips/manifest.jsonl")]
    files = ["--captions", str(world / "a.jsonl"), str(world / "b.jsonl")]
    assert main(["mine", str(world / "clips"), *files, *truth, "-o", str(out / "out"), "--workers", "1", "-q"]) == 0
    return out / "out"


@pytest.mark.slow
def test_captions_of_other_clips_come_first(mined):
    rows = [json.loads(line) for line in (mined / "mined.jsonl").read_text().splitlines()]
    assert len(rows) == 8 and {rows[0]["id"], rows[1]["id"]} == set(SWAPPED)
    doubts = [row["disagreement"] for row in rows]
    assert doubts == sorted(doubts, reverse=True) and doubts[1] > 0.5
    assert rows[0]["errors"] > 0 and rows[0]["doubted"] and rows[0]["path"].endswith(".mp4")
    assert all({"kind", "question", "doubt", "denied"} == claim.keys() for row in rows for claim in row["claims"])


@pytest.mark.slow
def test_the_page_shows_the_clips_in_that_order(mined):
    page = (mined / "index.html").read_text()
    ids = [json.loads(line)["id"] for line in (mined / "mined.jsonl").read_text().splitlines()]
    cards = page[page.index("The most doubted clips") :]
    assert [cards.index(id) for id in ids] == sorted(cards.index(id) for id in ids)
    assert "What to label or draw next" in page and "What the order is worth" in page and "data:image/webp" in page


@pytest.mark.slow
def test_the_judge_prefers_the_true_caption(world, mined):
    pairs = read_pairs([mined / "preferences.jsonl"], world / "clips")
    true = {json.loads(line)["id"]: json.loads(line)["caption"] for line in (world / "true.jsonl").open()}
    own = [pair for pair in pairs if pair.row["id"] not in SWAPPED]
    assert len(own) >= 3 and all(pair.row["chosen"] == true[pair.row["id"]] for pair in own)
    assert all(pair.path.is_file() for pair in pairs)
    row = pairs[0].row
    assert row["prompt"] == "Describe the video in one sentence." and "denied" in row["reason"]
    assert row["judge"].startswith("starter@") or "@" in row["judge"]


@pytest.mark.slow
def test_pairs_by_the_truth_need_no_model(world, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("v2t_eval.judge.judge.open_judge", lambda *_, **__: pytest.fail("a judge was opened"))
    files = ["--captions", str(world / "true.jsonl"), str(world / "b.jsonl"), "--pairs-by", "facts"]
    plain = ["--judge", "none", "--encoder", "none", "-o", str(tmp_path / "out"), "--json", "-q"]
    assert main(["mine", str(world / "clips"), *files, *plain]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["pairs"] == 8 and found["preferences"] == {"pairs": 8} and found["ranked"] == 0
    rows = list(read_manifest(tmp_path / "out/preferences.jsonl"))
    assert all(row["judge"] == "facts" and row["reason"].startswith("0 errors; rejected: ") for row in rows)
    assert not (tmp_path / "out/mined.jsonl").read_text()


@pytest.mark.slow
def test_a_clip_that_a_person_rejected_in_one_file_has_no_pair(world, tmp_path, capsys):
    records = [json.loads(line) for line in (world / "b.jsonl").open()]
    records[2]["review"] = "rejected"
    (tmp_path / "b.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    files = ["--captions", str(world / "true.jsonl"), str(tmp_path / "b.jsonl"), "--pairs-by", "facts"]
    plain = ["--judge", "none", "--encoder", "none", "-o", str(tmp_path / "out"), "--json", "-q"]
    assert main(["mine", str(world / "clips"), *files, *plain]) == 0
    assert json.loads(capsys.readouterr().out)["preferences"] == {"pairs": 7, "one_caption": 1}
    assert records[2]["id"] not in {row["id"] for row in read_manifest(tmp_path / "out/preferences.jsonl")}


@pytest.mark.slow
@pytest.mark.parametrize(
    "more, code, message",
    [
        (["--judge", "none", "--encoder", "none"], 2, "nothing is asked"),
        (["--pairs-by", "facts", "--captions", "{}/empty.jsonl"], 4, "no clip has a caption"),
        (["--captions", "{}/gone.jsonl"], 2, "gone.jsonl"),
    ],
)
def test_what_cannot_be_mined_is_refused(world, tmp_path, capsys, more, code, message):
    (world / "empty.jsonl").write_text('{"id": "train-3-000000.mp4", "status": "failed", "caption": null}\n')
    given = [word.replace("{}", str(world)) for word in more]
    files = [] if "--captions" in given else ["--captions", str(world / "a.jsonl")]
    assert main(["mine", str(world / "clips"), *files, *given, "-o", str(tmp_path / "out"), "-q"]) == code
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_what_was_mined_is_not_replaced(world, mined, capsys):
    assert main(["mine", str(world / "clips"), "--captions", str(world / "a.jsonl"), "-o", str(mined), "-q"]) == 2
    assert "exists" in capsys.readouterr().err


@pytest.mark.slow
def test_captions_of_an_unknown_style_need_their_prompt(world, tmp_path, capsys):
    for name in ("true", "b"):
        text = (world / f"{name}.jsonl").read_text().replace('"short"', '"my own"')
        (tmp_path / f"{name}.jsonl").write_text(text)
    given = ["--captions", str(tmp_path / "true.jsonl"), str(tmp_path / "b.jsonl"), "--pairs-by", "facts", "--judge",
             "none", "--encoder", "none", "-o", str(tmp_path / "out"), "-q"]  # fmt: skip
    assert main(["mine", str(world / "clips"), *given]) == 2
    assert "give it by --prompt" in capsys.readouterr().err
    assert main(["mine", str(world / "clips"), *given, "--prompt", "Say it."]) == 0
    assert {row["prompt"] for row in read_manifest(tmp_path / "out/preferences.jsonl")} == {"Say it."}


@pytest.mark.slow
def test_rows_can_be_written_again(mined, tmp_path):
    assert write_manifest(read_manifest(mined / "preferences.jsonl"), tmp_path / "again.jsonl") > 0
