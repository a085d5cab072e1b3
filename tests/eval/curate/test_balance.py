"""Balance and partition: clusters and caps that repeat, no film and no copy on both sides, what a manifest says."""

from __future__ import annotations

import json

import numpy as np
import pytest
from pyarrow import parquet

from cineloop.discovery import discover
from cineloop.errors import UsageError
from planted_films import shot, write
from v2t_eval.core.executor import ExecutorConfig
from v2t_eval.curate.clip import FilmClip
from v2t_eval.curate.query import apply_limits
from v2t_eval.curate.recipe import read_plan
from v2t_eval.curate.run import curate, read_origins
from v2t_eval.curate.step import Work
from v2t_eval.curate.steps import balance, partition
from v2t_eval.curate.steps.copies import Step as Copies
from v2t_eval.curate.table import PARQUET


def rows(num, sources=1):
    return [
        FilmClip(
            id=f"f{n % sources}#t={n}.000,{n + 1}.000",
            source=f"f{n % sources}",
            source_sha=f"f{n % sources}",
            start_s=float(n),
            end_s=n + 1.0,
        )
        for n in range(num)
    ]


def examined(tmp_path, vectors, table, **settings):
    step = balance.Step(**settings)
    evidence = {clip.id: {"vector": np.array(vector)} for clip, vector in zip(table, vectors, strict=True)
                if vector is not None}  # fmt: skip
    step.known = step.examine(table, Work(folder=tmp_path, file=None, evidence=lambda *_: evidence))
    return step


def test_like_clips_are_one_cluster_and_there_are_at_most_a_tenth_as_many_clusters_as_clips(tmp_path):
    rng = np.random.default_rng(0)
    axes = np.eye(3)[np.arange(60) % 3] + 0.05 * rng.standard_normal((60, 3))
    step = examined(tmp_path, axes, rows(60), clusters=3)
    found = step.compare(rows(60)).columns["cluster"]
    assert [found[n] == found[m] for n in range(60) for m in range(60)] == [
        n % 3 == m % 3 for n in range(60) for m in range(60)
    ]
    assert set(examined(tmp_path, axes, rows(60), clusters=50).compare(rows(60)).columns["cluster"]) <= set(range(6))
    assert examined(tmp_path, axes, rows(60), clusters=3).known == step.known


def test_fewer_clips_than_clusters_and_clips_without_a_picture(tmp_path):
    step = examined(tmp_path, [[1.0, 0.0], None, [0.0, 1.0]], rows(3), clusters=9)
    found = step.compare(rows(3)).columns
    assert found["cluster"] == [0, None, 0] and sorted(found["cluster_place"], key=str) == [1, 2, None]
    assert examined(tmp_path, [None], rows(1)).compare(rows(1)).columns["cluster"] == [None]
    assert step.compare([]).columns == {"cluster": [], "cluster_place": [], "source_place": []}


def test_caps_keep_so_many_of_a_cluster_and_of_a_source():
    plan = read_plan(None, ["steps=[balance]", "limits.cluster_place.most=4", "limits.source_place.most=2"])
    table = rows(30, sources=5)
    plan.steps[0].known = {"cluster": {clip.id: n % 2 for n, clip in enumerate(table)}}
    kept = [clip for clip, drops in zip(table, apply_limits(plan, table).drops, strict=True) if not drops]
    assert max(np.bincount([int(clip.scores["cluster"]) for clip in kept])) <= 4
    assert kept and max(sum(clip.source == f"f{n}" for clip in kept) for n in range(5)) <= 2


def test_another_clip_moves_none_of_those_before_it():
    step = balance.Step()
    table = rows(40)
    step.known = {"cluster": {clip.id: 0 for clip in table}}
    every = step.compare(table).columns["cluster_place"]
    fewer = step.compare(table[:-1]).columns["cluster_place"]
    order = sorted(range(39), key=lambda n: every[n])
    assert [fewer[n] for n in order] == list(range(1, 40))


def splits(table, *, clips=(), same=(), **settings):
    """The sides of a table; of `clips`, which limits have dropped, some are the `same` as others."""
    step, copies = partition.Step(**settings), Copies()
    copies.same = same
    step.work = Work(folder=None, file=None, evidence=None, clips=[*table, *clips], steps=[copies, step])
    return dict(zip([clip.id for clip in table], step.compare(table).links["split"], strict=True))


def test_no_source_is_on_both_sides_and_about_the_share_is_for_validation():
    table = rows(600, sources=200)
    found = splits(table, val=0.2)
    sides = {source: {found[c.id] for c in table if c.source == source} for source in {c.source for c in table}}
    assert all(len(side) == 1 for side in sides.values())
    assert 0.1 < list(found.values()).count("val") / 600 < 0.3
    assert splits(rows(600, sources=200), val=0.2) == found != splits(rows(600, sources=200), val=0.2, seed=1)


def test_copies_are_on_one_side_even_of_a_clip_that_is_gone():
    for seed in range(20):
        table = rows(12, sources=6)
        table[0].links.duplicate_of = table[1].links.duplicate_of = "f9#t=0.000,1.000"
        found = splits(table, val=0.5, seed=seed)
        assert found[table[0].id] == found[table[1].id]
        assert set(found.values()) == {"train", "val"}


def test_a_film_and_its_copy_are_on_one_side_where_the_copies_themselves_are_dropped():
    """Of films 0 to 5, the film 1 shows in one clip what film 0 shows: that clip is dropped, the others of it stay."""
    for seed in range(200):
        table = rows(24, sources=6)
        found = splits(table[:1] + table[2:], clips=[table[1]], same=[(table[0].id, table[1].id)], seed=seed)
        assert len({side for id, side in found.items() if id.startswith(("f0#", "f1#"))}) == 1


def test_a_dropped_copy_joins_what_the_manifest_calls_its_source():
    for seed in range(20):
        table = rows(6, sources=6)
        table[1].origin = table[2].origin = "archive"
        pair = (table[0].id, table[1].id)
        found = splits(table[:1] + table[2:], clips=[table[1]], same=[pair], val=0.5, seed=seed)
        assert found[table[0].id] == found[table[2].id]


def test_what_the_manifest_calls_one_source_is_on_one_side():
    table = rows(40, sources=20)
    for clip in table:
        clip.origin = f"film {int(clip.source[1:]) % 2}"
    found = splits(table, val=0.5)
    assert len({(clip.origin, found[clip.id]) for clip in table}) == 2


def test_one_source_is_for_training():
    assert set(splits(rows(5)).values()) == {"train"}


@pytest.mark.slow
def test_licence_and_source_are_carried_from_a_manifest(tmp_path):
    write(tmp_path / "a.mp4", shot(1))
    write(tmp_path / "b.mp4", shot(2))
    about = [{"id": "a", "path": "a.mp4", "license": "CC-BY-4.0", "source": "archive 7"}, {"id": "b", "path": "b.mp4"}]
    manifest = tmp_path / "films.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in about))
    plan = read_plan(None, ["steps=[probe, shape, partition]"])
    out = tmp_path / "set"
    curate(discover([str(manifest)]), plan, out, ExecutorConfig(cache=out / ".state"), given=read_origins(manifest))
    found = {row["source"]: row for row in parquet.read_table(out / PARQUET).to_pylist()}
    assert (found["a.mp4"]["license"], found["a.mp4"]["origin"]) == ("CC-BY-4.0", "archive 7")
    assert found["b.mp4"]["license"] is None and {row["split"] for row in found.values()} == {"train", "val"}
    manifest.write_text(json.dumps(about[0] | {"license": 4}) + "\n")
    with pytest.raises(UsageError, match="'license' of 'a' must be a text"):
        read_origins(manifest)
