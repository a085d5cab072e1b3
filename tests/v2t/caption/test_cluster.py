"""A captioning run on a cluster, with workers in threads: the folder is that of the plain run, whatever dies."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

import stand_in_engine
from cineloop.cluster import journals
from cineloop.cluster.settings import ClusterConfig
from cineloop.journal import Journal
from cineloop.video.encode import encode
from cineloop.video.limits import Limits
from refusals import refusal_code
from small_clips import write_grey
from v2t.caption import cluster
from v2t.caption import run as caption
from v2t.caption.ledger import Ledger
from v2t.caption.merge import merge
from v2t.caption.settings import CaptionConfig

CAPTIONER = str(Path(stand_in_engine.__file__).with_name("placed_captioner.py"))
NAMES_THE_RUN = ("config.yaml", "run.json", "sets.json", "journal.jsonl", "lock", "index.html")
PLANTED_DECODER = Path(stand_in_engine.__file__).with_name("planted_decoder")
CLUSTER = ClusterConfig(engine="ray", decode_workers="1..2", model_workers="1..2")


@pytest.fixture(scope="module")
def clips(coloured_clips) -> Path:
    return coloured_clips(9, folders=2)


def copies(clips: Path, folder: Path, num: int, suffix: str = ".mp4") -> Path:
    """A new folder of the first clips, named by their numbers."""
    folder.mkdir()
    for number, path in enumerate(sorted(clips.rglob("*.mp4"))[:num]):
        (folder / f"{number}{suffix}").write_bytes(path.read_bytes())
    return folder


def white(path: Path) -> Path:
    write_grey(path, 255)
    return path


def go(source: Path, out: Path, marks: Path | None = None, cluster: ClusterConfig = CLUSTER, **settings):
    options = {"how": "raise"} | settings.pop("options", {})
    if marks is not None:
        marks.mkdir(exist_ok=True)
        options["marks"] = str(marks)
    settings = {"model": "m1", "captioner": CAPTIONER, "batch_size": 3} | settings
    config = CaptionConfig(cluster=cluster, options=options, **settings)
    rows: list[dict] = []
    return caption.run([str(source)], out, config, emit=rows.append), rows


def content(out: Path) -> dict[str, object]:
    """The files of a folder, but for seconds and what only names the run."""
    found: dict[str, object] = {}
    for path in sorted(out.rglob("*")):
        name = str(path.relative_to(out))
        if path.is_dir() or path.name in (
            "config.yaml",
            "run.json",
            "sets.json",
            "journal.jsonl",
            "lock",
            "index.html",
        ):
            continue
        if path.name == "captions.jsonl":
            rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
            found[name] = [{**row, "seconds": None} for row in rows]
        else:
            found[name] = path.read_bytes()
    return found


def journalled(out: Path) -> list[str]:
    with Journal(out / ".v2t/journal.jsonl", writable=False) as journal:
        return [entry["record"]["id"] for entry, _ in journal.replay() if entry["kind"] == "clip"]


@pytest.mark.slow
def test_the_folder_is_that_of_the_plain_run(clips, engines, tmp_path):
    plain, _ = go(clips, tmp_path / "plain", cluster=ClusterConfig())
    summary, rows = go(clips, tmp_path / "placed")
    assert len(engines) == 1 and plain.exit_code == summary.exit_code == 0
    assert content(tmp_path / "plain") == content(tmp_path / "placed")
    assert len(content(tmp_path / "plain")) > 18  # captions, strips
    assert sorted(row["id"] for row in rows) == sorted(journalled(tmp_path / "placed"))
    assert not journals.journals(tmp_path / "placed/.v2t")
    again, _ = go(clips, tmp_path / "placed")
    assert again.done_before == 9 and len(engines) == 1  # nothing to do: no cluster is asked for


@pytest.mark.slow
def test_films_are_captioned_part_by_part(engines, tmp_path):
    (tmp_path / "films").mkdir()
    pixels = np.zeros((40, 16, 16, 3), np.uint8)
    pixels[:20, ..., 0] = pixels[20:, ..., 1] = 220
    encode(pixels, tmp_path / "films/a film ü.mp4", fps=4)
    for parts in ("segment:2", "scene", "window:4/2"):
        out = tmp_path / parts.replace("/", "-")
        go(tmp_path / "films", out / "plain", cluster=ClusterConfig(), parts=parts)
        go(tmp_path / "films", out / "placed", parts=parts)
        assert content(out / "plain") == content(out / "placed")


@pytest.mark.slow
def test_three_bad_clips_are_three_coded_records(clips, engines, tmp_path):
    source = copies(clips, tmp_path / "clips", 4, suffix=" 𝄞.mp4")
    white(source / "kills.mp4")
    (source / "empty.mp4").write_bytes(b"")
    (source / "text.mp4").write_text("no video at all, but long enough to be looked at")
    summary, rows = go(source, tmp_path / "out", tmp_path / "marks")
    assert summary.exit_code == 3 and summary.num_captioned == 4
    codes = {row["id"]: row["error"]["code"] for row in rows if row["status"] == "failed"}
    assert codes.pop("text.mp4") in ("NOT_MEDIA", "DECODE_ERROR")
    assert codes == {"kills.mp4": "WORKER_DIED", "empty.mp4": "EMPTY_FILE"}
    assert len(list((tmp_path / "marks").iterdir())) == 3
    assert len(journalled(tmp_path / "out")) == 7


@pytest.mark.long
@pytest.mark.slow
def test_a_decoder_that_hangs_and_one_that_aborts_cost_their_clips(clips, engines, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(PLANTED_DECODER), prepend=os.pathsep)
    source = copies(clips, tmp_path / "clips", 4)
    for name in ("hangs.mp4", "aborts.mp4"):
        shutil.copy(source / "0.mp4", source / name)
    (source / "empty.mp4").write_bytes(b"")
    summary, rows = go(source, tmp_path / "out", limits=Limits(timeout_s=30.0))
    assert summary.exit_code == 3 and summary.num_captioned == 4
    codes = {row["id"]: row["error"]["code"] for row in rows if row["error"]}
    assert codes == {"hangs.mp4": "DECODE_TIMEOUT", "aborts.mp4": "DECODER_CRASH", "empty.mp4": "EMPTY_FILE"}


@pytest.mark.long
@pytest.mark.slow
def test_a_clip_on_which_the_model_hangs_is_given_up_after_its_limit(clips, engines, tmp_path):
    source = copies(clips, tmp_path / "clips", 2)
    magenta = np.full((4, 16, 16, 3), 255, np.uint8)
    magenta[..., 1] = 0
    encode(magenta, source / "hangs.mp4", fps=4)
    cluster = dataclasses.replace(CLUSTER, item_limit_s=6.0)
    summary, rows = go(source, tmp_path / "out", cluster=cluster, options={"hang_s": 40.0})
    assert summary.exit_code == 3 and summary.num_captioned == 2
    assert {row["id"]: row["error"]["code"] for row in rows if row["error"]} == {"hangs.mp4": "WORKER_DIED"}


def test_a_clip_that_kills_one_worker_is_captioned_and_told(clips, engines, tmp_path):
    source = copies(clips, tmp_path / "clips", 4)
    white(source / "kills.mp4")
    summary, _ = go(source, tmp_path / "out", tmp_path / "marks", options={"at_most": 1})
    assert summary.exit_code == 0 and summary.num_captioned == 5 == len(journalled(tmp_path / "out"))


def die_after(monkeypatch, num_saved: int) -> None:
    save = caption.CaptionFolder.write

    def dying(self, results, settings):
        # However many results come at once: on a loaded machine the first save may get them all.
        if num_saved:
            save(self, results[:num_saved], settings)
        raise stand_in_engine.DeadDriver

    monkeypatch.setattr(caption.CaptionFolder, "write", dying)


@pytest.mark.slow
@pytest.mark.parametrize("successor", ["placed", "plain", "merge"])
def test_what_a_dead_driver_left_is_taken_over(clips, engines, tmp_path, monkeypatch, successor):
    out = tmp_path / "out"
    with monkeypatch.context() as dying:
        die_after(dying, 0)
        with pytest.raises(stand_in_engine.DeadDriver):
            go(clips, out)
    state = out / ".v2t"
    answered = {entry["record"]["id"] for entry in stand_in_engine.entries_of_workers(state) if entry["kind"] == "clip"}
    assert answered and not journalled(out)
    if successor == "merge":
        merged = merge([out])
        assert merged.clips == len(set(journalled(out))) == len(answered) and merged.exit_code == 0
    cluster = CLUSTER if successor == "placed" else ClusterConfig()
    summary, _ = go(clips, out, cluster=cluster)
    assert summary.done_before == len(answered)  # before the driver died, and not asked again
    go(clips, tmp_path / "plain", cluster=ClusterConfig())
    assert content(tmp_path / "plain") == content(out)
    assert not journals.journals(state)
    assert len(set(journalled(out))) == 9


@pytest.mark.slow
def test_a_caption_edited_between_two_runs_stays(clips, engines, tmp_path, monkeypatch):
    out = tmp_path / "out"
    with monkeypatch.context() as dying:
        die_after(dying, 1)
        with pytest.raises(stand_in_engine.DeadDriver):
            go(clips, out)
    sidecar = next(out.rglob("*.txt"))
    sidecar.write_text("a person's words\n")
    summary, _ = go(clips, out)
    assert sidecar.read_text() == "a person's words\n" and summary.exit_code == 0
    assert len(list(out.rglob("*.txt"))) == 9


@pytest.mark.slow
def test_a_clip_that_takes_three_runs_down_is_given_up(clips, engines, tmp_path, monkeypatch):
    out, state = tmp_path / "out", tmp_path / "out/.v2t"
    worst = "part0/clip 000.mp4"
    for number in range(3):  # what a run leaves whose machine died with it
        journal = journals.WorkerJournal(journals.new_run(state), "model-1")
        journal.begin([worst])
        journal.close()
        if number < 2:
            with monkeypatch.context() as dying:
                die_after(dying, 0)
                with pytest.raises(stand_in_engine.DeadDriver):
                    go(clips, out, limit=1)
            for path in journals.journals(state):  # it had died before it answered
                path.unlink()
    summary, rows = go(clips, out)
    assert summary.exit_code == 3 and summary.num_captioned == 8
    assert {row["id"]: row["error"]["code"] for row in rows if row["error"]} == {worst: "WORKER_DIED"}
    summary, _ = go(clips, out, retry_failed=True)
    assert summary.exit_code == 0 and summary.num_captioned == 1


@pytest.mark.slow
def test_work_done_twice_is_one_record_and_counted(clips, engines, tmp_path):
    out = tmp_path / "out"
    go(clips, out)
    with Journal(out / ".v2t/journal.jsonl", writable=False) as journal:
        entries = [entry for entry, _ in journal.replay() if entry["kind"] == "clip"]
    (tmp_path / "two/.v2t").mkdir(parents=True)
    run = journals.new_run(tmp_path / "two/.v2t")
    for worker, some in (("model-1", entries), ("model-2", entries[:2])):
        journal = journals.WorkerJournal(run, worker)
        journal.append([{**entry, "files": {}, "keys": {}} for entry in some])
        journal.close()
    assert journals.count_twice(run, cluster.answer_key) == 2
    summary, _ = go(clips, tmp_path / "two", cluster=ClusterConfig())
    assert summary.done_before == 9 == len(set(journalled(tmp_path / "two")))


def test_workers_must_see_the_same_folder_and_model(clips, engines, tmp_path, monkeypatch):
    real, sizes = stand_in_engine.Driver.here, itertools.count()
    monkeypatch.setattr("cineloop.cluster.node.Driver.here", lambda paths: real([*paths, tmp_path / "gone"]))
    monkeypatch.setattr("cineloop.cluster.node._size", lambda path: -2 if path.name != "gone" else next(sizes))
    assert refusal_code(go, clips, tmp_path / "out") == (2, "NOT_SHARED")


def test_what_does_not_go_together_is_said_at_once(clips, tmp_path):
    assert refusal_code(go, clips, tmp_path / "out", shard="1/2") == (2, "USAGE")
    assert refusal_code(go, clips, None) == (2, "USAGE")


def test_begun_is_forgotten_once_it_is_answered(tmp_path):
    with Journal(tmp_path / "journal.jsonl") as journal:
        ledger = Ledger(journal)
        ledger.append([{"kind": "begun", "ids": ["a", "a", "b"]}])
        assert ledger.begun == {"a": 2, "b": 1}
