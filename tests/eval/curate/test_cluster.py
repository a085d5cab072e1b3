"""A curation on a cluster, with workers in threads: the table of one process; what was done is not done again."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from pyarrow import parquet

import stand_in_engine
from cineloop.cluster import journals
from cineloop.video.worker import DecoderPool
from planted_films import shot, write
from v2t_eval.cli import main
from v2t_eval.core.executor import Executor
from v2t_eval.curate.table import PARQUET

pytestmark = pytest.mark.slow
ON_RAY = ("--cluster", "ray", "--decode-workers", "1..2", "--model-workers", "1")


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """A film of two shots, a black one and a copy of it, two that fail."""
    folder = tmp_path_factory.mktemp("films")
    write(folder / "two übung.mp4", shot(1), shot(2))
    write(folder / "a" / "black.mp4", np.zeros_like(shot(1)))
    shutil.copy2(folder / "a" / "black.mp4", folder / "copy.mp4")
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "text.mp4").write_text("no film")
    return folder


def curated(films, out, *more):
    recipe = () if "--set" in more else ("--recipe", "t2v")
    assert main(["curate", str(films), "-o", str(out), *recipe, "--quiet", *more]) == 3  # some films fail
    return (out / PARQUET).read_bytes()


@pytest.mark.long
def test_one_worker_two_workers_and_a_cluster_give_the_same_bytes(films, engines, tmp_path):
    one = curated(films, tmp_path / "one", "--workers", "1")
    assert curated(films, tmp_path / "two", "--workers", "2") == one and not engines
    assert curated(films, tmp_path / "ray", *ON_RAY) == one and engines
    assert not journals.journals(tmp_path / "ray" / ".cineloop")


def test_all_steps_that_look_at_clips_again_share_one_cluster(films, engines, tmp_path):
    steps = ("--set", "steps=[probe, split, shape, sharpness, black, text, near_copies]")
    one = curated(films, tmp_path / "one", "--workers", "1", *steps)
    assert curated(films, tmp_path / "ray", *ON_RAY, *steps) == one and len(engines) == 1
    rows = parquet.read_table(tmp_path / "ray" / PARQUET).to_pylist()
    assert any(row["scores"]["text_share"] is not None for row in rows)


def test_what_was_measured_needs_no_cluster(films, engines, tmp_path):
    one = curated(films, tmp_path / "set", "--workers", "1")
    assert curated(films, tmp_path / "set", *ON_RAY) == one and not engines


def test_what_a_killed_run_left_with_its_workers_is_taken_over(films, engines, tmp_path, monkeypatch):
    with monkeypatch.context() as patched, pytest.raises(stand_in_engine.DeadDriver):
        stand_in_engine.die_at(patched, Executor, "keep")
        curated(films, tmp_path / "set", *ON_RAY)
    entries = stand_in_engine.entries_of_workers(tmp_path / "set" / ".cineloop")
    known = {entry["id"] for entry in entries if entry["kind"] == "evidence" and entry["data"]}
    assert known
    decoded, submit = [], DecoderPool.submit_job
    monkeypatch.setattr(
        DecoderPool, "submit_job", lambda self, path, *more: decoded.append(path) or submit(self, path, *more)
    )
    left = curated(films, tmp_path / "set", "--workers", "1")
    again = {path.relative_to(films).as_posix() for path in decoded}
    assert "text.mp4" in again and not known & again
    assert left == curated(films, tmp_path / "one", "--workers", "1")
