"""A generation on a cluster, with workers in threads: the run folder is that of the plain run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import stand_in_engine
from cineloop.cluster import journals
from cineloop.cluster.settings import ClusterConfig
from t2v.generate import cluster
from t2v.generate.folder import ClipFolder
from t2v.generate.run import run
from t2v.generate.settings import GenerateConfig

CLUSTER = ClusterConfig(engine="ray", model_workers="1..2")
PROMPTS = [f"A red ball rolls to the {way}." for way in ("left", "right")] + ["A dog jumps."]
SMALL = {"generator": "world", "num_frames": 4, "height": 32, "width": 32, "batch_size": 2, "num_videos": 2}


def go(out: Path, prompts=PROMPTS, cluster=CLUSTER, **changes):
    return run(prompts, [], out, GenerateConfig(cluster=cluster, **SMALL, **changes))


def content(out: Path) -> dict[str, object]:
    found: dict[str, object] = {path.name: path.read_bytes() for path in (out / "clips").iterdir()}
    for name in ("manifest.jsonl", "failures.jsonl"):
        lines = (out / name).read_text().splitlines() if (out / name).exists() else []
        found[name] = [{**json.loads(line), "seconds": None} for line in lines]
    return found


@pytest.mark.slow
def test_the_folder_is_that_of_the_plain_run(engines, tmp_path):
    plain = go(tmp_path / "plain", cluster=ClusterConfig())
    there = go(tmp_path / "there")
    assert plain.made == there.made == 6 and plain.exit_code == there.exit_code == 0 and len(engines) == 1
    assert content(tmp_path / "plain") == content(tmp_path / "there")
    assert not journals.journals(tmp_path / "there/.cineloop")
    assert go(tmp_path / "there").skipped == 6 and len(engines) == 1


@pytest.mark.slow
def test_a_prompt_that_kills_its_workers_is_a_failure(engines, tmp_path, monkeypatch):
    real = cluster.GeneratorModel.answer

    def answer(self, items, bulks):
        if any("dog" in clip.request.prompt for clip, _ in items):
            raise stand_in_engine.Death("signal 9")
        return real(self, items, bulks)

    monkeypatch.setattr(cluster.GeneratorModel, "answer", answer)
    summary = go(tmp_path / "out")
    assert summary.made == 4 and summary.exit_code == 3
    assert {row["error"]["code"] for row in summary.failures} == {"WORKER_DIED"}


@pytest.mark.slow
def test_what_was_generated_twice_is_counted(engines, tmp_path, monkeypatch, caplog):
    stand_in_engine.lose_the_first_answer(monkeypatch, cluster.GeneratorModel, "answer")
    with caplog.at_level("INFO", logger="cineloop"):
        summary = go(tmp_path / "out")
    assert summary.made == 6 and "2 clips generated twice after a lost worker" in caplog.text
    assert len((tmp_path / "out/manifest.jsonl").read_text().splitlines()) == 6


@pytest.mark.slow
def test_what_a_dead_driver_left_is_taken_over(engines, tmp_path, monkeypatch):
    with monkeypatch.context() as patched, pytest.raises(stand_in_engine.DeadDriver):
        stand_in_engine.die_at(patched, ClipFolder, "add")
        go(tmp_path / "out")
    entries = stand_in_engine.entries_of_workers(tmp_path / "out/.cineloop")
    answered = {entry["row"]["id"] for entry in entries if entry["kind"] == "clip"}
    summary = go(tmp_path / "out", cluster=ClusterConfig())
    assert answered and summary.skipped == len(answered) and summary.made == 6 - len(answered)
    go(tmp_path / "plain", cluster=ClusterConfig())
    assert content(tmp_path / "plain") == content(tmp_path / "out")
