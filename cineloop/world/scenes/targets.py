"""The facts of a clip as class numbers: what linear heads on a few query tokens learn during alignment.

In: a `Scene`. Out: one class number per name in `TARGETS`, `IGNORE` where the clip has no such fact. Actors and events
are numbered in the order a caption tells them; the first two actors and the first three events are asked for.
"""

from __future__ import annotations

from cineloop.world import vocabulary as words
from cineloop.world.scenes.scene import Event, Scene

IGNORE = -100
TIME_BINS = 24  # of the clip's length, for the start and end of events
MAX_ACTORS, MAX_EVENTS = 2, 3

# name -> (index of the query token that carries it, number of classes); "no such thing" is class 0 where it exists
TARGETS: dict[str, tuple[int, int]] = {
    "place": (0, len(words.PLACES)),
    "style": (0, len(words.STYLES)),
    "camera": (0, len(words.CAMERAS)),
    "cut": (0, 2),
    "relation": (0, 1 + len(words.RELATIONS)),
}
for _i in range(MAX_ACTORS):
    TARGETS[f"actor{_i}_kind"] = (1 + _i, len(words.KINDS) + (_i > 0))
    TARGETS[f"actor{_i}_color"] = (1 + _i, len(words.COLORS))
    TARGETS[f"actor{_i}_size"] = (1 + _i, len(words.SIZES))
    TARGETS[f"actor{_i}_count"] = (1 + _i, 4)
for _i in range(MAX_EVENTS):
    TARGETS[f"event{_i}_action"] = (3 + _i, len(words.ACTIONS) + (_i > 0))
    TARGETS[f"event{_i}_direction"] = (3 + _i, 1 + len(words.DIRECTIONS))
    TARGETS[f"event{_i}_speed"] = (3 + _i, 1 + len(words.SPEEDS))
    TARGETS[f"event{_i}_actor"] = (3 + _i, MAX_ACTORS)
    TARGETS[f"event{_i}_to_color"] = (3 + _i, len(words.COLORS))
    TARGETS[f"event{_i}_start"] = (3 + _i, TIME_BINS + 1)
    TARGETS[f"event{_i}_end"] = (3 + _i, TIME_BINS + 1)

_KINDS, _COLORS, _SIZES = list(words.KINDS), list(words.COLORS), list(words.SIZES)


def fact_targets(scene: Scene) -> dict[str, int]:
    """Class numbers of `scene`, one per name in `TARGETS`."""
    out = dict.fromkeys(TARGETS, IGNORE)
    out["place"] = words.PLACES.index(scene.shots[0].place)
    out["style"] = words.STYLES.index(scene.style)
    out["camera"] = words.CAMERAS.index(scene.shots[0].camera)
    out["cut"] = int(len(scene.shots) > 1)
    out["relation"] = 1 + words.RELATIONS.index(scene.relations[0].relation) if scene.relations else 0
    for i in range(MAX_ACTORS):
        if i >= len(scene.actors):
            out[f"actor{i}_kind"] = 0
            continue
        actor = scene.actors[i]
        out[f"actor{i}_kind"] = _KINDS.index(actor.kind) + (i > 0)
        out[f"actor{i}_color"] = _COLORS.index(actor.color)
        out[f"actor{i}_size"] = _SIZES.index(actor.size)
        out[f"actor{i}_count"] = actor.count - 1
    for i in range(MAX_EVENTS):
        if i < len(scene.events):
            _event(out, i, scene.events[i], scene.duration_s)
        else:
            out[f"event{i}_action"] = 0
    return out


def _event(out: dict[str, int], i: int, event: Event, duration_s: float) -> None:
    out[f"event{i}_action"] = words.ACTIONS.index(event.action) + (i > 0)
    out[f"event{i}_direction"] = 1 + words.DIRECTIONS.index(event.direction) if event.direction else 0
    out[f"event{i}_speed"] = 1 + words.SPEEDS.index(event.speed) if event.speed else 0
    if event.actor < MAX_ACTORS:
        out[f"event{i}_actor"] = event.actor
    if event.to_color:
        out[f"event{i}_to_color"] = _COLORS.index(event.to_color)
    out[f"event{i}_start"] = round(TIME_BINS * min(1.0, event.start_s / duration_s))
    out[f"event{i}_end"] = round(TIME_BINS * min(1.0, event.end_s / duration_s))
