"""A whole curation: the journal, the table, what is opened again, and films that are no films."""

from __future__ import annotations

import os
import shutil
import sys

import numpy as np
import pytest
from pyarrow import parquet

from cineloop.discovery import discover
from planted_films import shot, write
from v2t_eval.core.executor import ExecutorConfig
from v2t_eval.core.worker import MeasurementWorker
from v2t_eval.curate.recipe import read_plan
from v2t_eval.curate.run import curate
from v2t_eval.curate.table import JOURNAL, PARQUET, read_films

pytestmark = pytest.mark.slow
opened: list[str] = []
sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == "open" else None)


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """Two films of two shots, one of one shot, a copy of it, one of one colour."""
    folder = tmp_path_factory.mktemp("pile") / "films"
    write(folder / "a" / "x.mp4", shot(1), shot(2))
    write(folder / "b" / "x.mp4", shot(3), shot(4))
    write(folder / "one.mp4", shot(5))
    shutil.copy2(folder / "one.mp4", folder / "two.mp4")
    write(folder / "black.mp4", np.zeros_like(shot(1)))
    return folder


def curated(films, out, *sets, workers=1):
    return curate(
        discover([str(films)]), read_plan(None, sets), out, ExecutorConfig(workers=workers, cache=out / ".state")
    )


def table(out):
    return {row["id"]: row for row in parquet.read_table(out / PARQUET).to_pylist()}


def rules(out):
    return {id: [drop["rule"] for drop in row["drops"]] for id, row in table(out).items()}


@pytest.fixture(scope="module")
def done(films, tmp_path_factory):
    out = tmp_path_factory.mktemp("set")
    curated(films, out)
    return out


def test_files_of_one_name_in_two_folders_are_two_films(done):
    sources = [row["source"] for row in table(done).values()]
    assert sources.count("a/x.mp4") == sources.count("b/x.mp4") == 2
    assert len({row["source_sha"] for row in table(done).values()}) == 4  # one file is there twice


def test_a_clip_is_an_address_in_its_film(done):
    for id, row in table(done).items():
        assert id == f"{row['source']}#t={row['start_s']:.3f},{row['end_s']:.3f}"
        assert (row["width"], row["height"], row["fps"], row["codec"]) == (160, 96, 24.0, "h264")


def test_the_same_content_under_two_names_is_measured_once_and_found(films, tmp_path, monkeypatch):
    surveyed = []
    children = MeasurementWorker._children
    monkeypatch.setattr(MeasurementWorker, "_children", lambda self: surveyed.append(1) or children(self))
    curated(films, tmp_path, "limits.copy.most=0")
    assert len(surveyed) == 4
    found = table(tmp_path)
    copy = next(row for row in found.values() if row["source"] == "two.mp4")
    assert [drop["rule"] for drop in copy["drops"]] == ["copy.most"] and not copy["kept"]
    assert found[copy["duplicate_of"]]["source"] == "one.mp4"
    assert [row["kept"] for row in found.values()].count(False) == 1


def test_an_all_black_film_is_dropped_by_the_rule_on_black(films, done, tmp_path):
    shutil.copytree(done, tmp_path / "set")
    curated(films, tmp_path / "set", "limits.black_share.most=0.5")
    assert {id.split("#")[0] for id, drops in rules(tmp_path / "set").items() if drops} == {"black.mp4"}
    assert ["black_share.most"] in rules(tmp_path / "set").values()


def test_a_changed_limit_opens_no_film_and_other_settings_decode_none(films, done, tmp_path, monkeypatch):
    shutil.copytree(done, tmp_path / "set")
    monkeypatch.setattr(MeasurementWorker, "_children", lambda self: pytest.fail("a film is decoded"))
    before = len(opened)
    curated(films, tmp_path / "set", "limits.black_share.most=0.5")
    assert [name for name in opened[before:] if str(films) in name] == []
    curated(films, tmp_path / "set", "settings.split.longest_s=2.1")
    assert len(table(tmp_path / "set")) > len(table(done))
    again = curated(films, tmp_path / "set")  # and back: the same table as at first
    assert again.clips and (tmp_path / "set" / PARQUET).read_bytes() == (done / PARQUET).read_bytes()


def test_two_workers_give_the_bytes_of_one(films, done, tmp_path):
    curated(films, tmp_path, workers=2)
    assert (tmp_path / PARQUET).read_bytes() == (done / PARQUET).read_bytes()


def test_a_film_that_was_replaced_is_measured_anew(films, tmp_path):
    pile = shutil.copytree(films, tmp_path / "films")
    curated(pile, tmp_path / "set")
    write(pile / "one.mp4", shot(6), shot(7))
    curated(pile, tmp_path / "set")
    assert [row["source"] for row in table(tmp_path / "set").values()].count("one.mp4") == 2


def test_a_film_that_changes_while_it_is_read_fails_and_is_tried_again(films, tmp_path, monkeypatch):
    pile = tmp_path / "films"
    pile.mkdir()
    shutil.copy2(films / "one.mp4", pile)
    finish = MeasurementWorker.finish

    def touched(self, pending):
        reply = finish(self, pending)
        with open(pile / "one.mp4", "ab") as file:
            file.write(b"more")
        return reply

    with monkeypatch.context() as patch:
        patch.setattr(MeasurementWorker, "finish", touched)
        assert [film.error["code"] for film in curated(pile, tmp_path / "set").failed] == ["CHANGED"]
    assert rules(tmp_path / "set") == {"one.mp4": ["CHANGED"]}
    assert curated(pile, tmp_path / "set").failed == []


STEP = '''
from v2t_eval.curate.step import BaseStep, Column

class Step(BaseStep):
    """How bright the clip is."""

    name = "brightness"
    columns = {"brightness": Column("mean grey level", 0, 255)}

    def measure(self, clip):
        return {"brightness": float(clip.survey.thumbs[clip.frames].mean())%s}
'''


def test_a_step_of_the_users_own_is_one_file(films, tmp_path):
    step, recipe = tmp_path / "mine" / "brightness.py", tmp_path / "r.yaml"
    step.parent.mkdir()
    step.write_text(STEP % "")
    recipe.write_text(f"steps: [split, {step}]\nlimits: {{brightness: {{least: 20}}}}\n")
    config = ExecutorConfig(workers=1, cache=tmp_path / "state")
    curate(discover([str(films)]), read_plan(recipe), tmp_path / "set", config)
    assert {id.split("#")[0] for id, drops in rules(tmp_path / "set").items() if drops} == {"black.mp4"}


def test_an_edited_step_measures_anew_and_decodes_nothing(films, tmp_path, monkeypatch):
    step = tmp_path / "brightness.py"
    values = []
    for text in ("", " * 0.5"):
        step.write_text(STEP % text)
        config = ExecutorConfig(workers=1, cache=tmp_path / "state")
        curate(discover([str(films)]), read_plan(None, [f"steps=[split, {step}]"]), tmp_path / "set", config)
        values.append(max(row["scores"]["brightness"] for row in table(tmp_path / "set").values()))
        monkeypatch.setattr(MeasurementWorker, "_children", lambda self: pytest.fail("a film is decoded"))
    assert values[1] == pytest.approx(values[0] / 2)


def test_rows_of_a_manifest_are_films_of_their_own(films, tmp_path):
    pile = tmp_path / "films"
    write(pile / "x.mp4", shot(1), shot(2))
    rows = ('{"id": "first", "path": "x.mp4", "end_s": 1.0}', '{"id": "rest", "path": "x.mp4", "start_s": 1.0}')
    (pile / "manifest.jsonl").write_text("\n".join(rows) + "\n")
    config = ExecutorConfig(workers=1, cache=tmp_path / "state")
    for _ in range(2):
        curate(discover([str(pile / "manifest.jsonl")]), read_plan(None), tmp_path / "set", config)
        found = [(row["id"], row["source"], row["ends"]) for row in table(tmp_path / "set").values()]
        assert found == [("first#t=0.000,1.000", "x.mp4", "end"), ("rest#t=1.000,2.416", "x.mp4", "cut"),
                         ("rest#t=2.584,5.000", "x.mp4", "end")]  # fmt: skip


def test_a_step_that_fails_loses_its_films_and_is_named(films, tmp_path):
    step = tmp_path / "brightness.py"
    step.write_text(STEP % " / 0")
    config = ExecutorConfig(workers=1, cache=tmp_path / "state")
    plan = read_plan(None, [f"steps=[split, {step}]"])
    failed = curate(discover([str(films)]), plan, tmp_path / "set", config).failed
    assert len(failed) == 5 and {film.error["code"] for film in failed} == {"STEP_ERROR"}
    assert "step brightness" in failed[0].error["message"] and read_films(tmp_path / "set") == {}


def test_the_journal_keeps_what_was_measured_before(films, done, tmp_path):
    shutil.copytree(done, tmp_path / "set")
    size = os.path.getsize(tmp_path / "set" / JOURNAL)
    curated(films, tmp_path / "set", "settings.split.longest_s=2.1")
    assert os.path.getsize(tmp_path / "set" / JOURNAL) > size
    assert (tmp_path / "set" / JOURNAL).read_bytes()[:size] == (done / JOURNAL).read_bytes()
