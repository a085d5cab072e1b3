"""What a text states about a clip, and the truth in the same form, so that the two can be compared.

In: `Scene.facts()` (a dict). Out: `StatedFacts`: shots, actors, events grouped in steps, relations; a field that is not
stated is None. `required_kinds(style)` says which fields a caption of that style must state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

STYLES: tuple[str, ...] = ("short", "detailed", "timed")


@dataclass(kw_only=True)
class StatedShot:
    """A stretch without a cut: where it is and what the camera does."""

    place: str | None = None
    camera: str | None = None


@dataclass(kw_only=True)
class StatedActor:
    """A group of equal figures."""

    kind: str
    color: str | None = None
    size: str | None = None
    count: int | None = None
    shot: int = 0


@dataclass(kw_only=True)
class StatedEvent:
    """One thing that happens; events of equal `step` happen at the same time, a larger step comes later."""

    actor: int | None
    action: str
    direction: str | None = None
    speed: str | None = None
    target: int | None = None
    to_color: str | None = None
    shot: int = 0
    step: int = 0
    start_s: float | None = None
    end_s: float | None = None


@dataclass(kw_only=True)
class StatedRelation:
    """Actor `a` is `relation` actor `b`."""

    a: int
    relation: str
    b: int


@dataclass(kw_only=True)
class StatedFacts:
    """Everything a text states; `unread` holds the words that were not understood."""

    style: str | None = None
    shots: list[StatedShot] = field(default_factory=list)
    actors: list[StatedActor] = field(default_factory=list)
    events: list[StatedEvent] = field(default_factory=list)
    relations: list[StatedRelation] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)

    def steps(self) -> list[list[StatedEvent]]:
        """Events grouped by step, in order of time."""
        groups: dict[tuple[int, int], list[StatedEvent]] = {}
        for event in self.events:
            groups.setdefault((event.shot, event.step), []).append(event)
        return [groups[key] for key in sorted(groups)]


def steps_of(times: Sequence[tuple[float, float]]) -> list[int]:
    """Number the events (start, end in seconds, sorted by start) by step.

    An event shares the step of the one before when the two overlap for at least half of the shorter one, by times
    rounded to a tenth (what a timed caption states).
    """
    numbers: list[int] = []
    first = (0.0, 0.0)
    for start, end in times:
        start, end = round(start, 1), round(end, 1)
        shorter = min(end - start, first[1] - first[0])
        together = bool(numbers) and min(end, first[1]) - max(start, first[0]) >= max(shorter / 2, 0.05)
        if together:
            numbers.append(numbers[-1])
        else:
            numbers.append(numbers[-1] + 1 if numbers else 0)
            first = (start, end)
    return numbers


def truth(facts: Mapping[str, Any]) -> StatedFacts:
    """The facts of a clip as if a text had stated all of them."""
    stated = StatedFacts(style=facts["style"])
    stated.shots = [StatedShot(place=s["place"], camera=s["camera"]) for s in facts["shots"]]
    stated.actors = [
        StatedActor(kind=a["kind"], color=a["color"], size=a["size"], count=a["count"], shot=a["shot"])
        for a in facts["actors"]
    ]
    keys = ("actor", "action", "direction", "speed", "target", "to_color", "shot", "start_s", "end_s")
    for number in range(len(facts["shots"])):
        events = [e for e in facts["events"] if e["shot"] == number]
        steps = steps_of([(e["start_s"], e["end_s"]) for e in events])
        for event, step in zip(events, steps, strict=True):
            stated.events.append(StatedEvent(step=step, **{key: event[key] for key in keys}))
    stated.relations = [StatedRelation(a=r["a"], relation=r["relation"], b=r["b"]) for r in facts["relations"]]
    return stated


def required_kinds(style: str) -> frozenset[str]:
    """The kinds of fact a caption of `style` must state.

    Raises:
        ValueError: on an unknown style.
    """
    short = {"actor", "color", "count", "action", "direction", "place", "order", "relation", "to_color", "target"}
    if style == "short":
        return frozenset(short)
    if style == "timed":
        return frozenset(short | {"size", "speed", "times"})
    if style == "detailed":
        return frozenset(short | {"size", "speed", "camera", "style"})
    raise ValueError(f"style must be one of {', '.join(STYLES)}, not {style!r}")
