"""A scene of the cartoon world: what is in it, what happens, when: the exact truth of a clip.

In: shots, actors, events, relations. Out: `Scene` and its facts as data. `sampler` draws scenes, `stories` tells what
happens in them; no pixel is drawn here (`render`) and nothing moves yet (`motion`).
Units: seconds from the clip's start; positions as fractions of the frame (x right, y down); sizes as fractions of
the frame's height.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from cineloop.world import vocabulary as words


@dataclass(frozen=True, kw_only=True)
class Actor:
    """A group of `count` equal figures that act as one.

    `x`, `y` are the group's centre at the shot's start as fractions of the frame, `facing` is +1 right or -1 left,
    `depth` orders drawing (larger is nearer).
    """

    kind: str
    color: str
    size: str
    count: int = 1
    shot: int = 0
    x: float = 0.5
    y: float = 0.7
    facing: int = 1
    depth: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in words.KINDS or self.color not in words.COLORS or self.size not in words.SIZES:
            raise ValueError(f"no such actor in the world: {self.size} {self.color} {self.kind}")


@dataclass(frozen=True, kw_only=True)
class Event:
    """One thing that happens: actor `actor` (index into `Scene.actors`) does `action` from `start_s` to `end_s`.

    `direction` and `speed` are None where the action has none; `target` is the other actor of an interaction;
    `to_color` is the new colour of `recolor`; `travel` is the distance gone, in frame widths (heights for up, down).
    """

    actor: int
    action: str
    start_s: float
    end_s: float
    direction: str | None = None
    speed: str | None = None
    target: int | None = None
    to_color: str | None = None
    shot: int = 0
    travel: float = 0.0

    def __post_init__(self) -> None:
        if self.action not in words.ACTIONS:
            raise ValueError(f"no such action in the world: {self.action}")


@dataclass(frozen=True, kw_only=True)
class Relation:
    """Actor `a` is `relation` actor `b` when the shot begins."""

    a: int
    relation: str
    b: int


@dataclass(frozen=True, kw_only=True)
class Shot:
    """A stretch of the clip without a cut."""

    start_s: float
    end_s: float
    place: str
    camera: str = "static"


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A whole clip. Actors stand in order of mention (first to act, then leftmost); events in order of time."""

    seed: int  # of everything that no fact states: clouds, trees, the hand's tremble
    style: str
    shots: tuple[Shot, ...]
    actors: tuple[Actor, ...]
    events: tuple[Event, ...]
    relations: tuple[Relation, ...] = field(default=())

    @property
    def duration_s(self) -> float:
        """Length of the clip in seconds."""
        return self.shots[-1].end_s

    def triples(self) -> set[tuple[str, str, str]]:
        """The (kind, colour, action) combinations that occur; splits are made on them."""
        return triples(self.actors, self.events)

    def facts(self) -> dict[str, Any]:
        """The truth as JSON-able data: duration_s, style, shots, actors, events, relations. Seconds to 0.01."""
        return {
            "duration_s": round(self.duration_s, 2),
            "style": self.style,
            "shots": [
                {"start_s": round(s.start_s, 2), "end_s": round(s.end_s, 2), "place": s.place, "camera": s.camera}
                for s in self.shots
            ],
            "actors": [
                {"kind": a.kind, "color": a.color, "size": a.size, "count": a.count, "shot": a.shot}
                for a in self.actors
            ],
            "events": [
                {
                    "actor": e.actor,
                    "action": e.action,
                    "direction": e.direction,
                    "speed": e.speed,
                    "target": e.target,
                    "to_color": e.to_color,
                    "start_s": round(e.start_s, 2),
                    "end_s": round(e.end_s, 2),
                    "shot": e.shot,
                }
                for e in self.events
            ],
            "relations": [{"a": r.a, "relation": r.relation, "b": r.b} for r in self.relations],
        }


def triples(actors: Sequence[Actor], events: Sequence[Event]) -> set[tuple[str, str, str]]:
    """The (kind, colour, action) combinations of some events; both who meet do the meeting."""
    pairs = {(e.actor, e.action) for e in events}
    pairs |= {(e.target, e.action) for e in events if e.target is not None and e.action == "meet"}
    return {(actors[a].kind, actors[a].color, action) for a, action in pairs}


def is_held_out(kind: str, color: str, action: str) -> bool:
    """Whether the combination is kept out of the `train` and `seen` splits (about one in eight)."""
    digest = hashlib.sha256(f"{kind}|{color}|{action}".encode()).digest()
    return digest[0] < 32
