"""Where everything is at given seconds: events turned into positions, sizes, angles, colours and steps.

In: a `Scene`, one of its actors, an array of seconds. Out: `Track`, arrays of one value per second asked for.
Letters: T times. Positions are fractions of the frame (x right, y down), angles radians clockwise on the screen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from cineloop.world import vocabulary as words
from cineloop.world.draw import Draw
from cineloop.world.scenes.scene import Actor, Event, Scene, Shot

GROWTH = 1.75  # largest scale after `grow`; its inverse after `shrink` is a little less
SPIN_RATE = {"slow": 0.35, "fast": 1.25}  # turns a second
HOP_S = 0.8  # length of one jump or bounce


@dataclass
class Track:
    """An actor's state at T seconds.

    All fields are arrays of length T (colour: T × 3, uint8 range as float): `visible` opacity 0 to 1, `scale` relative
    to the actor's size, `squash` vertical stretch, `facing` +1 or -1, `step` the phase of limbs, wheels and wings.
    """

    x: np.ndarray
    y: np.ndarray
    scale: np.ndarray
    squash: np.ndarray
    angle: np.ndarray
    facing: np.ndarray
    visible: np.ndarray
    step: np.ndarray
    color: np.ndarray


def _ease(p: np.ndarray) -> np.ndarray:
    return p * p * (3 - 2 * p)


def track(scene: Scene, index: int, times_s: np.ndarray) -> Track:
    """The state of actor `index` at `times_s` (seconds from the clip's start, any order)."""
    actor = scene.actors[index]
    t = np.asarray(times_s, dtype=np.float64)
    ones = np.ones_like(t)
    out = Track(
        x=actor.x * ones,
        y=actor.y * ones,
        scale=ones.copy(),
        squash=ones.copy(),
        angle=0 * ones,
        facing=actor.facing * ones,
        visible=ones.copy(),
        step=0 * ones,
        color=np.tile(np.array(words.COLORS[actor.color], dtype=np.float64), (len(t), 1)),  # (T, 3)
    )
    if words.KINDS[actor.kind][1] in ("fly", "swim", "sail"):  # living and floating things are never quite still
        out.y += 0.006 * np.sin(2.2 * t + index)
        out.step += 1.2 * t
    for event in scene.events:
        if event.actor == index:
            _apply(out, event, t, actor)
        elif event.target == index:
            _answer(out, event, t)
    return out


def _phase(event: Event, t: np.ndarray) -> np.ndarray:
    return np.clip((t - event.start_s) / max(event.end_s - event.start_s, 1e-6), 0.0, 1.0)


def _go(out: Track, way: float, distance: np.ndarray, actor: Actor) -> None:
    """Travel along x by `distance` (frame widths), legs and wheels keeping pace with the ground."""
    out.x += way * distance
    size = words.SIZES[actor.size]
    out.step += distance / size * 2 * math.pi * 0.75
    if words.KINDS[actor.kind][1] == "roll":
        out.angle += way * distance / (size * 0.47)


def _apply(out: Track, event: Event, t: np.ndarray, actor: Actor) -> None:
    p, seconds = _phase(event, t), event.end_s - event.start_s
    inside = (p > 0) & (p < 1)
    action = event.action
    way = {"right": 1.0, "left": -1.0}.get(event.direction or "", 0.0)
    if action in words.TRAVEL:
        if way:
            out.facing[t >= event.start_s] = way
            _go(out, way, p * event.travel, actor)
        else:
            out.y += p * event.travel * (-1.0 if event.direction == "up" else 1.0)
            out.step += p * event.travel * 18
    elif action == "turn":
        out.facing[t >= event.start_s + 0.15] = way
        _go(out, way, np.clip((t - event.start_s - 0.3) / max(seconds - 0.3, 1e-6), 0, 1) * event.travel, actor)
    elif action in ("jump", "bounce"):
        hops = max(1, round(seconds / HOP_S))
        height = (0.20 if action == "jump" else 0.26) * np.abs(np.sin(math.pi * hops * p))
        out.y -= height * inside
        out.squash *= np.where(inside, 1 + 0.25 * (height / 0.2 - 0.35) * (action == "bounce"), 1.0)
        out.step += np.where(inside, 0.9, 0.0) if action == "jump" else 0.0
    elif action == "spin":
        out.angle += 2 * math.pi * SPIN_RATE[event.speed or "slow"] * p * seconds * actor.facing
    elif action in ("grow", "shrink"):
        last = GROWTH if action == "grow" else 0.45
        out.scale *= 1 + (last - 1) * _ease(p)
    elif action == "shake":
        out.x += np.where(inside, 0.022 * np.sin(2 * math.pi * 5.3 * (t - event.start_s)), 0.0)
        out.angle += np.where(inside, 0.16 * np.sin(2 * math.pi * 4.1 * (t - event.start_s) + 1), 0.0)
    elif action == "fall":
        out.y += -(0.8 + out.y) * (1 - p * p)
    elif action == "appear":
        out.visible *= p
    elif action == "vanish":
        out.visible *= 1 - p
    elif action == "recolor":
        new = np.array(words.COLORS[event.to_color or actor.color], dtype=np.float64)
        out.color += (new - out.color) * _ease(p)[:, None]
    elif action in words.INTERACTIONS:
        _interact(out, event, p, actor, way or float(actor.facing))


def _interact(out: Track, event: Event, p: np.ndarray, actor: Actor, way: float) -> None:
    """The acting side of an interaction; `_answer` is the other."""
    if event.action == "collide":
        hit = np.clip(p / 0.75, 0, 1)
        _go(out, way, hit * event.travel, actor)
        back = np.clip((p - 0.75) / 0.25, 0, 1)
        out.x -= way * 0.07 * np.sin(math.pi / 2 * back)
        out.squash *= 1 - 0.18 * np.sin(math.pi * back)
    elif event.action == "meet":
        _go(out, way, np.clip(p / 0.85, 0, 1) * event.travel, actor)
    else:
        _go(out, way, p * event.travel, actor)
        if event.action == "hide":  # once behind, it stays there
            out.visible *= np.where(p >= 0.999, 0.0, 1.0)


def _answer(out: Track, event: Event, t: np.ndarray) -> None:
    """What an interaction does to its target."""
    p = _phase(event, t)
    way = {"right": 1.0, "left": -1.0}.get(event.direction or "", 1.0)
    if event.action == "chase":
        out.x += way * p * event.travel
        out.step += p * event.travel * 18
    elif event.action == "overtake":
        out.x += way * p * 0.12
        out.step += p * 3
    elif event.action == "collide":
        push = np.clip((p - 0.75) / 0.25, 0, 1)
        out.x += way * 0.10 * np.sin(math.pi / 2 * push)
        out.angle += way * 0.25 * np.sin(math.pi * push)
    elif event.action == "meet":
        out.x += out.facing * np.clip(p / 0.85, 0, 1) * event.travel
        out.step += p * event.travel * 18


def camera(scene: Scene, shot: Shot, times_s: np.ndarray) -> np.ndarray:
    """Camera of `shot` at T seconds: array (T, 3) of zoom factor, x and y offset (fractions of the frame)."""
    t = np.asarray(times_s, dtype=np.float64)
    p = np.clip((t - shot.start_s) / max(shot.end_s - shot.start_s, 1e-6), 0, 1)
    zoom, dx, dy = np.ones_like(p), np.zeros_like(p), np.zeros_like(p)
    if shot.camera == "pan left":
        dx = 0.13 * (2 * p - 1)
    elif shot.camera == "pan right":
        dx = 0.13 * (1 - 2 * p)
    elif shot.camera == "zoom in":
        zoom = 1 + 0.38 * p
    elif shot.camera == "zoom out":
        zoom = 1.38 - 0.38 * p
    elif shot.camera == "shake":
        dx = 0.022 * np.sin(2 * math.pi * 4.7 * t + scene.seed % 7)
        dy = 0.022 * np.sin(2 * math.pi * 6.1 * t + scene.seed % 5)
    return np.stack([zoom, dx, dy], axis=1)  # (T, 3)


def pair_path(draw: Draw, action: str, way: int, reach: float, apart: float) -> tuple[tuple[float, float], float]:
    """Where the two of an interaction start, and how far they travel, in widths of the picture.

    Args:
        draw: for what is left to chance.
        action: of `words.INTERACTIONS`.
        way: 1 to the right, -1 to the left.
        reach: pace times seconds.
        apart: distance of their centres when they touch.
    """
    if action == "chase":
        gap, travel = apart + 0.05, min(reach, 0.5)
        return (0.5 - way * (travel / 2 + gap / 2), 0.5 - way * (travel / 2 - gap / 2)), travel
    if action == "overtake":
        return (0.5 - way * (apart * 0.6 + 0.16), 0.5 - way * 0.06), 2 * apart * 0.6 + 0.30
    if action == "collide":
        travel = min(max(reach, 0.25), 0.8 - apart)
        return (0.5 - way * (travel + apart * 0.85) + way * 0.25, 0.5 + way * 0.25), travel
    if action == "meet":
        travel = draw.uniform(0.16, 0.26)
        return (0.5 - way * (travel + apart / 2), 0.5 + way * (travel + apart / 2)), travel
    travel = 0.42  # hide
    return (0.5 + way * (0.12 - travel), 0.5 + way * 0.12), travel
