"""Near copies of films: the best of a group is kept, leaks are named."""

from __future__ import annotations

import numpy as np
import pytest
from pyarrow import parquet

from cineloop.discovery import discover
from planted_films import shot, write
from v2t_eval.core.executor import ExecutorConfig
from v2t_eval.curate.clip import FilmClip
from v2t_eval.curate.recipe import read_plan
from v2t_eval.curate.run import curate, held_out_films
from v2t_eval.curate.steps.near_copies import Step
from v2t_eval.curate.table import PARQUET


def rows(*sizes: int) -> list[FilmClip]:
    return [
        FilmClip(id=f"{n}", source="x", width=size, height=size, end_s=4.0, scores={"sharpness": float(n)})
        for n, size in enumerate(sizes)
    ]


def test_the_largest_then_the_sharpest_of_a_group_is_kept():
    step = Step()
    step.known = {"pairs": [["0", "1", False], ["1", "2", False], ["3", "4", True]], "held_out": []}
    compared = step.compare(rows(100, 200, 100, 100, 100))
    found = compared.columns
    assert found["near_copy"] == [1, 0, 1, 0, 0]
    assert found["mirrored_copy"] == [0, 0, 0, 1, 0]  # of 3 and 4, equally large, 4 is sharper
    assert compared.links["duplicate_of"] == ["1", None, "1", "4", None]


def test_where_the_best_is_gone_the_next_best_is_kept():
    step = Step()
    step.known = {"pairs": [["0", "1", False], ["0", "2", False], ["1", "2", False]], "held_out": []}
    assert step.compare(rows(100, 300, 200)[::2]).columns["near_copy"] == [1, 0]


def test_a_copy_of_a_copy_of_a_held_out_clip_is_a_leak():
    step = Step()
    step.known = {"pairs": [["0", "1", False], ["1", "held/x", True]], "held_out": ["held/x"]}
    compared = step.compare(rows(100, 100, 100))
    assert compared.columns["leak"] == [1, 1, 0]
    assert compared.links["leak_of"] == ["held/x", "held/x", None]


PLAIN = ["steps=[probe, shape, sharpness, near_copies]", "settings.near_copies.model=''"]


def curated(films, out, *sets, against=()):
    plan = read_plan(None, [*PLAIN, *sets], is_against=bool(against))
    curate(discover([str(films)]), plan, out, ExecutorConfig(cache=out / ".state"), against=against)
    return {row["source"]: row for row in parquet.read_table(out / PARQUET).to_pylist()}


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """A clip, a smaller copy, its mirror image, a like clip with another square, another clip."""
    import cv2

    folder = tmp_path_factory.mktemp("copies") / "films"
    one = shot(1)
    write(folder / "one.mp4", one)
    write(folder / "small.mp4", np.stack([cv2.resize(f, (120, 72), interpolation=cv2.INTER_AREA) for f in one]), crf=30)
    write(folder / "mirrored.mp4", np.ascontiguousarray(one[:, :, ::-1]))
    twin = one.copy()
    twin[(one == (250, 40, 40)).all(-1)] = (40, 220, 40)
    write(folder / "twin.mp4", twin)
    write(folder / "two.mp4", shot(2))
    return folder


@pytest.mark.slow
def test_copies_are_found_in_films_and_like_clips_are_not_joined(films, tmp_path, monkeypatch):
    found = curated(films, tmp_path, "limits.near_copy.most=0")
    assert {name for name, row in found.items() if not row["kept"]} == {"small.mp4"}
    assert found["small.mp4"]["duplicate_of"] == found["one.mp4"]["id"]
    mirror = [row["scores"]["mirrored_copy"] for row in (found["one.mp4"], found["mirrored.mp4"])]
    assert sorted(mirror) == [0, 1]
    monkeypatch.setattr(Step, "examine", lambda *_: pytest.fail("pictures are looked at again for another limit"))
    again = curated(films, tmp_path, "limits.mirrored_copy.most=0")
    assert sum(row["kept"] for row in again.values()) == 4


@pytest.mark.slow
def test_a_clip_of_a_held_out_set_is_dropped_and_named(films, tmp_path):
    write(tmp_path / "exam" / "asked.mp4", shot(2), crf=32)
    found = curated(films, tmp_path / "set", against=held_out_films(tmp_path / "exam"))
    assert {name for name, row in found.items() if not row["kept"]} == {"two.mp4"}
    assert [drop["rule"] for drop in found["two.mp4"]["drops"]] == ["leak.most"]
    assert found["two.mp4"]["leak_of"].startswith("held-out:exam/asked.mp4#t=") and len(found) == 5
