"""Single figures and their events of a prompt, put on the stage: what `staging` and `pairs` build shots from.

In: what is stated of a figure or an event, a `Draw` for the rest. Out: `Actor`, `Event`; a `StagedShot` holds those of
a shot. Places in the frame and sizes are those of `cineloop.world.scenes.solo`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from cineloop.errors import ItemError
from cineloop.world import vocabulary as words
from cineloop.world.draw import Draw
from cineloop.world.language.stated import StatedActor, StatedEvent
from cineloop.world.scenes.scene import Actor, Event, Relation

_SPAN = {"vanish": (0.5, 0.8), "recolor": (0.5, 0.8), "appear": (0.5, 0.8), "grow": (1.2, 1.5), "shrink": (1.2, 1.5)}
_SPAN |= {"fall": (0.8, 1.1), "spin": (1.4, 1.7), "shake": (1.2, 1.6), "stop": (1.1, 1.4), "stand": (1.0, 1.4)}
_HOP_S = 0.8


@dataclass(frozen=True, kw_only=True)
class StagedShot:
    """One shot from its own start: actors, events, relations, and how many seconds it takes."""

    seconds: float
    actors: tuple[Actor, ...]
    events: tuple[Event, ...]
    relations: tuple[Relation, ...] = ()


def refuse(why: str) -> ItemError:
    """The error of a prompt that the world cannot show."""
    return ItemError(
        f"the cartoon world cannot show this prompt: {why}",
        code="PROMPT_REFUSED",
        hint="a prompt it knows: 'A red ball rolls to the left on the beach.'",
    )


def cast(draw: Draw, given: StatedActor, *, sizes: Sequence[str] = ()) -> Actor:
    """The figure with what was not stated drawn; `sizes` are those that fit best."""
    count = given.count or 2  # "the cars" says that they are several
    fits = sizes or (("small", "medium", "large"), ("small", "medium"), ("small",))[min(count, 3) - 1]
    size = given.size or draw.pick(fits)
    half = words.SIZES[size] / 2
    y = draw.uniform(max(0.2, half + 0.03), 0.5) if given.kind in words.FLYERS else draw.uniform(0.80, 0.93) - half
    color = given.color or draw.pick(list(words.COLORS))
    return Actor(kind=given.kind, color=color, size=size, count=count, y=y, facing=draw.pick((1, -1)))


def in_place(draw: Draw, actor: Actor, given: StatedEvent) -> Event:
    """An event that goes nowhere, from 0 s."""
    action = given.action
    if action in ("jump", "bounce"):
        span = _HOP_S * draw.pick((1, 2))
    else:
        span = draw.uniform(*_SPAN[action]) * {"slow": 1.3, "fast": 0.6}.get(given.speed or "", 1.0)
    speed = given.speed or (draw.pick(words.SPEEDS) if action == "spin" else None)
    event = Event(actor=given.actor or 0, action=action, start_s=0.0, end_s=span, speed=speed)
    if action == "recolor":
        new = given.to_color or draw.pick([c for c in words.COLORS if c != actor.color])
        if new == actor.color:
            raise refuse(f"the {actor.kind} is {new} already")
        event = replace(event, to_color=new)
    return event
