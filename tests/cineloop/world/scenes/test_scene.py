"""The cartoon world: scenes are pure in their seed, splits keep their promise, and what is told can be seen."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest

from cineloop.world import vocabulary as words
from cineloop.world.scenes.dense import IGNORE, TARGETS, frame_batch
from cineloop.world.scenes.motion import track
from cineloop.world.scenes.render import label_masks, render
from cineloop.world.scenes.sampler import sample_crowd, sample_scene
from cineloop.world.scenes.scene import is_held_out
from cineloop.world.scenes.targets import TARGETS as FACTS
from cineloop.world.scenes.targets import fact_targets

N = 400
FACTS_DIGEST = "bde7a7d8c1fb3503"
PICTURES_DIGEST = "5edf35265d219734"


@pytest.fixture(scope="module")
def scenes():
    return [sample_scene("train", 11, i) for i in range(N)]


def test_a_scene_is_the_same_on_every_machine():
    facts = [sample_scene(split, 3, i).facts() for split in ("train", "seen", "unseen") for i in range(20)]
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    assert digest[:16] == FACTS_DIGEST


def test_the_pictures_are_the_same_on_every_machine():
    scenes = [sample_scene("seen", 3, i) for i in range(12)]
    frames = np.stack([render(s, (48, 64), times_s=np.linspace(0, s.duration_s, 3)) for s in scenes])
    assert hashlib.sha256(frames.tobytes()).hexdigest()[:16] == PICTURES_DIGEST


def test_splits_keep_held_out_combinations_apart():
    for split in ("train", "seen"):
        assert not any(is_held_out(*t) for i in range(200) for t in sample_scene(split, 5, i).triples())
    assert all(any(is_held_out(*t) for t in sample_scene("unseen", 5, i).triples()) for i in range(200))
    assert not any(is_held_out(*t) for i in range(200) for t in sample_crowd("train", 5, i).triples())


def test_at_least_a_tenth_of_the_combinations_is_held_out():
    every = [(k, c, a) for k in words.KINDS for c in words.COLORS for a in words.actions_of(k)]
    share = sum(is_held_out(*t) for t in every) / len(every)
    assert 0.10 <= share <= 0.16


@pytest.mark.slow
def test_the_world_is_rich(scenes):
    assert {a.kind for s in scenes for a in s.actors} == set(words.KINDS) and len(words.KINDS) >= 20
    assert {a.color for s in scenes for a in s.actors} == set(words.COLORS) and len(words.COLORS) >= 10
    assert {s.shots[0].place for s in scenes} == set(words.PLACES) and len(words.PLACES) >= 8
    assert {s.style for s in scenes} == set(words.STYLES)
    assert {shot.camera for s in scenes for shot in s.shots} == set(words.CAMERAS)
    actions = {e.action for i in range(2000) for e in sample_scene("train", 12, i).events}
    assert actions >= set(words.ACTIONS) - {"stand"} and len(actions) >= 14
    assert {a.count for s in scenes for a in s.actors} == {1, 2, 3, 4}
    assert {len(s.events) for s in scenes} >= {1, 2, 3}


def test_events_lie_in_order_inside_their_shot(scenes):
    for scene in scenes:
        starts = [e.start_s for e in scene.events]
        assert all(b > a - 0.06 for a, b in zip(starts, starts[1:], strict=False))
        for event in scene.events:
            shot = scene.shots[event.shot]
            assert shot.start_s - 1e-6 <= event.start_s < event.end_s <= shot.end_s + 1e-6
            assert event.target is None or scene.actors[event.target].shot == event.shot


def test_travellers_go_where_they_are_told_to_and_how_fast(scenes):
    paces = {"slow": [], "fast": []}
    for scene in scenes:
        for event in scene.events:
            if event.action not in words.TRAVEL:
                continue
            ends = track(scene, event.actor, np.array([event.start_s, event.end_s]))
            dx, dy = ends.x[1] - ends.x[0], ends.y[1] - ends.y[0]
            way = {"left": -dx, "right": dx, "up": -dy, "down": dy}[event.direction]
            assert way > 0.08
            speed = event.speed or {"walk": "slow", "run": "fast"}[event.action]
            paces[speed].append(way / (event.end_s - event.start_s))
    assert max(paces["slow"]) < 0.8 * min(paces["fast"])


def test_every_told_actor_is_seen_and_every_figure_counted(scenes):
    for scene in scenes[:120]:
        times = np.linspace(0, scene.duration_s, 9)
        masks, centres, _ = label_masks(scene, times, (64, 64))
        for index, actor in enumerate(scene.actors):
            copies = [label for label in centres if label // 4 == index]
            assert len(copies) == actor.count
            for label in copies:
                assert max((masks == label).sum(axis=(1, 2))) >= 12, (scene.facts(), label)


@pytest.mark.slow
def test_any_size_rate_and_length():
    scene = sample_scene("train", 2, 5)
    assert render(scene, (33, 71), fps=23.976).shape[1:] == (33, 71, 3)
    assert len(render(scene, (32, 32), times_s=np.array([0.0]))) == 1
    assert 0.04 <= sample_scene("train", 2, 1, seconds=(0.04, 0.04)).duration_s <= 0.0401
    film = sample_scene("train", 2, 1, seconds=(3600, 3600))
    assert abs(film.duration_s - 3600) < 0.01 and len(film.events) >= 200
    with pytest.raises(ValueError, match="at least 8"):
        render(scene, (4, 4), fps=8)
    with pytest.raises(ValueError, match="split must be"):
        sample_scene("test", 0, 0)


def test_a_frame_does_not_depend_on_the_others():
    scene = sample_scene("seen", 4, 7)
    times = np.linspace(0, scene.duration_s, 6)
    whole = render(scene, (64, 64), times_s=times)
    alone = np.concatenate([render(scene, (64, 64), times_s=times[i : i + 1]) for i in range(6)])
    assert np.array_equal(whole, alone)


def test_dense_truth_has_its_shapes_and_names_what_the_scene_holds():
    batch = frame_batch("seen", 1, 0, 16)
    assert batch["pixels"].shape == (16, 64, 64, 3) and batch["kind"].shape == (16, 64)
    for name, target in TARGETS.items():
        if target.classes:
            known = batch[name][batch[name] != IGNORE]
            assert known.size and known.min() >= 0 and known.max() < target.classes
    figure = batch["kind"] > 0
    assert np.array_equal(figure, batch["color"] != IGNORE) and np.array_equal(
        figure, ~np.isnan(batch["offset"][..., 0])
    )
    again = frame_batch("seen", 1, 8, 8)
    assert np.array_equal(batch["pixels"][8:], again["pixels"])


def test_fact_targets_are_in_range(scenes):
    for scene in scenes:
        for name, value in fact_targets(scene).items():
            assert value == -100 or 0 <= value < FACTS[name][1], name
    first = fact_targets(scenes[0])
    assert first["actor0_kind"] == list(words.KINDS).index(scenes[0].actors[0].kind)


def test_a_film_drawn_bit_by_bit_is_the_film_drawn_at_once(monkeypatch):
    from cineloop.world.scenes import render as module

    scene = sample_scene("train", 3, 4, seconds=(9.0, 9.0))
    monkeypatch.setattr(module, "_FRAMES_AT_ONCE", 7)
    bits = np.stack(list(module.render_film(scene, (48, 64), 12.0)))
    assert len(scene.shots) > 1 and np.array_equal(bits, module.render(scene, (48, 64), fps=12.0))
