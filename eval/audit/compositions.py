"""Faults of composition: scenes of the cartoon world in which what is there is bound to the wrong thing.

In: a scene. Out: the scene with one fault of a kind of `v2t_eval.semantics.composition`, to be rendered anew, or None
where it cannot have that fault. Everything that the prompt names is still there, so a metric that only looks for words
sees nothing: colours exchanged, a change that does not happen, two figures that changed places, ways reversed, actions
exchanged, chaser and chased exchanged, one figure more or less.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from cineloop.world import vocabulary as words
from cineloop.world.scenes.scene import Actor, Event, Scene
from v2t_eval.semantics.composition import (
    ACTION,
    CONSISTENT,
    DYNAMIC,
    INTERACTION,
    MOTION,
    NUMERACY,
    SPATIAL,
)

_OPPOSITE = {"left": "right", "right": "left", "up": "down", "down": "up"}
_CHANGES = ("recolor", "grow", "shrink")
_MOST = 4  # figures of a group
MAX_SECONDS = 5.0


def swapped_colors(scene: Scene) -> Scene | None:
    """Two figures of different colours with these exchanged."""
    if len(scene.actors) != 2 or scene.actors[0].color == scene.actors[1].color:
        return None
    if any(event.action == "recolor" for event in scene.events):
        return None
    first, second = scene.actors
    return replace(scene, actors=(replace(first, color=second.color), replace(second, color=first.color)))


def missing_change(scene: Scene) -> Scene | None:
    """Without the change of colour or size: the figure stands still instead."""
    if not any(event.action in _CHANGES for event in scene.events):
        return None
    events = tuple(_standing(event) if event.action in _CHANGES else event for event in scene.events)
    return replace(scene, events=events)


def swapped_places(scene: Scene) -> Scene | None:
    """Two figures in a relation with the relation turned round, or, of inside, ended."""
    if len(scene.relations) != 1 or len(scene.actors) != 2:
        return None
    (relation,) = scene.relations
    a, b = scene.actors[relation.a], scene.actors[relation.b]
    if relation.relation in ("left of", "above"):
        a, b = replace(a, x=b.x, y=b.y), replace(b, x=a.x, y=a.y)
    elif relation.relation == "behind":
        a, b = replace(a, depth=1.0), replace(b, depth=-1.0)
    else:
        a = replace(a, x=0.14)
    actors = list(scene.actors)
    actors[relation.a], actors[relation.b] = a, b
    return replace(scene, actors=tuple(actors))


def reversed_ways(scene: Scene) -> Scene | None:
    """Every figure that goes somewhere goes there backwards: it starts where it ended."""
    goes = [event for event in scene.events if event.direction and event.travel and event.target is None]
    if not goes or len({event.actor for event in goes}) < len(goes):
        return None
    if any(event.action in ("turn", "stop") for event in scene.events):
        return None
    actors, events = list(scene.actors), list(scene.events)
    for number, event in enumerate(events):
        if event in goes and event.direction:
            actors[event.actor] = _from_the_end(actors[event.actor], event)
            events[number] = replace(event, direction=_OPPOSITE[event.direction])
    return replace(scene, actors=tuple(actors), events=tuple(events))


def swapped_actions(scene: Scene) -> Scene | None:
    """Two figures that each do one thing on the spot, with what they do exchanged."""
    if len(scene.actors) != 2 or len(scene.events) != 2 or {event.actor for event in scene.events} != {0, 1}:
        return None
    first, second = scene.events
    if first.action == second.action or first.direction or second.direction or first.target is not None:
        return None
    for event in scene.events:
        other = scene.actors[1 - event.actor]
        if event.action not in (*words.actions_of(other.kind), "stand") or event.to_color == other.color:
            return None
    return replace(scene, events=tuple(replace(event, actor=1 - event.actor) for event in scene.events))


def swapped_roles(scene: Scene) -> Scene | None:
    """Two figures that meet, chase, pass, bump or hide, with their looks exchanged; two who meet stand still."""
    if len(scene.actors) != 2 or len(scene.events) != 1 or scene.events[0].target is None:
        return None
    (event,) = scene.events
    if event.action == "meet":
        return replace(scene, events=(_standing(event), replace(_standing(event), actor=event.target or 0)))
    a, b = scene.actors
    if (a.kind in words.FLYERS) != (b.kind in words.FLYERS):
        return None
    exchanged = replace(a, kind=b.kind, color=b.color), replace(b, kind=a.kind, color=a.color)
    return replace(scene, actors=exchanged)


def other_count(scene: Scene) -> Scene | None:
    """The first group of two figures or more with one more, or where that does not fit one less."""
    number = next((n for n, actor in enumerate(scene.actors) if actor.count > 1), None)
    if number is None:
        return None
    actor = scene.actors[number]
    more = actor.count + 1 if actor.size == "small" and actor.count < _MOST and scene.seed % 2 else actor.count - 1
    actors = [replace(each, count=more) if n == number else each for n, each in enumerate(scene.actors)]
    return replace(scene, actors=tuple(actors))


def _standing(event: Event) -> Event:
    return replace(event, action="stand", direction=None, speed=None, to_color=None, target=None, travel=0.0)


def _from_the_end(actor: Actor, event: Event) -> Actor:
    forward = 1 if event.direction in ("right", "down") else -1
    if event.direction in ("up", "down"):
        return replace(actor, y=actor.y + forward * event.travel)
    return replace(actor, x=actor.x + forward * event.travel, facing=-forward)


FAULTS_OF_KIND: dict[str, Callable[[Scene], Scene | None]] = {
    CONSISTENT: swapped_colors,
    DYNAMIC: missing_change,
    SPATIAL: swapped_places,
    MOTION: reversed_ways,
    ACTION: swapped_actions,
    INTERACTION: swapped_roles,
    NUMERACY: other_count,
}


NAMES = {CONSISTENT: "swap-colors", DYNAMIC: "no-change", SPATIAL: "swap-places", MOTION: "backwards",
         ACTION: "swap-actions", INTERACTION: "swap-roles", NUMERACY: "other-count"}  # fmt: skip
OF_NAME = {name: FAULTS_OF_KIND[kind] for kind, name in NAMES.items()}


def suits(scene: Scene) -> bool:
    """Whether it is one shot of a still camera, and short."""
    return len(scene.shots) == 1 and scene.shots[0].camera == "static" and scene.duration_s <= MAX_SECONDS


def scenes_of(kind: str, draws: Iterator[Scene]) -> Iterator[tuple[Scene, Scene]]:
    """Scenes that can have the kind's fault, without and with it."""
    for scene in draws:
        broken = FAULTS_OF_KIND[kind](scene) if suits(scene) else None
        if broken is not None:
            yield scene, broken
