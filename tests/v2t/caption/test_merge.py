"""What `v2t merge` makes of shards and folders: each clip once, a person's words first, nothing mixed unseen."""

from __future__ import annotations

import json
import os
import resource
import time
from pathlib import Path

import pytest

from cineloop.discovery import discover
from cineloop.errors import NothingMatchedError, UsageError
from clip_files import clips_in
from refusals import refusal, refusal_code
from v2t.caption.merge import merge
from v2t.caption.outputs import CaptionFolder
from v2t.caption.shards import Shard, places, shard_of
from v2t.cli import main
from v2t.long.items import WorkItem


def row(clip, text: str | None, **more) -> dict:
    good = {"status": "ok", "caption": text, "segments": [], "warnings": [], "error": None}
    bad = {"status": "failed", "caption": None, "error": {"code": "X", "message": "", "hint": ""}}
    return {"id": clip.id, "path": clip.path, **(good if text is not None else bad), **more}


def work(source: Path, out: Path, shard: str | None, text="A clip.", *, settings="k", redo=False) -> None:
    """Caption what is new in a shard, or everything in it."""
    listing = discover([str(source)])

    mine = Shard(out, shard, listing) if shard else None
    with CaptionFolder(out, ("txt", "jsonl"), shard=mine) as folder:
        folder.register(listing)
        folder.ledger.name_settings(settings, {"model": settings})
        for clip in mine.clips if mine else listing:
            if redo or folder.status(clip, settings) in ("new", "changed"):
                folder.write([WorkItem(clip, answer=row(clip, text))], settings)
        folder.close()
        if mine:
            mine.finish()


def captions(out: Path) -> dict[str, str | None]:
    rows = [json.loads(line) for line in (out / "captions.jsonl").read_text().splitlines()]
    assert len({each["id"] for each in rows}) == len(rows)
    return {each["id"]: each["caption"] for each in rows}


NAMES = [f"{i}.mp4" for i in range(8)]
FIRST = next(name for name in NAMES if shard_of(name, 2) == 1)


def test_captions_by_hand_win_wherever_they_were_written(tmp_path):
    source, out = clips_in(tmp_path / "clips", *NAMES), tmp_path / "out"
    work(source, out, "1/2")
    (out / FIRST).with_suffix(".txt").write_text("My own words.\n")
    work(source, out, "2/2")
    merged = merge([out])
    assert merged.by_hand == 1 and merged.exit_code == 0
    assert captions(out) == {**dict.fromkeys(NAMES, "A clip."), FIRST: "My own words."}
    second = next(name for name in NAMES if shard_of(name, 2) == 2)
    (out / second).with_suffix(".txt").write_text("Mine too.\n")
    work(source, out, "2/2", "Another.", redo=False)
    work(source, out, "1/2", "Another.", redo=True)
    assert merge([out]).by_hand == 2
    assert captions(out)[FIRST] == "My own words." and captions(out)[second] == "Mine too."
    assert set(captions(out).values()) == {"My own words.", "Mine too.", "A clip.", "Another."}


def test_a_good_record_counts_before_a_failed_one_and_a_newer_before_an_older(tmp_path):
    source = clips_in(tmp_path / "clips", "a.mp4", "b.mp4")
    one, two, three = (tmp_path / name for name in ("one", "two", "three"))
    work(source, one, None, "Older.")
    time.sleep(0.005)
    work(source, two, None, "Newer.")
    time.sleep(0.005)
    work(source, three, None, None)
    assert merge([three]).exit_code == 3  # failed clips
    for order in ([one, two, three], [three, two, one]):
        out = tmp_path / f"whole{order[0].name}"
        merged = merge(order, out)
        assert captions(out) == {"a.mp4": "Newer.", "b.mp4": "Newer."} and merged.exit_code == 0
        assert (out / "a.txt").read_text() == "Newer.\n"
        assert merge(order, out).taken == 0
    assert refusal_code(merge, [one, two]) == (2, "USAGE")
    with pytest.raises(NothingMatchedError):
        merge([source])


def test_folders_of_several_machines_become_one(tmp_path, capsys):
    source = clips_in(tmp_path / "clips", *NAMES, "0.mkv")
    one, two, out = tmp_path / "one", tmp_path / "two", tmp_path / "out"
    work(source, one, "1/2", "One.")
    with pytest.raises(SystemExit):
        main(["merge"])
    assert main(["merge", str(one), "-o", str(out), "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["missing"] == ["2/2 (never begun)"]
    work(source, two, "2/2", "Two.")
    (two / next(name for name in NAMES[1:] if shard_of(name, 2) == 2)).with_suffix(".txt").write_text("By hand.\n")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert main(["merge", str(one), str(two), "-o", str(out), "--dry-run"]) == 0
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert main(["merge", str(one), str(two), "-o", str(out)]) == 0
    assert "9 clips, 9 captioned (1 by hand)" in capsys.readouterr().out.splitlines()[-1]
    found = captions(out)
    assert len(found) == 9 and set(found.values()) == {"One.", "Two.", "By hand."}
    sidecars = {path.name for path in out.glob("*.txt")}
    assert len(sidecars) == 9 and {"0.mp4.txt", "0.mkv.txt"} <= sidecars


def test_names_that_meet_only_in_the_whole_get_sidecars_of_their_own(tmp_path):
    work(clips_in(tmp_path / "one clips", "a.mp4"), tmp_path / "one", None, "One.")
    work(clips_in(tmp_path / "two clips", "a.mkv"), tmp_path / "two", None, "Two.")
    for order in ("one", "two"), ("two", "one"):
        out = tmp_path / order[0] / "out"
        merged = merge([tmp_path / name for name in order], out)
        assert merged.by_hand == 0 and captions(out) == {"a.mkv": "Two.", "a.mp4": "One."}
        assert sorted(path.read_text() for path in out.glob("*.txt")) == ["One.\n", "Two.\n"]


def test_captions_of_different_settings_are_named_and_refused_unless_allowed(tmp_path):
    source, out = clips_in(tmp_path / "clips", *NAMES), tmp_path / "out"
    work(source, out, "1/2", settings="big")
    work(source, out, "2/2", settings="small")
    error = refusal(merge, [out])
    assert error.code == "OTHER_SETTINGS" and "model: " in error.message and not (out / "captions.jsonl").exists()
    assert merge([out], allow_mixed=True).exit_code == 0 and len(captions(out)) == 8


def test_a_folder_with_shards_that_were_not_joined_is_not_taken_for_another_one(tmp_path):
    source, out = clips_in(tmp_path / "clips", *NAMES), tmp_path / "out"
    work(source, out, "1/2")
    assert refusal_code(work, source, out, None) == (2, "UNMERGED")
    with pytest.raises(UsageError) as caught:
        work(source, out, "1/3")
    assert caught.value.code == "OTHER_SHARDS"
    assert merge([out]).missing == ["2/2 (never begun)"]
    work(source, out, None, "The rest.")
    assert sorted(set(captions(out).values())) == ["A clip.", "The rest."]
    clips_in(source, "new.mp4")
    work(source, out, "1/1", "New.")  # joined: another count may follow, and what is done stays done
    assert merge([out]).clips == 9 and captions(out)["new.mp4"] == "New."
    assert sorted(places(out)) == [1, 2]


def test_while_a_shard_is_worked_on_nobody_joins_and_the_other_way_round(tmp_path):
    source, out = clips_in(tmp_path / "clips", *NAMES), tmp_path / "out"
    with CaptionFolder(out, ("txt",), shard=Shard(out, "1/2", discover([str(source)]))):
        for call in (lambda: merge([out]), lambda: work(source, out, None), lambda: work(source, out, "1/2")):
            with pytest.raises(UsageError, match=f"process {os.getpid()}") as caught:
                call()
            assert caught.value.code == "LOCKED"
        assert "shard-1-of-2" in str(caught.value)
        work(source, out, "2/2")
    assert merge([out]).missing == ["1/2 (not finished)"]
    with CaptionFolder(tmp_path / "whole", ("txt",)), pytest.raises(UsageError) as caught:
        work(source, tmp_path / "whole", "1/2")
    assert caught.value.code == "LOCKED"
    work(source, out, "1/2")
    assert merge([out]).exit_code == 0


def test_what_was_edited_after_the_merge_stays_when_its_shard_runs_again(tmp_path):
    source, out = clips_in(tmp_path / "clips", *NAMES), tmp_path / "out"
    work(source, out, "1/2", "Old.")
    work(source, out, "2/2", "Old.")
    merge([out])
    (out / FIRST).with_suffix(".txt").write_text("Mine.\n")
    assert merge([out]).by_hand == 1
    clips_in(source, "new.mp4", "newer.mp4")
    for shard in ("1/2", "2/2"):
        work(source, out, shard, "New.")
    assert (out / FIRST).with_suffix(".txt").read_text() == "Mine.\n"
    merged = merge([out])
    assert (merged.taken, merged.by_hand, merged.exit_code) == (2, 1, 0)
    old = dict.fromkeys(NAMES, "Old.") | {FIRST: "Mine."}
    assert captions(out) == {**old, "new.mp4": "New.", "newer.mp4": "New."}


def test_the_torn_last_line_of_a_killed_shard_does_not_keep_the_folder_unmerged(tmp_path):
    source, out = clips_in(tmp_path / "clips", *NAMES), tmp_path / "out"
    work(source, out, "1/1")
    with open(out / ".v2t/shard-1-of-1/journal.jsonl", "ab") as journal:
        journal.write(b'{"kind":"clip","re')
    merge([out])
    work(source, out, "1/1")  # its journal is cut back to the last whole line
    work(source, out, None)
    assert merge([out]).taken == 0


def test_shards_made_from_different_lists_are_told_apart(tmp_path):
    source, out = clips_in(tmp_path / "clips", *NAMES), tmp_path / "out"
    work(source, out, "1/2")
    work(clips_in(source, "late.mp4"), out, "2/2")
    assert "different lists" in " ".join(merge([out]).lines())


def test_a_format_asked_for_later_is_made_when_shards_are_joined(tmp_path):
    source, out = clips_in(tmp_path / "clips", "a.mp4", "a.mkv"), tmp_path / "out"
    work(source, out, "1/2")
    work(source, out, "2/2")
    (out / "a.mkv.txt").unlink()
    merge([out], formats=["txt", "jsonl"])
    assert (out / "a.mkv.txt").read_text() == (out / "a.mp4.txt").read_text() == "A clip.\n"


@pytest.mark.slow
def test_more_shards_than_a_process_may_hold_files_open(tmp_path):
    source, out = clips_in(tmp_path / "clips", *(f"{i}.mp4" for i in range(30))), tmp_path / "out"
    for index in range(1, 121):
        work(source, out, f"{index}/120")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))
    try:
        assert merge([out]).clips == 30
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
