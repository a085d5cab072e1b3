"""Match the facts of a prompt with those of its caption, both read by the cartoon world's grammar.

In: a prompt and a caption. Out: `FactMatch`: each fact the prompt states, with what the caption says of it, and how
much the caption makes up. What the prompt leaves open (a size, a pace, a place) the caption may fill in as it likes:
that is no fact, and nothing is made up by it. A figure too many, a scene too many, and an action too many of a figure
whose actions the prompt states, are made up. Walking and running are one action at two paces, as the prompt "a dog
moves" leaves the pace open.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from cineloop.world.language.comparison import match
from cineloop.world.language.phrases import phrases
from cineloop.world.language.read_text import parse, parse_whole
from cineloop.world.language.stated import StatedEvent, StatedFacts
from v2t_eval.core.statistics import f1

KINDS: tuple[str, ...] = (
    "place", "camera", "style", "kind", "color", "size", "count", "action", "direction", "speed", "to_color", "target",
    "relation", "order",
)  # fmt: skip
_ON_LEGS = {"walk": "slow", "run": "fast"}


@dataclass(frozen=True, kw_only=True)
class Fact:
    """One fact a prompt states: its kind (one of `KINDS`), its value, and the caption's value, None for nothing."""

    kind: str
    value: str
    caption_value: str | None

    @property
    def right(self) -> bool:
        """Whether the caption states the same."""
        return self.caption_value == self.value


@dataclass(frozen=True, kw_only=True)
class FactMatch:
    """A caption compared with its prompt: `facts` of the prompt (at least one), and `made_up`, how many figures,
    actions and scenes of the caption have no counterpart."""

    facts: tuple[Fact, ...]
    made_up: int

    @property
    def recall(self) -> float:
        """Share of the prompt's facts that the caption states rightly."""
        return sum(fact.right for fact in self.facts) / len(self.facts)

    @property
    def precision(self) -> float | None:
        """Share of what the caption states of the prompt's matters that is right; None where it states nothing."""
        stated = sum(fact.caption_value is not None for fact in self.facts) + self.made_up
        return sum(fact.right for fact in self.facts) / stated if stated else None

    @property
    def f1(self) -> float:
        return f1(self.recall, self.precision)


@dataclass(frozen=True)
class _Text:
    stated: StatedFacts
    open_pace: bool  # "moves": neither walks nor runs


def match_facts(prompt: str, caption: str) -> FactMatch | None:
    """The caption compared with the prompt; None where the prompt is not of the cartoon world or states no fact."""
    if parse_whole(prompt) is None:
        return None
    wanted, given = _read(prompt), _read(caption)
    actors, events = match(wanted.stated, given.stated)
    facts = [*_of_shots(wanted.stated, given.stated), *_of_actors(wanted.stated, given.stated, actors)]
    facts += _of_events(wanted, given, actors, events)
    facts += _of_relations(wanted.stated, given.stated, actors)
    if not facts:
        return None
    extra = max(0, len(given.stated.actors) - len(actors)) if wanted.stated.actors else 0
    extra += max(0, len(given.stated.shots) - len(wanted.stated.shots))
    extra += len(given.stated.events) - len(events) if wanted.stated.events else 0
    return FactMatch(facts=tuple(facts), made_up=extra)


@lru_cache(maxsize=4096)
def _read(text: str) -> _Text:
    return _Text(parse(text), any(p.kind == "act" and p.value == "go by kind" for p in phrases(text)))


def _fact(kind: str, value: object, other: object) -> list[Fact]:
    """The fact, where the prompt states it."""
    if value is None:
        return []
    return [Fact(kind=kind, value=str(value), caption_value=None if other is None else str(other))]


def _of_shots(wanted: StatedFacts, given: StatedFacts) -> list[Fact]:
    facts = _fact("style", wanted.style, given.style)
    for number, shot in enumerate(wanted.shots):
        other = given.shots[number] if number < len(given.shots) else None
        facts += _fact("place", shot.place, other and other.place)
        facts += _fact("camera", shot.camera, other and other.camera)
    return facts


def _of_actors(wanted: StatedFacts, given: StatedFacts, actors: dict[int, int]) -> list[Fact]:
    facts = []
    for index, actor in enumerate(wanted.actors):
        other = given.actors[actors[index]] if index in actors else None
        for kind in ("kind", "color", "size", "count"):
            facts += _fact(kind, getattr(actor, kind), getattr(other, kind, None))
    return facts


def _of_events(wanted: _Text, given: _Text, actors: dict[int, int], events: dict[int, int]) -> list[Fact]:
    facts = []
    for index, event in enumerate(wanted.stated.events):
        other = given.stated.events[events[index]] if index in events else None
        facts += _fact("action", _action_class(event), other and _action_class(other))
        facts += _fact("direction", event.direction, other and other.direction)
        facts += _fact("speed", _pace(event, wanted), other and _pace(other, given))
        facts += _fact("to_color", event.to_color, other and other.to_color)
        if event.target is not None:
            facts += _fact("target", "as asked", other and _target(event, other, actors))
    return facts + _order(wanted.stated, given.stated, events)


def _action_class(event: StatedEvent) -> str:
    return "walk or run" if event.action in _ON_LEGS else event.action


def _pace(event: StatedEvent, text: _Text) -> str | None:
    return event.speed or (None if text.open_pace else _ON_LEGS.get(event.action))


def _target(event: StatedEvent, other: StatedEvent, actors: dict[int, int]) -> str | None:
    if other.target is None:
        return None
    doer, whom = actors.get(-1 if event.actor is None else event.actor), actors.get(event.target or 0)
    same = other.target == whom or (event.action == "meet" and {other.actor, other.target} == {doer, whom})
    return "as asked" if same else "another"


def _order(wanted: StatedFacts, given: StatedFacts, events: dict[int, int]) -> list[Fact]:
    """One fact of a prompt whose events come one after another; with a value where the caption states all of them."""
    places = [(e.shot, e.step) for e in wanted.events]
    if len(set(places)) < 2:
        return []
    if not all(
        i in events and _action_class(given.events[events[i]]) == _action_class(e) for i, e in enumerate(wanted.events)
    ):
        return _fact("order", "as asked", None)
    places_in_order = [(given.events[events[i]].shot, given.events[events[i]].step) for i in range(len(places))]
    pairs = [(i, k) for i in range(len(places)) for k in range(i)]
    kept = all(_sign(places[i], places[k]) == _sign(places_in_order[i], places_in_order[k]) for i, k in pairs)
    return _fact("order", "as asked", "as asked" if kept else "otherwise")


def _sign(a: tuple[int, int], b: tuple[int, int]) -> int:
    return (a > b) - (a < b)


def _of_relations(wanted: StatedFacts, given: StatedFacts, actors: dict[int, int]) -> list[Fact]:
    stated = {(r.a, r.b): r.relation for r in given.relations}
    facts = []
    for relation in wanted.relations:
        a, b = actors.get(relation.a, -1), actors.get(relation.b, -1)
        caption_value = stated.get((a, b)) or ("the other way round" if (b, a) in stated else None)
        facts += _fact("relation", relation.relation, caption_value)
    return facts
