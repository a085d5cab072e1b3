"""Two figures that have to do with each other: interactions and relations of a prompt, put on the stage.

In: what is stated of the two and of what happens. Out: `StagedShot`. The layouts are those of
`cineloop.world.scenes.stories`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cineloop.world import vocabulary as words
from cineloop.world.draw import Draw
from cineloop.world.language.stated import StatedActor, StatedEvent
from cineloop.world.scenes.casting import StagedShot, cast, in_place, refuse
from cineloop.world.scenes.motion import pair_path
from cineloop.world.scenes.scene import Actor, Event, Relation
from cineloop.world.scenes.solo import SECONDS
from cineloop.world.scenes.stories import PACE

_GROUND = 0.88


def interaction(draw: Draw, given: Sequence[StatedActor], event: StatedEvent) -> StagedShot:
    """One figure chases, overtakes, bumps into, meets or hides behind the other.

    Raises:
        ItemError: PROMPT_REFUSED, a group takes part.
    """
    if any(actor.count != 1 for actor in given):
        raise refuse(f"{event.action!r} is for two single figures")
    who, whom = event.actor or 0, event.target or 0
    action, way = event.action, {"right": 1, "left": -1}[event.direction or draw.pick(("left", "right"))]
    sizes = (("small",), ("large",)) if action == "hide" else (("small", "medium"),) * 2
    a, b = cast(draw, given[who], sizes=sizes[0]), cast(draw, given[whom], sizes=sizes[1])
    a, b = _level(a, b)
    a, b = replace(a, facing=way), replace(b, facing=-way if action == "meet" else way)
    speed = event.speed or (draw.pick(words.SPEEDS) if action in ("chase", "collide") else None)
    seconds = draw.uniform(1.5, 2.2) if speed == "fast" else draw.uniform(2.6, 3.6)
    pace = draw.uniform(*PACE[speed or "slow"])
    xs, travel = pair_path(draw, action, way, pace * seconds, (words.SIZES[a.size] + words.SIZES[b.size]) / 2)
    if action == "overtake":
        a, b = replace(a, y=a.y + (0.0 if a.kind in words.FLYERS else 0.05)), replace(b, y=b.y - 0.04)
    depth = 1.0 if action == "hide" else -1.0
    a, b = replace(a, x=xs[0], depth=2.0 if action == "overtake" else 0.0), replace(b, x=xs[1], depth=depth)
    made = Event(
        actor=who,
        action=action,
        start_s=0.1,
        end_s=0.1 + seconds,
        direction=None if action == "meet" else "right" if way == 1 else "left",
        speed=speed,
        target=whom,
        travel=travel,
    )
    tail = 0.5 if action in ("collide", "meet", "hide") else 0.1
    return StagedShot(seconds=made.end_s + tail, actors=(a, b) if who == 0 else (b, a), events=(made,))


def relation(
    draw: Draw, given: Sequence[StatedActor], stated_relation: tuple[int, str, int], events: Sequence[StatedEvent]
) -> StagedShot:
    """One figure left of, above, behind or inside the other; whatever they do, they do in place, one after another.

    Raises:
        ItemError: PROMPT_REFUSED, one of them travels, or the outer one of an inside holds nothing.
    """
    first, how, second = stated_relation
    if how == "inside" and given[second].kind not in words.CONTAINERS:
        raise refuse(f"nothing is inside a {given[second].kind}; it may be inside {', '.join(words.CONTAINERS)}")
    nested = how in ("inside", "behind")
    a = cast(draw, given[first], sizes=("small",) if nested else ("medium",))
    b = cast(draw, given[second], sizes=("large",) if nested else ("medium",))
    ground = _GROUND - words.SIZES[b.size] / 2
    b = replace(b, x=draw.uniform(0.45, 0.55), y=ground)
    if how == "left of":
        a, b = replace(a, x=0.25, y=_GROUND - words.SIZES[a.size] / 2), replace(b, x=0.72)
    elif how == "above":
        a, b = replace(a, x=b.x, y=0.25), replace(b, y=0.74)
    elif how == "behind":
        a = replace(a, x=b.x + draw.pick((1, -1)) * 0.24, y=ground + 0.02, depth=-1.0)
    else:
        a = replace(a, x=b.x, y=b.y + 0.04, depth=1.0)
    actors = (a, b) if first == 0 else (b, a)
    made: list[Event] = []
    clock = 0.2
    for event in events:
        if event.action in (*words.TRAVEL, *words.AFTER_TRAVEL):
            raise refuse(f"two in a relation keep their places, so none of them may {event.action}")
        done = in_place(draw, actors[event.actor or 0], event)
        made.append(replace(done, start_s=clock, end_s=clock + done.end_s))
        clock = made[-1].end_s + 0.1
    seconds = max(SECONDS, clock + 0.4)
    return StagedShot(
        seconds=seconds, actors=actors, events=tuple(made), relations=(Relation(a=first, relation=how, b=second),)
    )


def _level(a: Actor, b: Actor) -> tuple[Actor, Actor]:
    """Both at one height where they can meet: a flyer comes down to one that cannot fly."""
    flies = a.kind in words.FLYERS, b.kind in words.FLYERS
    if flies == (True, False):
        return replace(a, y=b.y), b
    if flies == (False, True):
        return a, replace(b, y=a.y)
    if flies == (True, True):
        y = (a.y + b.y) / 2
        return replace(a, y=y), replace(b, y=y)
    return a, b
