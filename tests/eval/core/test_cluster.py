"""A scoring on a cluster, with workers in threads: figures, evidence and failures are those of one process."""

from __future__ import annotations

from pathlib import Path

import pytest

import planted_metrics as planted
import stand_in_engine
from cineloop.cluster import journals
from cineloop.cluster.settings import ClusterConfig
from planted_metrics import write_clip
from sounding_films import sweep, write_film
from v2t_eval.cli import main
from v2t_eval.core.cluster import EvidenceModel, place_on
from v2t_eval.core.executor import Executor
from v2t_eval.core.inputs import read_inputs
from v2t_eval.core.metric import load_metric
from v2t_eval.core.score import ScoreConfig, score

CLUSTER = ClusterConfig(engine="ray", decode_workers="1..2", model_workers="1..2")


class Deadly(planted.Bright):
    """Kills the worker that measures a clip called so."""

    name = "deadly"

    def measure(self, sample):
        if "killed" in sample.id:
            raise stand_in_engine.Death("signal 9")
        return super().measure(sample)


def on_cluster(state: Path, **changes) -> ScoreConfig:
    state.mkdir(exist_ok=True)
    return ScoreConfig(cache=state, place=place_on(CLUSTER, state, state), **changes)


def facts(scores) -> list[dict]:
    return [result.as_dict() for result in scores.results] + [scores.as_dict()["clips"]]


@pytest.mark.slow
def test_the_scores_are_those_of_one_process(clips, engines, tmp_path):
    for name in ("a nan", "b breaks", "c short"):
        write_clip(clips / f"{name}.mp4", 50)
    (clips / "d damaged.mp4").write_bytes(b"not a video at all")
    (clips / "e empty.mp4").write_bytes(b"")
    given = {"reference_videos": clips, "reference_clips": clips}

    def made():
        return [planted.Bright(), planted.Faulty(), planted.Gap()]

    plain = score(read_inputs(clips, **given), made(), ScoreConfig())
    there = score(read_inputs(clips, **given), made(), on_cluster(tmp_path / "state"))
    known = score(read_inputs(clips, **given), made(), ScoreConfig(cache=tmp_path / "state"))
    assert facts(plain) == facts(there) == facts(known) and there.exit_code == 3
    assert len(engines) == 1 and not journals.journals(tmp_path / "state")


def test_what_is_cached_needs_no_cluster(clips, engines, tmp_path):
    score(read_inputs(clips), [planted.Bright()], on_cluster(tmp_path / "state"))
    score(read_inputs(clips), [planted.Bright()], on_cluster(tmp_path / "state"))
    assert len(engines) == 1


@pytest.mark.slow
def test_a_clip_that_kills_its_workers_costs_itself(clips, engines, tmp_path):
    write_clip(clips / "0 killed.mp4", 77)
    scores = score(read_inputs(clips), [Deadly()], on_cluster(tmp_path / "state"))
    (failure,) = scores.result("deadly").failures
    assert (failure["id"], failure["code"]) == ("0 killed.mp4", "WORKER_DIED")
    assert scores.result("deadly").coverage == 0.8


@pytest.mark.slow
def test_what_was_measured_twice_is_counted(clips, engines, tmp_path, monkeypatch, caplog):
    stand_in_engine.lose_the_first_answer(monkeypatch, EvidenceModel, "answer")
    with caplog.at_level("INFO", logger="cineloop"):
        scores = score(read_inputs(clips), [planted.Bright()], on_cluster(tmp_path / "state"))
    assert scores.result("bright").coverage == 1 and "1 clip measured twice after a lost worker" in caplog.text


@pytest.mark.slow
def test_what_a_dead_driver_left_is_taken_over(clips, engines, tmp_path, monkeypatch):
    state = tmp_path / "state"
    with monkeypatch.context() as patched, pytest.raises(stand_in_engine.DeadDriver):
        stand_in_engine.die_at(patched, Executor, "keep")
        score(read_inputs(clips), [planted.Bright()], on_cluster(state))
    answered = {entry["id"] for entry in stand_in_engine.entries_of_workers(state) if entry["kind"] == "evidence"}
    assert answered
    measured = []
    real = EvidenceModel.answer

    def noting(self, items, bulks):
        measured.append(items[0][0].sample.id)
        return real(self, items, bulks)

    monkeypatch.setattr(EvidenceModel, "answer", noting)
    scores = score(read_inputs(clips), [planted.Bright()], on_cluster(state))
    assert scores.result("bright").coverage == 1 and not answered & set(measured)
    assert not journals.journals(state)


def test_a_cluster_needs_a_folder(clips, engines, capsys):
    assert main(["score", str(clips), "--metrics", "sharpness", "--cluster", "ray"]) == 2 and not engines
    assert "needs an output folder" in capsys.readouterr().err


@pytest.mark.slow
def test_sound_is_heard_on_a_cluster(engines, tmp_path):
    films = tmp_path / "films"
    films.mkdir()
    write_film(films / "tone.mkv", [(sweep(2, 16_000), 16_000, 0.0)], seconds=2, codec="flac")
    write_film(films / "muted.mkv", [(0 * sweep(2, 16_000), 16_000, 0.0)], seconds=2, codec="flac")
    write_film(films / "none.mkv", [], seconds=1)
    metrics = [load_metric(name)() for name in ("silence", "loudness")]
    plain = score(read_inputs(films), metrics, ScoreConfig())
    metrics = [load_metric(name)() for name in ("silence", "loudness")]
    there = score(read_inputs(films), metrics, on_cluster(tmp_path / "state"))
    assert [result.as_dict() for result in plain.results] == [result.as_dict() for result in there.results]
    assert [len(result.items) for result in there.results] == [2, 2]
