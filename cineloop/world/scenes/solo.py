"""Scenes of one figure that does one thing: the part of the world the bundled generator is taught.

In: a split, a seed, an index. Out: a `Scene` of `SECONDS` with one figure, one event, a still camera and the flat
style, and prompts for it. Combinations are held out as everywhere in the world (`scene.is_held_out`); of the ways to
word a prompt about one in eight is held out too.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import replace
from typing import Any

from cineloop.world import vocabulary as words
from cineloop.world.draw import Draw
from cineloop.world.language.words import caption
from cineloop.world.scenes.scene import Actor, Event, Scene, Shot, is_held_out
from cineloop.world.scenes.stories import PACE

FPS = 8.0
NUM_FRAMES = 17
SECONDS = NUM_FRAMES / FPS
ON_THE_SPOT = ("jump", "bounce", "grow", "shrink", "vanish", "recolor")
TRAVEL_SHARE = 0.7
# A judge is offered every motion a single figure can have, so it must be taught all of them.
EVERY_MOTION = (*ON_THE_SPOT, "stand", "fall", "shake", "spin", "appear")
EVERY_TRAVEL_SHARE = 0.25
_ROOM = {True: 0.42, False: 0.6}  # of the frame's height for who goes up or down, of its width for the others
_FLAT_TALE = {"kind": "ball", "color": "red", "size": "medium", "place": "beach"}


def sample_solo(split: str, seed: int, index: int, *, every_motion: bool = False) -> Scene:
    """Draw one scene of one figure, a pure function of the arguments.

    Args:
        split: `train` or `seen` (no held-out combination; different seeds), or `unseen` (a held-out one).
        seed: seed of the stream.
        index: position in the stream, from 0.
        every_motion: draw from all motions of a single figure (`EVERY_MOTION` and travelling), not only those the
            bundled generator is taught.

    Raises:
        ValueError: on an unknown split.
    """
    if split not in ("train", "seen", "unseen"):
        raise ValueError(f"split must be train, seen or unseen, not {split!r}")
    draw = Draw(f"solo{'-every' if every_motion else ''}|{split}|{seed}|{index}")
    while True:
        kind, color = draw.pick(list(words.KINDS)), draw.pick(list(words.COLORS))
        size = draw.weighted_choice({"small": 0.25, "medium": 0.4, "large": 0.35})
        event, vertical = _event(draw, kind, color, every_motion=every_motion)
        if is_held_out(kind, color, event.action) == (split == "unseen"):
            break
    if event.action == "grow" and size == "large":
        size = "medium"
    actor = _place(draw, Actor(kind=kind, color=color, size=size), event, vertical=vertical)
    shot = Shot(start_s=0.0, end_s=SECONDS, place=draw.pick(words.PLACES))
    return Scene(seed=draw.integer(1 << 30), style="flat", shots=(shot,), actors=(actor,), events=(event,))


def _event(draw: Draw, kind: str, color: str, *, every_motion: bool) -> tuple[Event, bool]:
    """What `kind` does, and whether it goes up or down."""
    offered = EVERY_MOTION if every_motion else ON_THE_SPOT
    choices = [a for a in (*words.actions_of(kind), "stand") if a in offered]
    if draw.uniform(0, 1) < (EVERY_TRAVEL_SHARE if every_motion else TRAVEL_SHARE):
        vertical = kind in words.FLYERS and draw.uniform(0, 1) < 0.3
        speed = draw.pick(words.SPEEDS)
        pace = draw.uniform(*PACE[speed])
        seconds = min(2.0, _ROOM[vertical] / pace)
        action = words.travel_action(kind, speed)
        way = draw.pick(("up", "down") if vertical else ("left", "right"))
        stated_speed = None if action in ("walk", "run") else speed
        event = Event(actor=0, action=action, start_s=0.0, end_s=seconds, direction=way, speed=stated_speed)
        return replace(event, travel=pace * seconds), vertical
    event = Event(actor=0, action=draw.pick(choices), start_s=0.1, end_s=0.1)
    start = draw.uniform(0.1, 0.5)
    if event.action in ("vanish", "recolor"):
        start = draw.uniform(0.4, 0.9)
        event = replace(event, start_s=start, end_s=start + draw.uniform(0.5, 0.8))
    elif event.action in ("jump", "bounce"):
        event = replace(event, end_s=0.1 + 0.8 * draw.pick((1, 2)))
    elif event.action == "stand":
        event = replace(event, start_s=0.0, end_s=SECONDS)
    elif event.action == "fall":
        event = replace(event, start_s=(start := draw.uniform(0.0, 0.4)), end_s=start + draw.uniform(0.8, 1.1))
    elif event.action == "appear":
        event = replace(event, start_s=(start := draw.uniform(0.4, 0.9)), end_s=start + draw.uniform(0.5, 0.8))
    elif event.action == "spin":
        event = replace(event, start_s=start, end_s=start + draw.uniform(1.2, 1.5), speed=draw.pick(words.SPEEDS))
    else:
        event = replace(event, start_s=start, end_s=start + draw.uniform(1.2, 1.5))
    if event.action == "recolor":
        event = replace(event, to_color=draw.pick([c for c in words.COLORS if c != color]))
    return event, False


def _place(draw: Draw, actor: Actor, event: Event, *, vertical: bool) -> Actor:
    """The figure where its way lies inside the frame, facing where it goes."""
    half = words.SIZES[actor.size] / 2
    forward = 1 if event.direction in ("right", "down") else -1
    x, facing = draw.uniform(0.3, 0.7), draw.pick((1, -1))
    flies = actor.kind in words.FLYERS
    y = draw.uniform(max(0.2, half + 0.03), 0.5) if flies else draw.uniform(0.80, 0.93) - half
    if vertical:
        y = draw.uniform(0.42, 0.52) - forward * event.travel / 2
    elif event.direction:
        slack = max(0.0, 0.5 - half - event.travel / 2)
        x = 0.5 - forward * event.travel / 2 + draw.uniform(-slack, slack)
        facing = forward
    elif event.action == "grow":
        y = min(y, 0.97 - half * 1.75)
    return replace(actor, x=x, y=y, facing=facing)


def prompt(facts: dict[str, Any], rng: random.Random, *, unseen_wording: bool = False) -> str:
    """A one-sentence prompt for `Scene.facts()` of a solo scene, in a wording of the asked-for share."""
    while True:
        seed = int(rng.random() * (1 << 48))
        if _is_held_out_wording(facts, seed) == unseen_wording:
            return caption(facts, "prompt", random.Random(seed))


def _is_held_out_wording(facts: dict[str, Any], seed: int) -> bool:
    """Whether the sentence that `seed` makes, with a plain figure in its place, is one of those kept apart."""
    actor = {**facts["actors"][0], **{k: _FLAT_TALE[k] for k in ("kind", "color", "size")}}
    shot = {**facts["shots"][0], "place": _FLAT_TALE["place"]}
    plain = caption({**facts, "actors": [actor], "shots": [shot]}, "prompt", random.Random(seed))
    return hashlib.sha256(plain.encode()).digest()[0] < 32
