"""Edits in the run's journal: what is written, who wrote it, undo past a restart, conflicts, `.txt` written by hand."""

from __future__ import annotations

import json

import pytest

from caption_stand_ins import rows_of
from cineloop.errors import NothingMatchedError, UsageError
from edit_process import NumberingCaptioner
from v2t.caption import run as caption
from v2t.caption.settings import CaptionConfig
from v2t.edit.edits import Edit
from v2t.edit.folder import Conflict, EditFolder
from v2t.writers import Rows, coco


def save(folder: EditFolder, clip: str, *captions: str, by: str = "ann", **more):
    edit = Edit(id=clip, revision=folder.ledger.revision(clip), captions=captions or None, **more)
    return folder.apply([edit], by=by, action="save")


def text(folder, clip: str) -> str:
    return (folder.path / clip).with_suffix(".txt").read_text()


@pytest.mark.slow
def test_an_edit_is_a_line_of_the_journal_and_in_every_format(captions):
    with EditFolder(captions) as folder:
        step = save(folder, "a.webm", "A red film.", tags=("red",), review="accepted")
        assert text(folder, "a.webm") == "A red film.\n"
        folder.close()
    lines = [json.loads(line) for line in (captions / ".v2t" / "journal.jsonl").read_text().splitlines()]
    assert lines[-1]["edit"] == {"step": step.step, "by": "ann", "action": "save"} and lines[-1]["at"] > 1.7e9
    row = rows_of(captions)["a.webm"]
    assert (row["caption"], row["tags"], row["review"], row["edited"]) == ("A red film.", ["red"], "accepted", True)
    assert '"A red film."' in (captions / "captions.csv").read_text()


@pytest.mark.slow
def test_a_failed_clip_gets_a_caption_and_its_file_and_loses_both_by_undo(captions):
    with EditFolder(captions) as folder:
        save(folder, "bad.mp4", "By hand.")
        assert text(folder, "bad.mp4") == "By hand.\n" and folder.ledger.record("bad.mp4")["error"] is None
        folder.revert(by="ann")
        assert not (captions / "bad.txt").exists()
        assert folder.ledger.record("bad.mp4")["error"]["code"] == "NOT_MEDIA"


def test_undo_goes_back_step_by_step_past_a_restart_and_forth_again(captions):
    with EditFolder(captions) as folder:
        for word in ("one", "two", "three"):
            save(folder, "a.webm", word)
    with EditFolder(captions) as folder:
        before = []
        for _ in range(3):
            folder.revert(by="ann")
            before.append(text(folder, "a.webm").strip())
        assert before == ["two", "one", "caption 0"]
        assert not folder.ledger.known["a.webm"].by_hand, "it is the model's caption again"
        assert folder.revert(by="ann") == (None, None, [])
    with EditFolder(captions) as folder:
        folder.revert(by="ann", redo=True)
        assert text(folder, "a.webm") == "one\n"
        folder.revert(by="ann")
        assert text(folder, "a.webm") == "caption 0\n"
        save(folder, "a.webm", "anew")
        assert folder.revert(by="ann", redo=True) == (None, None, []), "an edit ends what could be done again"


def test_undo_is_of_the_person_and_leaves_what_another_changed_since(captions):
    with EditFolder(captions) as folder:
        both = [Edit(id=f"{name}.webm", revision=1, captions=("ann",)) for name in "ab"]
        folder.apply(both, by="ann", action="replace")
        save(folder, "b.webm", "bob", by="bob")
        last, step, left = folder.revert(by="ann")
        assert (last.action, left, list(step.revisions)) == ("replace", ["b.webm"], ["a.webm"])
        assert (text(folder, "a.webm"), text(folder, "b.webm")) == ("caption 0\n", "bob\n")
        save(folder, "c.webm", "ann")
        save(folder, "c.webm", "bob", by="bob")
        last, step, left = folder.revert(by="ann")
        assert step is None and left == ["c.webm"] and text(folder, "c.webm") == "bob\n"


def test_an_edit_of_an_older_revision_is_refused_and_nothing_of_its_step_is_written(captions):
    with EditFolder(captions) as folder:
        save(folder, "a.webm", "first tab")
        with pytest.raises(Conflict) as refused:
            folder.apply(
                [
                    Edit(id="b.webm", revision=1, captions=("x",)),
                    Edit(id="a.webm", revision=1, captions=("second tab",)),
                ],
                by="ann",
                action="replace",
            )
        assert refused.value.ids == ["a.webm"]
        assert (text(folder, "a.webm"), text(folder, "b.webm")) == ("first tab\n", "caption 1\n")


def test_a_txt_written_by_hand_wins_while_the_editor_is_open(captions):
    with EditFolder(captions) as folder:
        revision = folder.ledger.revision("a.webm")
        (captions / "a.txt").write_text("in an editor of text\n")
        with pytest.raises(Conflict):
            folder.apply([Edit(id="a.webm", revision=revision, captions=("on the page",))], by="ann", action="save")
        assert text(folder, "a.webm") == "in an editor of text\n"
        assert folder.ledger.record("a.webm")["caption"] == "in an editor of text"
        save(folder, "a.webm", "on the page")
        assert text(folder, "a.webm") == "on the page\n"


def test_a_txt_written_by_hand_replaces_the_first_of_several(captions):
    with EditFolder(captions) as folder:
        save(folder, "a.webm", "one", "two")
    (captions / "a.txt").write_text("by hand\n")
    with EditFolder(captions) as folder:
        assert folder.ledger.record("a.webm")["captions"] == ["by hand", "two"]


@pytest.mark.slow
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_run_keeps_the_edits(captions, films, overwrite):
    with EditFolder(captions) as folder:
        save(folder, "a.webm", "A red film.", tags=("red",))
        save(folder, "b.webm", review="accepted")
        save(folder, "c.webm", tags=("blue",))
    config = CaptionConfig(format=("txt", "jsonl", "csv"), overwrite=overwrite, workers=1)
    captioner = NumberingCaptioner()
    captioner.number = 90
    summary = caption.run([str(films)], captions, config, captioner=captioner)
    rows = rows_of(captions)
    assert (rows["a.webm"]["caption"], rows["a.webm"]["tags"]) == ("A red film.", ["red"])
    assert (rows["b.webm"]["caption"], rows["b.webm"]["review"]) == ("caption 1", "accepted")
    assert summary.kept == 2 and rows["c.webm"]["tags"] == ["blue"]
    assert rows["c.webm"]["caption"] == ("caption 90" if overwrite else "caption 2")


def test_what_trainers_read_leaves_out_what_was_rejected(captions, tmp_path):
    with EditFolder(captions) as folder:
        save(folder, "a.webm", review="rejected")
        assert not (captions / "a.txt").exists()
        rows = Rows(lambda: folder.ledger.records(folder.beat), folder.ledger.find_video)
        coco.write(rows, tmp_path / "coco", tmp_path / "coco")
    ids = {row["clip"] for row in json.loads((tmp_path / "coco" / "images.json").read_text())["images"]}
    assert ids == {"b.webm", "c.webm"} and rows.left_out["a.webm"].code == "REJECTED"


def test_a_rejected_clip_stays_so_until_somebody_takes_it_back_or_writes_it_anew(captions, films):
    with EditFolder(captions) as folder:
        for clip in ("a.webm", "b.webm"):
            save(folder, clip, review="rejected")
    config = CaptionConfig(format=("txt", "jsonl", "csv"), workers=1)
    assert caption.run([str(films)], captions, config, captioner=NumberingCaptioner()).kept == 2
    assert not (captions / "a.txt").exists()
    (captions / "b.txt").write_text("anew\n")
    with EditFolder(captions) as folder:
        folder.revert(by="ann")
        assert "review" not in folder.ledger.record("b.webm") and text(folder, "b.webm") == "anew\n"
        folder.revert(by="ann")
        assert text(folder, "a.webm") == "caption 0\n"


def test_several_captions_and_seen_clips_are_kept(captions):
    with EditFolder(captions) as folder:
        save(folder, "a.webm", "one", "two", "three")
        folder.see(["b.webm"], by="ann")
        folder.apply([Edit(id="c.webm", revision=1, captions=("x",))], by="ann", action="replace")
    with EditFolder(captions) as folder:
        assert folder.ledger.record("a.webm")["captions"] == ["one", "two", "three"]
        assert folder.ledger.seen == {"a.webm", "b.webm"}
        assert save(folder, "a.webm", "one", "two", "three") is None, "nothing changed"
        save(folder, "a.webm", "two")
        assert "captions" not in folder.ledger.record("a.webm")


def test_scores_and_curation_read_the_edited_text(captions, films):
    from v2t_eval.core.inputs import read_inputs
    from v2t_eval.text.caption_faults import caption_of

    with EditFolder(captions) as folder:
        save(folder, "a.webm", "A red film.", "Another caption.")
        folder.close()
    inputs = read_inputs(films, captions=captions / "captions.jsonl")
    assert {sample.id: sample.caption for sample in inputs.samples}["a.webm"] == "A red film."
    assert caption_of(rows_of(captions)["a.webm"]) == "A red film."


def test_one_editor_or_run_at_a_time(captions, films):
    with EditFolder(captions):
        with pytest.raises(UsageError) as refused, EditFolder(captions):
            pass
        assert refused.value.code == "LOCKED"
        with pytest.raises(UsageError) as refused:
            caption.run([str(films)], captions, CaptionConfig(), captioner=NumberingCaptioner())
        assert refused.value.code == "LOCKED"


def test_a_folder_without_captions_is_refused(tmp_path):
    with pytest.raises(NothingMatchedError):
        EditFolder(tmp_path)
