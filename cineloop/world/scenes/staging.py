"""From what a prompt states to a scene that shows it: what it states is kept, the rest is drawn or refused.

In: `StatedFacts` (from `cineloop.world.language.read_text.parse`), a `Draw`, the seconds asked for. Out: a `Scene`. A
shot holds one group of figures with any events, or two groups: each with its own events, or one interaction, or one
relation in which they keep their places (`cineloop.world.scenes.pairs`). Paces, places in the frame and sizes are those
of `cineloop.world.scenes.solo` and `cineloop.world.scenes.stories`, so that a reader of the world's clips can read
these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cineloop.world import vocabulary as words
from cineloop.world.draw import Draw
from cineloop.world.language.phrases import why_unread
from cineloop.world.language.stated import StatedActor, StatedEvent, StatedFacts
from cineloop.world.scenes.casting import StagedShot, cast, in_place, refuse
from cineloop.world.scenes.pairs import interaction, relation
from cineloop.world.scenes.scene import Actor, Event, Relation, Scene, Shot
from cineloop.world.scenes.solo import ON_THE_SPOT, SECONDS, TRAVEL_SHARE
from cineloop.world.scenes.stories import PACE, group_width

HALF_TURN = {"left": "right", "right": "left"}
_LEAD = {"vanish": (0.4, 0.9), "recolor": (0.4, 0.9), "appear": (0.3, 0.6), "grow": (0.1, 0.5), "shrink": (0.1, 0.5)}
_MOST_S = 2.0  # longest single travel, as in solo scenes
_GAP_S, _TAIL_S, _LONG_TAIL_S = 0.1, 0.1, 0.4
_IDLE_WAYS = {("jump", "up"), ("bounce", "up"), ("fall", "down"), ("grow", "up"), ("shrink", "down")}


def stage(stated: StatedFacts, draw: Draw, seconds: float | None = None) -> Scene:
    """A scene of which everything stated is true.

    Args:
        stated: what the prompt says.
        draw: draws what is not stated.
        seconds: the clip's length, > 0; a shorter clip than the story takes squeezes it, in a longer one the figures
            rest at its end. None for the story's own length (`solo.SECONDS` for one event).

    Raises:
        ItemError: code PROMPT_REFUSED, the prompt states something the world does not have, or too much of it.
    """
    if stated.unread:
        raise refuse(f"it {why_unread(stated.unread)}")
    if any(event.start_s is not None for event in stated.events):
        raise refuse("it gives times, and the world takes its own")
    if not stated.actors:
        raise refuse("it names no figure; there are " + ", ".join(words.KINDS))
    staged = [_shot(stated, draw, number) for number in range(len(stated.shots))]
    own = sum(shot.seconds for shot in staged)
    factor = 1.0 if seconds is None else min(1.0, seconds / own)
    rest = 0.0 if seconds is None else max(0.0, seconds - own) / len(staged)
    shots: list[Shot] = []
    actors: list[Actor] = []
    events: list[Event] = []
    relations: list[Relation] = []
    for number, (given, shot) in enumerate(zip(stated.shots, staged, strict=True)):
        start, first = (shots[-1].end_s if shots else 0.0), len(actors)
        avoid = shots[-1].place if shots else None
        place = given.place or draw.pick([p for p in words.PLACES if p != avoid])
        end = start + shot.seconds * factor + rest
        shots.append(Shot(start_s=start, end_s=end, place=place, camera=given.camera or "static"))
        actors += [replace(actor, shot=number) for actor in shot.actors]
        events += [_move_event(event, start, factor, first, number) for event in shot.events]
        relations += [Relation(a=r.a + first, relation=r.relation, b=r.b + first) for r in shot.relations]
    return Scene(
        seed=draw.integer(1 << 30),
        style=stated.style or "flat",
        shots=tuple(shots),
        actors=tuple(actors),
        events=tuple(events),
        relations=tuple(relations),
    )


def _move_event(event: Event, start_s: float, factor: float, first: int, shot: int) -> Event:
    """An event of a shot as one of the clip; squeezed time keeps the pace, so the way is shorter too."""
    return replace(
        event,
        actor=event.actor + first,
        target=None if event.target is None else event.target + first,
        shot=shot,
        start_s=start_s + event.start_s * factor,
        end_s=start_s + event.end_s * factor,
        travel=event.travel * factor if event.target is None else event.travel,
    )


def _shot(stated: StatedFacts, draw: Draw, number: int) -> StagedShot:
    here = [i for i, actor in enumerate(stated.actors) if actor.shot == number]
    steps = [step for step in stated.steps() if step[0].shot == number]
    if not here:
        raise refuse("a shot of it names no figure")
    if len(here) > 2:
        raise refuse(f"it has {len(here)} groups of figures at once, and two is the most")
    events = [replace_actor(event, here) for step in steps for event in step]
    given = [stated.actors[i] for i in here]
    for event in events:
        check(given[event.actor or 0], event)
    relations = [(here.index(r.a), r.relation, here.index(r.b)) for r in stated.relations if r.a in here]
    meetings = [event for event in events if event.action in words.INTERACTIONS]
    if meetings:
        if len(events) > 1 or relations:
            raise refuse(f"besides {meetings[0].action!r} it tells of more, and two who meet do nothing else")
        return interaction(draw, given, meetings[0])
    if relations:
        if len(relations) > 1:
            raise refuse("it tells more than one relation")
        return relation(draw, given, relations[0], events)
    return _apart(draw, given, events)


def replace_actor(event: StatedEvent, here: Sequence[int]) -> StatedEvent:
    """The event with its figures numbered within the shot."""
    if event.actor not in here or (event.target is not None and event.target not in here):
        raise refuse(f"it does not say who does {event.action!r}")
    if event.action in words.INTERACTIONS and event.target is None:
        raise refuse(f"it does not say whom {event.action!r} is done to")
    target = None if event.target is None else here.index(event.target)
    return replace(event, actor=here.index(event.actor), target=target)


def check(actor: StatedActor, event: StatedEvent) -> None:
    """Refuse what a figure cannot do."""
    able = (*words.actions_of(actor.kind), *words.AFTER_TRAVEL, *words.INTERACTIONS, "stand")
    if event.action not in able:
        raise refuse(f"a {actor.kind} does not {event.action}; it does {', '.join(able)}")
    way = event.direction
    if way is None:
        return
    if event.action in words.TRAVEL:
        if way in ("up", "down") and actor.kind not in words.FLYERS:
            raise refuse(f"a {actor.kind} does not go {way}")
    elif event.action in (*words.INTERACTIONS, "turn"):
        if way not in HALF_TURN:
            raise refuse(f"{event.action!r} goes left or right, not {way}")
    elif (event.action, way) not in _IDLE_WAYS:
        raise refuse(f"{event.action!r} goes nowhere, so not {way}")


def _travel(draw: Draw, actor: Actor, given: StatedEvent, room: float) -> Event:
    way = given.direction or draw.pick(("left", "right"))
    own = {"walk": "slow", "run": "fast"}.get(given.action)
    speed = given.speed or own or draw.pick(words.SPEEDS)
    pace = draw.uniform(*PACE[speed])
    seconds = min(_MOST_S, (min(room, 0.42) if way in ("up", "down") else room) / pace)
    event = Event(actor=given.actor or 0, action=given.action, start_s=0.0, end_s=seconds, direction=way)
    return replace(event, speed=None if own == speed else speed, travel=pace * seconds)


def _after(given: StatedEvent, before: Event | None, span: float) -> Event:
    """`stop` or `turn`, which need a way before them."""
    if before is None or before.direction not in HALF_TURN:
        raise refuse(f"{given.action!r} wants a way to the left or right before it")
    if given.action == "stop":
        return Event(actor=before.actor, action="stop", start_s=0.0, end_s=span)
    way = HALF_TURN[before.direction]
    if given.direction not in (None, way):
        raise refuse(f"an actor that turns around on the way to the {before.direction} goes {way}")
    pace = before.travel / (before.end_s - before.start_s)
    span = min(span, before.travel / pace + 0.4)
    return Event(
        actor=before.actor, action="turn", start_s=0.0, end_s=span, direction=way, travel=pace * max(0.0, span - 0.3)
    )


def _apart(draw: Draw, given: Sequence[StatedActor], events: Sequence[StatedEvent]) -> StagedShot:
    """One figure, or two in lanes of their own; events of one step happen together."""
    if len(given) == 1 and not events:
        events = [_anything(draw, given[0])]
    sizes = () if len(given) == 1 else ("small", "medium")
    actors = [
        cast(draw, each, sizes=("small", "medium") if _grows(events, i) else sizes) for i, each in enumerate(given)
    ]
    room = (0.6 if len(events) < 2 else 0.5) if len(given) == 1 else 0.3
    made: list[Event] = []
    clock, step = 0.0, -1
    start = 0.0
    for each in events:
        index = each.actor or 0
        before = next((e for e in reversed(made) if e.actor == index and e.direction), None)
        if each.action in words.TRAVEL:
            event = _travel(draw, actors[index], each, room)
        elif each.action in words.AFTER_TRAVEL:
            event = _after(each, before, draw.uniform(1.1, 1.4))
        else:
            event = in_place(draw, actors[index], each)
        if each.step != step:
            lead = draw.uniform(*_LEAD[each.action]) if each.action in _LEAD and not made else _GAP_S
            start, step = clock + (0.0 if each.action in words.TRAVEL and not made else lead), each.step
        made.append(replace(event, start_s=start, end_s=start + event.end_s))
        clock = max(clock, made[-1].end_s)
    seconds = clock + (_LONG_TAIL_S if made and made[-1].action in words.MOMENTS else _TAIL_S)
    seconds = SECONDS if len(made) < 2 else max(SECONDS, seconds)
    lanes = (0.5,) if len(actors) == 1 else draw.pick(((0.26, 0.74), (0.74, 0.26)))
    placed = [
        _place(draw, actor, [e for e in made if e.actor == i], lane, wide=len(actors) == 1)
        for i, (actor, lane) in enumerate(zip(actors, lanes, strict=True))
    ]
    return StagedShot(seconds=seconds, actors=tuple(placed), events=tuple(made))


def _anything(draw: Draw, given: StatedActor) -> StatedEvent:
    """An action for a figure of which only the looks are stated."""
    if draw.uniform(0, 1) < TRAVEL_SHARE:
        return StatedEvent(actor=0, action=words.travel_action(given.kind, draw.pick(words.SPEEDS)))
    return StatedEvent(actor=0, action=draw.pick([a for a in words.actions_of(given.kind) if a in ON_THE_SPOT]))


def _grows(events: Sequence[StatedEvent], index: int) -> bool:
    return any(event.action == "grow" and event.actor == index for event in events)


def _place(draw: Draw, actor: Actor, events: Sequence[Event], lane: float, *, wide: bool) -> Actor:
    """The figure where its whole way lies around the middle of its lane, facing where it first goes."""
    x = low = high = y = top = bottom = 0.0
    facing = 0
    for event in events:
        way = {"right": 1, "left": -1}.get(event.direction or "", 0)
        facing = facing or way
        x += way * event.travel
        low, high = min(low, x), max(high, x)
        y += {"down": 1, "up": -1}.get(event.direction or "", 0) * event.travel
        top, bottom = min(top, y), max(bottom, y)
    slack = max(0.0, 0.5 - group_width(actor) / 2 - (high - low) / 2) if wide and high > low else 0.2 if wide else 0.03
    if group_width(actor) > 0.6 and wide:
        slack = min(slack, 0.05)
    actor = replace(
        actor, x=lane - (low + high) / 2 + draw.uniform(-slack, slack), facing=facing or actor.facing, depth=lane
    )
    if bottom > top:
        return replace(actor, y=draw.uniform(0.42, 0.52) - (top + bottom) / 2)
    if any(event.action == "grow" for event in events):
        actor = replace(actor, y=min(actor.y, 0.97 - words.SIZES[actor.size] / 2 * 1.75))
    return actor
