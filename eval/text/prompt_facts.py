"""What a caption states of what its prompt asks for, fact by fact, both read by the cartoon world's grammar.

In: a prompt and a caption. Out: `Held`: each fact the prompt states, with what the caption says of it, and how much the
caption makes up. What the prompt leaves open (a size, a pace, a place) the caption may fill in as it likes: that is no
fact, and nothing is made up by it. A figure too many, a scene too many, and a deed too many of somebody whose deeds the
prompt tells, are. Walking and running are one deed at two paces, as the prompt "a dog moves" leaves the pace open.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from cineloop.world.language.comparison import match
from cineloop.world.language.phrases import phrases
from cineloop.world.language.read_text import parse
from cineloop.world.language.stated import Stated, StatedEvent
from v2t_eval.judge.prompt import of_world

KINDS: tuple[str, ...] = (
    "place", "camera", "style", "kind", "color", "size", "count", "action", "direction", "speed", "to_color", "target",
    "relation", "order",
)  # fmt: skip
_ON_LEGS = {"walk": "slow", "run": "fast"}


@dataclass(frozen=True, kw_only=True)
class Fact:
    """One fact a prompt states: its kind (one of `KINDS`), its value, and what the caption says, None for nothing."""

    kind: str
    value: str
    said: str | None

    @property
    def right(self) -> bool:
        """Whether the caption says so too."""
        return self.said == self.value


@dataclass(frozen=True, kw_only=True)
class Held:
    """A caption held against a prompt: `facts` of the prompt (at least one), and `made_up`, how many figures, deeds and
    scenes of the caption have no counterpart."""

    facts: tuple[Fact, ...]
    made_up: int

    @property
    def recall(self) -> float:
        """Share of the prompt's facts that the caption states rightly."""
        return sum(fact.right for fact in self.facts) / len(self.facts)

    @property
    def precision(self) -> float | None:
        """Share of what the caption states of the prompt's matters that is right; None where it states nothing."""
        stated = sum(fact.said is not None for fact in self.facts) + self.made_up
        return sum(fact.right for fact in self.facts) / stated if stated else None

    @property
    def f1(self) -> float:
        """2 r p / (r + p); 0 where nothing is right."""
        recall, precision = self.recall, self.precision
        return 2 * recall * precision / (recall + precision) if recall and precision else 0.0


@dataclass(frozen=True)
class _Text:
    stated: Stated
    open_pace: bool  # "moves": neither walks nor runs


def hold(prompt: str, caption: str) -> Held | None:
    """The caption held against the prompt; None where the prompt is not of the cartoon world or states no fact."""
    if of_world(prompt) is None:
        return None
    asked, told = _read(prompt), _read(caption)
    actors, events = match(asked.stated, told.stated)
    facts = [*_of_shots(asked.stated, told.stated), *_of_actors(asked.stated, told.stated, actors)]
    facts += _of_events(asked, told, actors, events)
    facts += _of_relations(asked.stated, told.stated, actors)
    if not facts:
        return None
    extra = max(0, len(told.stated.actors) - len(actors)) if asked.stated.actors else 0
    extra += max(0, len(told.stated.shots) - len(asked.stated.shots))
    extra += len(told.stated.events) - len(events) if asked.stated.events else 0
    return Held(facts=tuple(facts), made_up=extra)


@lru_cache(maxsize=65536)
def _read(text: str) -> _Text:
    return _Text(parse(text), any(p.kind == "act" and p.value == "go by kind" for p in phrases(text)))


def _fact(kind: str, value: object, said: object) -> list[Fact]:
    """The fact, where the prompt states it."""
    return [] if value is None else [Fact(kind=kind, value=str(value), said=None if said is None else str(said))]


def _of_shots(asked: Stated, told: Stated) -> list[Fact]:
    facts = _fact("style", asked.style, told.style)
    for number, shot in enumerate(asked.shots):
        other = told.shots[number] if number < len(told.shots) else None
        facts += _fact("place", shot.place, other and other.place)
        facts += _fact("camera", shot.camera, other and other.camera)
    return facts


def _of_actors(asked: Stated, told: Stated, actors: dict[int, int]) -> list[Fact]:
    facts = []
    for index, actor in enumerate(asked.actors):
        other = told.actors[actors[index]] if index in actors else None
        for kind in ("kind", "color", "size", "count"):
            facts += _fact(kind, getattr(actor, kind), getattr(other, kind, None))
    return facts


def _of_events(asked: _Text, told: _Text, actors: dict[int, int], events: dict[int, int]) -> list[Fact]:
    facts = []
    for index, event in enumerate(asked.stated.events):
        other = told.stated.events[events[index]] if index in events else None
        facts += _fact("action", _deed(event), other and _deed(other))
        facts += _fact("direction", event.direction, other and other.direction)
        facts += _fact("speed", _pace(event, asked), other and _pace(other, told))
        facts += _fact("to_color", event.to_color, other and other.to_color)
        if event.target is not None:
            facts += _fact("target", "as asked", other and _target(event, other, actors))
    return facts + _order(asked.stated, told.stated, events)


def _deed(event: StatedEvent) -> str:
    return "walk or run" if event.action in _ON_LEGS else event.action


def _pace(event: StatedEvent, text: _Text) -> str | None:
    return event.speed or (None if text.open_pace else _ON_LEGS.get(event.action))


def _target(event: StatedEvent, other: StatedEvent, actors: dict[int, int]) -> str | None:
    if other.target is None:
        return None
    doer, whom = actors.get(-1 if event.actor is None else event.actor), actors.get(event.target or 0)
    same = other.target == whom or (event.action == "meet" and {other.actor, other.target} == {doer, whom})
    return "as asked" if same else "another"


def _order(asked: Stated, told: Stated, events: dict[int, int]) -> list[Fact]:
    """One fact of a prompt whose events come one after another; said where the caption tells all of them."""
    wanted = [(e.shot, e.step) for e in asked.events]
    if len(set(wanted)) < 2:
        return []
    if not all(i in events and _deed(told.events[events[i]]) == _deed(e) for i, e in enumerate(asked.events)):
        return _fact("order", "as asked", None)
    found = [(told.events[events[i]].shot, told.events[events[i]].step) for i in range(len(wanted))]
    pairs = [(i, k) for i in range(len(wanted)) for k in range(i)]
    kept = all(_sign(wanted[i], wanted[k]) == _sign(found[i], found[k]) for i, k in pairs)
    return _fact("order", "as asked", "as asked" if kept else "otherwise")


def _sign(a: tuple[int, int], b: tuple[int, int]) -> int:
    return (a > b) - (a < b)


def _of_relations(asked: Stated, told: Stated, actors: dict[int, int]) -> list[Fact]:
    stated = {(r.a, r.b): r.relation for r in told.relations}
    facts = []
    for relation in asked.relations:
        a, b = actors.get(relation.a, -1), actors.get(relation.b, -1)
        said = stated.get((a, b)) or ("the other way round" if (b, a) in stated else None)
        facts += _fact("relation", relation.relation, said)
    return facts
