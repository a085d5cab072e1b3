"""Near copies: all near pairs are found, copies are told from like clips, the best is kept, leaks are named."""

from __future__ import annotations

import numpy as np
import pytest
from pyarrow import parquet

from cineloop.discovery import discover
from planted_films import picture, shot, write
from v2t_eval.core.executor import ExecutorConfig
from v2t_eval.curate import near
from v2t_eval.curate.clip import FilmClip
from v2t_eval.curate.near import groups, near_pairs
from v2t_eval.curate.overlay import SIZE, same_pictures
from v2t_eval.curate.recipe import read_plan
from v2t_eval.curate.run import curate, held_out_films
from v2t_eval.curate.steps.near_copies import Step
from v2t_eval.curate.table import PARQUET


def vectors(num: int, width: int, seed: int = 0) -> np.ndarray:
    """Unit vectors of which many are near each other."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((num // 4, width))
    found = centres[rng.integers(0, len(centres), num)] + 0.2 * rng.standard_normal((num, width))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("width", [8, 200])
@pytest.mark.parametrize("is_other", [False, True])
def test_near_pairs_are_those_of_the_whole_product(monkeypatch, width, is_other):
    monkeypatch.setattr(near, "_ROWS", 30)
    monkeypatch.setattr(near, "_COLUMNS", 70)
    one = vectors(300, width)
    other = vectors(300, width, 0)[::-1].copy() if is_other else one
    pairs, cosines = near_pairs(one, 0.93, other if is_other else None, most=300)
    product = np.triu(one @ other.T, 1)
    assert len(pairs) > 20 and pairs.tolist() == np.argwhere(product >= 0.93).tolist()
    np.testing.assert_allclose(cosines, product[tuple(pairs.T)], atol=1e-5)


def test_a_crowd_of_like_vectors_stays_one_group_with_bounded_pairs():
    crowd = np.repeat(vectors(8, 64)[:1], 900, 0)
    crowd = np.concatenate([crowd, vectors(8, 64)[1:2]])
    pairs, _ = near_pairs(crowd, 0.99, most=5)
    assert np.bincount(pairs[:, 0]).max() == 5
    labels = groups(len(crowd), pairs)
    assert len(set(labels[:900].tolist())) == 1 and labels[900] not in labels[:900]


def frames(seed: int, square: tuple[int, int, int] = (250, 40, 40)) -> np.ndarray:
    """Five small pictures in which a square moves."""
    found = np.stack([picture(seed, SIZE)] * 5)
    for n, frame in enumerate(found):
        frame[20:26, 10 + 15 * n : 16 + 15 * n] = square
    return found


def test_another_thing_in_the_same_place_is_another_clip():
    assert same_pictures(frames(1), frames(1))
    assert not same_pictures(frames(1), frames(1, (40, 40, 250)))
    assert not same_pictures(frames(1), frames(2))


def test_a_logo_in_a_corner_a_crop_and_a_mirror_image_are_the_same_pictures():
    import cv2

    one = frames(3)
    logo = one.copy()
    logo[:, 2:9, 2:16] = 255
    assert same_pictures(one, logo)
    middle = one.copy()
    middle[:, 22:30, 40:56] = 255
    assert not same_pictures(one, middle)
    height, width = SIZE
    crop = np.stack([cv2.resize(frame[3:-3, 5:-5], (width, height)) for frame in one])
    assert same_pictures(one, crop)
    mirror = np.ascontiguousarray(one[:, :, ::-1])
    assert same_pictures(one, mirror, is_mirrored=True) and not same_pictures(one, mirror)


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
