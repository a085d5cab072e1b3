"""Stories of one shot: who is there and what they do, sampled so that every stated fact can be seen.

In: a `Draw` (the random stream) and wishes (length, held-out combination or none). Out: `Story`: place, camera, actors,
events and relations of a shot, times from 0. A fact is stated only if the picture shows it: travellers keep inside the
frame, slow and fast leave a gap between them, the second of two actors stands in a lane of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from cineloop.world import vocabulary as words
from cineloop.world.draw import Draw
from cineloop.world.scenes.motion import pair_path
from cineloop.world.scenes.scene import Actor, Event, Relation, is_held_out, triples

PACE = {"slow": (0.09, 0.14), "fast": (0.30, 0.42)}  # frame widths a second
SPAN = {"jump": (1.2, 2.4), "bounce": (1.6, 3.0), "spin": (1.4, 2.8), "grow": (1.4, 3.0), "shrink": (1.4, 3.0)}
SPAN |= {"shake": (1.2, 2.2), "fall": (0.8, 1.1), "appear": (0.5, 0.8), "vanish": (0.5, 0.8), "recolor": (0.5, 0.9)}
SPAN |= {"stop": (1.1, 2.0), "turn": (1.2, 2.2), "stand": (1.0, 2.0)}


@dataclass(frozen=True, kw_only=True)
class Story:
    """One shot: its length in seconds and everything in it."""

    seconds: float
    place: str
    camera: str
    actors: tuple[Actor, ...]
    events: tuple[Event, ...]
    relations: tuple[Relation, ...] = ()


def draw_story(draw: Draw, *, unseen: bool, length: float | None, max_events: int, avoid: str | None) -> Story:
    """One shot; `length` stretches time by at most a quarter or so, `avoid` is the place of the shot before."""
    place = draw.pick([p for p in words.PLACES if p != avoid])
    camera = "static"
    if draw.uniform(0, 1) < 0.25:
        camera = draw.pick(words.CAMERAS[1:])
    best: Story | None = None
    for _ in range(200):
        story = _draw_story(draw, max_events)
        held = [is_held_out(*t) for t in triples(story.actors, story.events)]
        if unseen != any(held):
            continue
        story = replace(story, place=place, camera=camera)
        if length is None or 0.8 < length / story.seconds < 1.3:
            best = story
            break
        if best is None or abs(length - story.seconds) < abs(length - best.seconds):
            best = story
    if best is None:
        raise RuntimeError("no story fits the split after 200 tries")
    return best if length is None else _stretch(best, length / best.seconds)


def _draw_story(draw: Draw, max_events: int) -> Story:
    kinds = {"one": 0.34, "parallel": 0.16, "interaction": 0.14, "relation": 0.08}
    if max_events >= 2:
        kinds |= {"two": 0.24, "sequence": 0.12}
    if max_events >= 3:
        kinds["three"] = 0.08
    story = draw.weighted_choice(kinds)
    if story in ("one", "two", "three"):
        return _alone(draw, {"one": 1, "two": 2, "three": 3}[story])
    return {"parallel": _parallel, "sequence": _sequence, "interaction": _interaction, "relation": _relation}[story](
        draw
    )


def _stretch(story: Story, factor: float) -> Story:
    events = tuple(replace(e, start_s=e.start_s * factor, end_s=e.end_s * factor) for e in story.events)
    return replace(story, seconds=story.seconds * factor, events=events)


def _actor(draw: Draw, *, kind: str | None = None, count: int | None = None, size: str | None = None) -> Actor:
    kind = kind or draw.pick(list(words.KINDS))
    count = count or draw.weighted_choice({1: 0.7, 2: 0.13, 3: 0.1, 4: 0.07})
    fits = ["small", "medium", "large"] if count == 1 else ["small", "medium"] if count == 2 else ["small"]
    size = size or draw.pick(fits)
    facing = draw.pick((1, -1))
    return Actor(
        kind=kind,
        color=draw.pick(list(words.COLORS)),
        size=size,
        count=count,
        x=draw.uniform(0.3, 0.7),
        y=_level(draw, kind, size),
        facing=facing,
    )


def _level(draw: Draw, kind: str, size: str) -> float:
    """Centre height: flyers in the sky, the others with their feet on the ground."""
    half = words.SIZES[size] / 2
    if kind in words.FLYERS:
        return draw.uniform(max(0.2, half + 0.03), 0.5)
    return draw.uniform(0.80, 0.93) - half


def group_width(actor: Actor) -> float:
    """Width of the whole group as a fraction of a square frame."""
    return words.SIZES[actor.size] * (1 + 0.85 * (actor.count - 1))


def _span(draw: Draw, action: str) -> float:
    return draw.uniform(*SPAN[action])


def _travel(draw: Draw, actor: Actor, room: float, *, alone: bool, vertical: bool = False) -> tuple[Event, float]:
    """A travelling event from 0 s of at most `room` frame widths; returns it and its signed travel."""
    speed = draw.pick(words.SPEEDS)
    pace = draw.uniform(*PACE[speed])
    longest = 4.5 if alone else 2.6
    seconds = min(draw.uniform(1.3, 2.2) if speed == "fast" else draw.uniform(2.0, longest), room / pace)
    way = draw.pick(("up", "down")) if vertical else draw.pick(("left", "right"))
    action = words.travel_action(actor.kind, speed)
    stated_speed = None if action in ("walk", "run") else speed
    event = Event(actor=0, action=action, start_s=0.0, end_s=seconds, direction=way, speed=stated_speed)
    return replace(event, travel=pace * seconds), pace * seconds * (1 if way in ("right", "down") else -1)


def _solo_event(draw: Draw, actor: Actor, *, first: bool, last: bool, x: float) -> tuple[Event, float]:
    """The next event of an actor at `x`; returns it (from 0 s) and where the actor is afterwards."""
    choices = [a for a in words.actions_of(actor.kind) if a not in words.TRAVEL]
    if not first:
        choices = [a for a in choices if a not in ("appear", "fall")]
    if not last:
        choices = [a for a in choices if a != "vanish"]
    if draw.uniform(0, 1) < 0.42:
        vertical = first and actor.kind in words.FLYERS and draw.uniform(0, 1) < 0.35
        room = (0.42 if vertical else 0.55) if first else 0.4
        event, travel = _travel(draw, actor, room, alone=last, vertical=vertical)
        if not first and not 0.15 < x + travel < 0.85:  # no room that way: go the other
            travel = -travel
            event = replace(event, direction={"left": "right", "right": "left"}[event.direction or "left"])
        return event, x + (0 if vertical else travel)
    return _on_the_spot(draw, actor, choices), x


def _on_the_spot(draw: Draw, actor: Actor, choices: Sequence[str]) -> Event:
    """One of the actions that go nowhere, from 0 s, with the speed of a spin and the new colour of a recolouring."""
    action = draw.pick(choices)
    event = Event(actor=0, action=action, start_s=0.0, end_s=_span(draw, action))
    if action == "spin":
        event = replace(event, speed=draw.pick(words.SPEEDS))
    if action == "recolor":
        event = replace(event, to_color=draw.pick([c for c in words.COLORS if c != actor.color]))
    return event


def _alone(draw: Draw, num_events: int) -> Story:
    actor = _actor(draw)
    events: list[Event] = []
    clock, x = draw.uniform(0.0, 0.2), 0.5
    drift = 0.0
    for number in range(num_events):
        before = events[-1] if events else None
        if (
            before
            and before.action in words.TRAVEL
            and before.direction in ("left", "right")
            and draw.uniform(0, 1) < 0.5
        ):
            event = _after_travel(draw, before)
            after = x + (0.0 if event.action == "stop" else event.travel * (1 if event.direction == "right" else -1))
        else:
            forbidden = {e.action for e in events}
            for _ in range(50):
                event, after = _solo_event(draw, actor, first=not events, last=number == num_events - 1, x=x)
                if event.action not in forbidden:
                    break
            else:
                break
        gap = draw.uniform(0.4, 0.7) if not events and event.action == "appear" else 0.0 if not events else 0.1
        clock += gap
        events.append(replace(event, start_s=clock, end_s=clock + event.end_s - event.start_s))
        clock, x = events[-1].end_s, after
        drift = drift if abs(after - 0.5) < abs(drift) else after - 0.5
    clock += 0.7 if events[-1].action in words.MOMENTS else draw.uniform(0.0, 0.15)
    actor = _place_traveller(draw, actor, events, drift)
    return Story(seconds=clock, place="", camera="", actors=(actor,), events=tuple(events))


def _after_travel(draw: Draw, before: Event) -> Event:
    action = draw.pick(words.AFTER_TRAVEL)
    span = _span(draw, action)
    if action == "stop":
        return Event(actor=0, action=action, start_s=0.0, end_s=span)
    pace = before.travel / (before.end_s - before.start_s)
    span = min(span, before.travel / pace + 0.4)
    way = "left" if before.direction == "right" else "right"
    return Event(actor=0, action="turn", start_s=0.0, end_s=span, direction=way, travel=pace * (span - 0.3))


def _place_traveller(draw: Draw, actor: Actor, events: Sequence[Event], drift: float) -> Actor:
    """Put the actor so that its way lies in the middle of the frame, facing where it first goes."""
    x, y, facing = 0.5 - drift / 2 + draw.uniform(-0.06, 0.06), actor.y, actor.facing
    first = next((e for e in events if e.direction), None)
    if first is not None and first.direction in ("left", "right"):
        facing = 1 if first.direction == "right" else -1
        if first.action == "turn":
            facing = -facing
    for event in events:
        if event.direction in ("up", "down"):
            middle = draw.uniform(0.42, 0.52)
            y = middle + (event.travel / 2 if event.direction == "up" else -event.travel / 2)
    if any(e.action == "grow" for e in events) and actor.size == "large":
        return replace(actor, x=x, y=0.5, facing=facing, size="medium")
    return replace(actor, x=x, y=y, facing=facing)


def _two_actors(draw: Draw) -> tuple[Actor, Actor]:
    """Two groups, one to the left and one to the right, that differ in kind or colour."""
    while True:
        a = _actor(draw, count=draw.weighted_choice({1: 0.85, 2: 0.15}), size=draw.pick(("small", "medium")))
        b = _actor(draw, count=draw.weighted_choice({1: 0.85, 2: 0.15}), size=draw.pick(("small", "medium")))
        if a.kind != b.kind and group_width(a) + group_width(b) < 0.85:
            break
    edge = draw.uniform(-0.03, 0.03)
    left, right = draw.pick(((a, b), (b, a)))
    return (
        replace(left, x=0.26 + edge, depth=draw.uniform(0, 1)),
        replace(right, x=0.74 + edge, depth=draw.uniform(0, 1)),
    )


def _pair_event(draw: Draw, actor: Actor) -> Event:
    """One event of one of two actors that keeps it in its half of the frame."""
    if draw.uniform(0, 1) < 0.4:
        event, _ = _travel(draw, actor, 0.3, alone=False)
        return event
    choices = [a for a in words.actions_of(actor.kind) if a not in words.TRAVEL and a not in ("grow",)]
    return _on_the_spot(draw, actor, choices)


def _aim(actor: Actor, event: Event) -> Actor:
    """Start a traveller so that it stays on its side of the frame's middle."""
    if event.direction not in ("left", "right"):
        return actor
    way = 1 if event.direction == "right" else -1
    return replace(actor, x=actor.x - way * event.travel / 2, facing=way)


def _in_order(actors: Sequence[Actor], events: Sequence[Event]) -> tuple[tuple[Actor, ...], tuple[Event, ...]]:
    """Actors in order of mention: first to act, then leftmost; events by time, then actor."""
    starts = [min((e.start_s for e in events if e.actor == i), default=1e9) for i in range(len(actors))]
    order = sorted(range(len(actors)), key=lambda i: (round(starts[i], 1), actors[i].x))
    new = {old: position for position, old in enumerate(order)}
    renamed = [replace(e, actor=new[e.actor], target=None if e.target is None else new[e.target]) for e in events]
    return tuple(actors[i] for i in order), tuple(sorted(renamed, key=lambda e: (round(e.start_s, 1), e.actor)))


def _parallel(draw: Draw) -> Story:
    pair = _two_actors(draw)
    events = [_pair_event(draw, actor) for actor in pair]
    while any(e.action in ("appear", "fall") for e in events) or events[0].action == events[1].action:
        events = [_pair_event(draw, actor) for actor in pair]
    seconds = max(e.end_s for e in events)
    factor = [seconds / e.end_s if e.action in words.IN_PLACE else 1.0 for e in events]
    events = [replace(e, actor=i, end_s=e.end_s * factor[i]) for i, e in enumerate(events)]
    aimed = [_aim(actor, event) for actor, event in zip(pair, events, strict=True)]
    tail = 0.6 if any(e.action in words.MOMENTS for e in events) else 0.1
    ordered, renumbered = _in_order(aimed, events)
    return Story(seconds=seconds + tail, place="", camera="", actors=ordered, events=renumbered)


def _sequence(draw: Draw) -> Story:
    pair = _two_actors(draw)
    first = draw.integer(2)
    events: list[Event] = []
    placed = list(pair)
    clock = draw.uniform(0.0, 0.2)
    for number, index in enumerate((first, 1 - first)):
        event = _pair_event(draw, pair[index])
        while number == 0 and event.action == "appear":
            event = _pair_event(draw, pair[index])
        placed[index] = _aim(placed[index], event)
        clock += 0.3 if number else 0.0
        events.append(replace(event, actor=index, start_s=clock, end_s=clock + event.end_s))
        clock = events[-1].end_s
    clock += 0.6 if events[-1].action in words.MOMENTS else 0.15
    ordered, renumbered = _in_order(placed, events)
    return Story(seconds=clock, place="", camera="", actors=ordered, events=renumbered)


def _interaction(draw: Draw) -> Story:
    action = draw.pick(words.INTERACTIONS)
    way = draw.pick((1, -1))
    direction = "right" if way == 1 else "left"
    sizes = (("small",), ("large",)) if action == "hide" else (("small", "medium"),) * 2
    for _ in range(200):
        a, b = (_actor(draw, count=1, size=draw.pick(choice)) for choice in sizes)
        level = (a.kind in words.FLYERS) == (b.kind in words.FLYERS)
        if a.kind != b.kind and level:
            break
    b = replace(b, depth=1.0 if action == "hide" else -1.0)
    y = (a.y + b.y) / 2 if a.kind in words.FLYERS else None
    a, b = (replace(c, y=c.y if y is None else y, facing=way) for c in (a, b))
    speed = draw.pick(words.SPEEDS) if action in ("chase", "collide") else None
    seconds = draw.uniform(1.5, 2.2) if speed == "fast" else draw.uniform(2.6, 3.6)
    pace = draw.uniform(*PACE[speed or "slow"])
    xs, travel = pair_path(draw, action, way, pace * seconds, (words.SIZES[a.size] + words.SIZES[b.size]) / 2)
    if action == "overtake":
        a = replace(a, depth=2.0, y=a.y + (0.05 if y is None else 0.0))
        b = replace(b, y=b.y - 0.04)
    elif action == "meet":
        b = replace(b, facing=-way)
    a, b = replace(a, x=xs[0]), replace(b, x=xs[1])
    stated_way = None if action == "meet" else direction
    event = Event(
        actor=0,
        action=action,
        start_s=0.1,
        end_s=0.1 + seconds,
        direction=stated_way,
        speed=speed,
        target=1,
        travel=travel,
    )
    tail = 0.5 if action in ("collide", "meet", "hide") else 0.1
    return Story(seconds=seconds + 0.1 + tail, place="", camera="", actors=(a, b), events=(event,))


def _relation(draw: Draw) -> Story:
    """One actor acts in place while standing in a stated relation to another that stands still."""
    relation = draw.pick(words.RELATIONS)
    kind_b = draw.pick(words.CONTAINERS if relation == "inside" else list(words.KINDS))
    for _ in range(200):
        a = _actor(draw, count=1, size="small" if relation in ("inside", "behind") else "medium")
        b = _actor(draw, kind=kind_b, count=1, size="large" if relation in ("inside", "behind") else "medium")
        if a.kind != b.kind and a.color != b.color:
            break
    ground = 0.88 - words.SIZES[b.size] / 2
    b = replace(b, x=draw.uniform(0.45, 0.55), y=ground, depth=0.0)
    if relation == "left of":
        a, b = replace(a, x=0.25, y=0.88 - words.SIZES[a.size] / 2), replace(b, x=0.72)
    elif relation == "above":
        a = replace(a, x=b.x, y=0.25)
        b = replace(b, y=0.74)
    elif relation == "behind":
        a = replace(a, x=b.x + draw.pick((1, -1)) * 0.24, y=ground + 0.02, depth=-1.0)
    else:
        a = replace(a, x=b.x, y=b.y + 0.04, depth=1.0)
    choices = ["spin", "shake", "recolor", "vanish"] + (["shrink"] if relation != "inside" else [])
    action = draw.pick(choices)
    event = Event(actor=0, action=action, start_s=0.2, end_s=0.2 + _span(draw, action))
    if action == "spin":
        event = replace(event, speed=draw.pick(words.SPEEDS))
    if action == "recolor":
        event = replace(event, to_color=draw.pick([c for c in words.COLORS if c not in (a.color, b.color)]))
    return Story(
        seconds=event.end_s + 0.5,
        place="",
        camera="",
        actors=(a, b),
        events=(event,),
        relations=(Relation(a=0, relation=relation, b=1),),
    )


def crowd(draw: Draw) -> Story:
    """A shot for teaching the eye: three to six single figures anywhere, most of them moving; no fact of it is stated.

    Far more of each picture is covered by figures than in a story, so each frame teaches more.
    """
    actors, events = [], []
    for index in range(3 + draw.integer(4)):
        actor = _actor(draw, count=1)
        actors.append(replace(actor, x=draw.uniform(0.08, 0.92), y=draw.uniform(0.15, 0.88), depth=draw.uniform(0, 1)))
        action = draw.weighted_choice({"spin": 0.25, "grow": 0.12, "shrink": 0.12, "shake": 0.1, "jump": 0.1, "": 0.31})
        if not action or is_held_out(actor.kind, actor.color, action):
            action, travel = words.travel_action(actor.kind, "slow"), draw.uniform(0.05, 0.2)
            way = "right" if actor.facing > 0 else "left"
            if is_held_out(actor.kind, actor.color, action):
                continue
            events.append(Event(actor=index, action=action, start_s=0, end_s=2, direction=way, travel=travel))
        else:
            events.append(Event(actor=index, action=action, start_s=0, end_s=2, speed="slow"))
    place, camera = draw.pick(words.PLACES), draw.pick(words.CAMERAS)
    return Story(seconds=2.0, place=place, camera=camera, actors=tuple(actors), events=tuple(events))
