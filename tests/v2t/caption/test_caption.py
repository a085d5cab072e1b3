"""The captioning job with a small true captioner plug-in and an in-process decoder: resume, edits, settings, exits."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from caption_stand_ins import TextCaptioner, TextPool, go, rows_of, tree
from cineloop.errors import MissingDependencyError, NothingMatchedError, UsageError
from clip_files import clips_in
from refusals import refusal, refusal_code
from v2t.caption import job, outputs
from v2t.caption.run import run
from v2t.caption.settings import CaptionConfig


@pytest.fixture(autouse=True)
def fake_pool(monkeypatch):
    monkeypatch.setattr(job, "DecoderPool", TextPool)


def test_a_folder_becomes_mirrored_sidecars_and_one_file_of_records(tmp_path):
    source = clips_in(tmp_path / "clips", a="dogs", sub__deep__b="cats")
    out = tmp_path / "out"
    summary, captioner, rows = go(source, out)
    assert summary.exit_code == 0 and captioner.batches == [2]
    assert (out / "a.txt").read_bytes() == b"A clip of dogs.\n"
    assert (out / "sub/deep/b.txt").read_bytes() == b"A clip of cats.\n"
    row = rows_of(out)["sub/deep/b.mp4"]
    assert row in rows
    assert row["status"] == "ok" and row["caption"] == "A clip of cats." and row["error"] is None
    assert row["frame_times_s"] == [0.0, 0.5, 1.0, 1.5] and row["duration_s"] == 2.0 and row["tokens"] == 4
    assert row["model"] == "fake" and row["revision"] == "r1" and row["style"] == "short" and row["prompt_sha"]
    assert captioner.prompts == {"Describe the video in one sentence."}
    assert not list(out.rglob(".cineloop-tmp-*"))


def test_a_rerun_does_nothing_and_loads_no_model(tmp_path):
    source, out = clips_in(tmp_path / "clips", a="dogs", b="cats"), tmp_path / "out"
    go(source, out)
    before = tree(out)
    summary, captioner, rows = go(source, out)
    assert (summary.done_before, summary.num_captioned, rows) == (2, 0, [])
    assert captioner.loads == 0 and captioner.batches == []
    assert tree(out) == before


def test_only_new_and_changed_clips_are_captioned(tmp_path):
    source, out = clips_in(tmp_path / "clips", a="dogs", b="cats", c="bees"), tmp_path / "out"
    go(source, out)
    clips_in(source, b="cows", d="owls")
    (source / "c.mp4").touch()  # a new date alone is no change
    summary, captioner, rows = go(source, out)
    assert {row["id"] for row in rows} == {"b.mp4", "d.mp4"} and summary.done_before == 2
    assert (out / "b.txt").read_text() == "A clip of cows.\n"
    assert len(rows_of(out)) == 4


def test_clips_are_grouped_by_shape(tmp_path):
    names = {f"c{i:02}": "SHORT" if i % 2 else "long" for i in range(10)}
    source = clips_in(tmp_path / "clips", **names)
    _, captioner, _ = go(source, tmp_path / "out", batch_size=3)
    assert sorted(captioner.batches) == [2, 2, 3, 3]


def test_a_failed_clip_is_a_row_and_the_run_goes_on(tmp_path):
    source, out = (
        clips_in(tmp_path / "clips", a="dogs", b="BROKEN", c="BAD", d="EMPTY", e="bees", f=""),
        tmp_path / "out",
    )
    summary, captioner, _ = go(source, out)
    assert summary.exit_code == 3 and summary.num_captioned == 2
    codes = {row["id"]: row["error"] and row["error"]["code"] for row in rows_of(out).values()}
    assert codes == {
        "a.mp4": None,
        "b.mp4": "DECODE_ERROR",
        "c.mp4": "MODEL_ERROR",
        "d.mp4": "BAD_CAPTION",
        "e.mp4": None,
        "f.mp4": "EMPTY_FILE",
    }
    assert all(row["caption"] is None and row["error"]["hint"] for row in rows_of(out).values() if row["error"])
    assert not (out / "b.txt").exists() and (out / "e.txt").exists()
    assert any("--retry-failed" in line for _, line in summary.report())


def test_failures_are_remembered_until_retried_or_changed(tmp_path):
    source, out = clips_in(tmp_path / "clips", a="dogs", b="BROKEN", c="BROKEN too"), tmp_path / "out"
    go(source, out)
    summary, captioner, _ = go(source, out)
    assert summary.exit_code == 3 and summary.failed_before == 2 and captioner.batches == []
    clips_in(source, b="mended")
    summary, _, rows = go(source, out)
    assert [row["id"] for row in rows] == ["b.mp4"] and summary.exit_code == 3
    summary, _, rows = go(source, out, retry_failed=True)
    assert [row["id"] for row in rows] == ["c.mp4"] and rows[0]["error"]["code"] == "DECODE_ERROR"


@pytest.mark.slow
def test_a_caption_edited_by_hand_is_never_overwritten(tmp_path):
    source, out = clips_in(tmp_path / "clips", a="dogs", b="cats"), tmp_path / "out"
    go(source, out)
    (out / "a.txt").write_text("Two dogs, one lazy.\n")
    clips_in(source, a="other dogs")  # even though the video changed
    for settings in ({}, {"overwrite": True}, {"overwrite": True, "prompt": "What?"}, {"prompt": "What?"}):
        summary, _, rows = go(source, out, **settings)
        assert summary.kept == 1 and "a.mp4" not in {row["id"] for row in rows}
        assert (out / "a.txt").read_text() == "Two dogs, one lazy.\n"
        assert rows_of(out)["a.mp4"]["caption"] == "Two dogs, one lazy." and rows_of(out)["a.mp4"]["edited"]
    (out / "a.txt").write_text("Three dogs.\n")  # and once more
    go(source, out, prompt="What?")
    assert rows_of(out)["a.mp4"]["caption"] == "Three dogs."
    go(source, out, prompt="What?", overwrite_edited=True)
    assert (out / "a.txt").read_text() == "A clip of other dogs.\n"


def test_a_file_written_by_hand_during_the_run_is_left(tmp_path):
    source, out = clips_in(tmp_path / "clips", a="dogs"), tmp_path / "out"

    class Slow(TextCaptioner):
        def answer(self, *args, **kwargs):
            (out / "a.txt").write_text("meanwhile\n")
            return super().answer(*args, **kwargs)

    go(source, out, Slow())
    assert (out / "a.txt").read_text() == "meanwhile\n"
    go(source, out)
    assert rows_of(out)["a.mp4"]["caption"] == "meanwhile"


def test_other_settings_are_noticed_named_and_need_overwrite(tmp_path):
    source, out = clips_in(tmp_path / "clips", a="dogs", b="BROKEN"), tmp_path / "out"
    go(source, out)
    before = tree(out)
    for settings, says in (
        ({"style": "detailed"}, "prompt: "),
        ({"frames": 8}, "sampling.num_frames: 4 → 8"),
        ({"fps": 2.0}, "sampling.sampler: uniform → fps"),
    ):
        error = refusal(go, source, out, **settings)
        assert error.code == "OTHER_SETTINGS" and says in error.message
        assert tree(out) == before
    other = TextCaptioner()
    other.revision = "r2"
    assert refusal_code(go, source, out, other) == (2, "OTHER_SETTINGS")
    summary, _, rows = go(source, out, batch_size=2, workers=3, seed=5)  # these do not change a caption
    assert summary.done_before == 1
    summary, _, rows = go(source, out, style="detailed", overwrite=True)
    assert summary.num_captioned == 1 and rows_of(out)["a.mp4"]["style"] == "detailed"


def test_a_dry_run_writes_nothing_and_says_what_would_be_done(tmp_path):
    source, out = clips_in(tmp_path / "clips", a="dogs", b="BROKEN", c="bees"), tmp_path / "out"
    summary, captioner, rows = go(source, out, dry_run=True)
    assert not out.exists() and captioner.loads == 0
    assert [row["action"] for row in rows] == ["caption"] * 3 and "3 would be captioned" in summary.report()[0][1]
    go(source, out)
    (out / "a.txt").write_text("mine\n")
    (out / "c.txt").unlink()
    clips_in(source, d="owls")
    before = tree(out)
    _, _, rows = go(source, out, dry_run=True, retry_failed=True)
    assert {row["id"]: row["action"] for row in rows} == {
        "a.mp4": "done",  # the edit is noticed by the run that may write it down
        "b.mp4": "retry",
        "c.mp4": "done",
        "d.mp4": "caption",
    }
    assert tree(out) == before


def test_a_second_run_on_the_same_folder_is_refused(tmp_path):
    source, out = clips_in(tmp_path / "clips", a="dogs"), tmp_path / "out"
    refused = []

    class Inside(TextCaptioner):
        def answer(self, *args, **kwargs):
            with pytest.raises(UsageError) as caught:
                go(source, out)
            refused.append(caught.value.code)
            return super().answer(*args, **kwargs)

    go(source, out, Inside())
    assert refused == ["LOCKED"]


def test_the_first_interrupt_finishes_the_batch_in_hand_and_saves(tmp_path):
    source, out = clips_in(tmp_path / "clips", **{f"c{i}": f"dog {i}" for i in range(6)}), tmp_path / "out"

    class Interrupted(TextCaptioner):
        def answer(self, *args, **kwargs):
            os.kill(os.getpid(), signal.SIGINT)
            return super().answer(*args, **kwargs)

    summary, captioner, rows = go(source, out, Interrupted(), batch_size=2)
    assert summary.exit_code == 130 and captioner.batches == [2]
    assert len(rows_of(out)) == 2 == len(rows)
    summary, captioner, _ = go(source, out, batch_size=2)
    assert summary.exit_code == 0 and summary.done_before == 2 and len(rows_of(out)) == 6


def test_a_model_that_always_fails_stops_the_run(tmp_path):
    source, out = clips_in(tmp_path / "clips", **{f"c{i:02}": "BAD" for i in range(40)}), tmp_path / "out"
    assert refusal_code(go, source, out, batch_size=8) == (5, "MODEL_BROKEN")
    with pytest.raises(MissingDependencyError):
        go(source, out, batch_size=1)


def test_without_an_output_folder_captions_are_only_given_out(tmp_path):
    source = clips_in(tmp_path / "clips", a="dogs")
    before = tree(tmp_path)
    summary, _, rows = go(source, None)
    assert rows[0]["caption"] == "A clip of dogs." and tree(tmp_path) == before


def test_a_clip_that_changes_while_it_is_read_is_not_captioned(tmp_path, monkeypatch):
    source, out = clips_in(tmp_path / "clips", a="dogs"), tmp_path / "out"

    class Growing(TextPool):
        def submit(self, path, spec, size):
            future = super().submit(path, spec, size)
            Path(path).write_text("dogs and more")
            return future

    monkeypatch.setattr(job, "DecoderPool", Growing)
    _, _, rows = go(source, out)
    assert rows[0]["error"]["code"] == "CHANGED"
    monkeypatch.setattr(job, "DecoderPool", TextPool)
    summary, _, rows = go(source, out)
    assert rows[0]["caption"] == "A clip of dogs and more."


@pytest.mark.slow
def test_decoding_stays_within_a_bounded_distance_of_the_model(tmp_path, monkeypatch):
    source = clips_in(tmp_path / "clips", **{f"c{i:03}": "dog" for i in range(100)})
    waiting, most = [0], [0]

    class Counting(TextPool):
        def submit(self, *args):
            waiting[0] += 1
            most[0] = max(most[0], waiting[0])
            return super().submit(*args)

    class Consuming(TextCaptioner):
        def answer(self, batch, *args, **kwargs):
            waiting[0] -= len(batch)
            return super().answer(batch, *args, **kwargs)

    monkeypatch.setattr(job, "DecoderPool", Counting)
    summary, captioner, _ = go(source, tmp_path / "out", Consuming(), batch_size=4, workers=2)
    assert summary.num_captioned == 100 and captioner.batches == [4] * 25
    assert most[0] <= 2 * (2 * 4 + 2) + 4


@pytest.mark.slow
def test_selection_is_repeatable_and_nothing_found_is_an_error(tmp_path):
    source = clips_in(tmp_path / "clips", **{f"c{i:02}": "dog" for i in range(20)})
    picks = [[row["id"] for row in go(source, None, sample=5, seed=s)[2]] for s in (1, 1, 2)]
    assert len(picks[0]) == 5 and picks[0] == picks[1] != picks[2]
    assert [row["id"] for row in go(source, None, limit=2, exclude=("c00*",))[2]] == ["c01.mp4", "c02.mp4"]
    assert len(go(source, None, include=("c1?.mp4",))[2]) == 10
    with pytest.raises(NothingMatchedError):
        go(source, None, include=("*.mov",))
    with pytest.raises(NothingMatchedError):
        go(tmp_path / "nowhere", None)


@pytest.mark.parametrize("device", ["cuda:99", "cuda"])
def test_a_device_that_is_missing_is_refused_before_anything_is_written(tmp_path, monkeypatch, device):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    source, out = clips_in(tmp_path / "clips", a="dogs"), tmp_path / "out"
    assert refusal_code(run, [str(source)], out, CaptionConfig(device=device)) == (5, "ENVIRONMENT")
    assert not out.exists()


def test_settings_out_of_range_are_refused():
    for settings in ({"batch_size": 0}, {"frames": 0}, {"prompt": " "}, {"limit": -1}):
        with pytest.raises(UsageError):
            CaptionConfig(**settings)


@pytest.mark.slow
def test_ten_thousand_finished_clips_are_skipped_in_seconds(tmp_path):
    source, out = tmp_path / "clips", tmp_path / "out"
    clips_in(source, **{f"c{i:05}": "dog" for i in range(1000)})
    go(source, out, batch_size=500)
    start = time.process_time()
    summary, captioner, _ = go(source, out)
    assert summary.done_before == 1000 and captioner.loads == 0
    assert time.process_time() - start < 1  # 10,000 in less than ten


def test_threads_other_than_the_main_one_may_caption(tmp_path):
    source, results = clips_in(tmp_path / "clips", a="dogs"), []
    thread = threading.Thread(target=lambda: results.append(go(source, tmp_path / "out")[0].exit_code))
    thread.start()
    thread.join()
    assert results == [0]


def test_the_state_folder_holds_the_papers_of_the_run(tmp_path):
    source, out = clips_in(tmp_path / "clips", a="dogs"), tmp_path / "out"
    go(source, out, style="timed")
    papers = json.loads((out / outputs.STATE_FOLDER / "run.json").read_text())
    assert papers["settings"]["prompt"].startswith("List the events") and papers["versions"]["python"]
    assert "style: timed" in (out / outputs.STATE_FOLDER / "config.yaml").read_text()
