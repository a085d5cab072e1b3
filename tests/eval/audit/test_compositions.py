"""Faults of composition: one thing is wrong, all that the prompt names is there, and the picture is another one."""

from __future__ import annotations

from itertools import count, islice

import numpy as np
import pytest

from cineloop.world.scenes.sampler import sample_scene
from cineloop.world.scenes.scene import Scene
from v2t_eval.audit.binding import composed_clips, questions_of
from v2t_eval.audit.clips import WorldAuditClip
from v2t_eval.audit.compositions import FAULTS_OF_KIND, NAMES, OF_NAME, scenes_of
from v2t_eval.semantics.composition import ACTION, CONSISTENT, DYNAMIC, INTERACTION, KINDS, MOTION, NUMERACY, SPATIAL


def scenes(kind: str, num: int) -> list[tuple[Scene, Scene]]:
    draws = (sample_scene("unseen", 11, index, max_events=2) for index in count())
    return list(islice(scenes_of(kind, draws), num))


def test_every_kind_has_a_fault() -> None:
    assert set(FAULTS_OF_KIND) == set(NAMES) == set(KINDS) and len(OF_NAME) == 7


@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_breaks_its_kind_and_keeps_the_rest(kind: str) -> None:
    for scene, broken in scenes(kind, 6):
        assert (broken.style, broken.shots, broken.seed, len(broken.actors)) == (
            scene.style, scene.shots, scene.seed, len(scene.actors),
        )  # fmt: skip
        kinds, colors = ({getattr(actor, of) for actor in scene.actors} for of in ("kind", "color"))
        assert {actor.kind for actor in broken.actors} == kinds and {actor.color for actor in broken.actors} == colors
        if kind == CONSISTENT:
            assert [a.color for a in broken.actors] == [a.color for a in scene.actors][::-1]
        elif kind == DYNAMIC:
            changed = [event.actor for event in scene.events if event.action in ("recolor", "grow", "shrink")]
            assert changed and all(e.action == "stand" for e in broken.events if e.actor in changed and e.action not in
                                   [o.action for o in scene.events])  # fmt: skip
            assert not any(event.action in ("recolor", "grow", "shrink") for event in broken.events)
        elif kind == SPATIAL:
            places = [[(a.x, a.y, a.depth) for a in one.actors] for one in (scene, broken)]
            assert places[0] != places[1] and broken.relations == scene.relations
        elif kind == MOTION:
            ways = [[event.direction for event in one.events if event.direction] for one in (scene, broken)]
            assert all({a, b} in ({"left", "right"}, {"up", "down"}) for a, b in zip(*ways, strict=True)) and ways[0]
            assert all(0 <= actor.x <= 1 and 0 <= actor.y <= 1 for actor in broken.actors)
        elif kind == ACTION:
            assert [e.actor for e in broken.events] == [1 - e.actor for e in scene.events]
        elif kind == INTERACTION:
            swapped = [a.kind for a in broken.actors] == [a.kind for a in scene.actors][::-1]
            assert swapped or (scene.events[0].action == "meet" and {e.action for e in broken.events} == {"stand"})
        elif kind == NUMERACY:
            gaps = [b.count - a.count for a, b in zip(scene.actors, broken.actors, strict=True)]
            assert sorted(map(abs, gaps))[-1] == 1 and sum(map(abs, gaps)) == 1
            assert all(1 <= actor.count <= 4 for actor in broken.actors)


@pytest.mark.parametrize("kind", KINDS)
def test_the_picture_is_another_one_and_the_question_asks_for_it(kind: str) -> None:
    (clip,) = composed_clips(kind, 1, 7)
    assert isinstance(clip.source, WorldAuditClip)
    clean, broken = (clip.sample(fault, 5 * bool(fault)).frames.pixels for fault in ("", NAMES[kind]))
    assert clean.shape == broken.shape and np.abs(clean.astype(int) - broken).max() > 40
    assert questions_of(kind, clip, is_closed=False)


def test_a_scene_that_cannot_have_the_fault_says_so() -> None:
    solo = WorldAuditClip(world="solo", seed=1, index=0)
    with pytest.raises(ValueError, match="swap-roles"):
        solo.corrupt("swap-roles", 5)
