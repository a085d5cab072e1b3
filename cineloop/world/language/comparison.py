"""How what a text states differs from what is true, fact by fact.

In: `StatedFacts` (from `read_text.parse`) and a clip's facts. Out: `FactComparison`: for each kind of fact how many are
right, missed, wrong; what was made up; whether everything a caption of that style must say is right (`joint`).
Stated actors are matched to true ones by best assignment, then events within matched actors. Training looks at it
while it runs, `v2t_eval.metrics.facts` scores with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import permutations
from typing import Any

from cineloop.world.language.stated import StatedActor, StatedEvent, StatedFacts, required_kinds, truth

KINDS: tuple[str, ...] = (
    "actor", "color", "size", "count", "place", "action", "direction", "speed", "target", "recolor",
    "order", "time", "camera", "style", "relation",
)  # fmt: skip
SECONDS_OFF = 0.5  # a stated time may be off by so much
_SMALL = 5  # up to so many actors every assignment is tried


@dataclass
class Tally:
    """Facts of one kind: stated rightly, not stated, stated wrongly."""

    right: int = 0
    missed: int = 0
    wrong: int = 0

    @property
    def num(self) -> int:
        """All facts of the kind."""
        return self.right + self.missed + self.wrong


@dataclass
class FactComparison:
    """The result for one clip; `made_up` counts stated actors, events and relations that have no counterpart."""

    tallies: dict[str, Tally] = field(default_factory=dict)
    made_up: int = 0
    joint: bool = True

    @property
    def total(self) -> Tally:
        """All kinds together."""
        every = self.tallies.values()
        return Tally(sum(t.right for t in every), sum(t.missed for t in every), sum(t.wrong for t in every))

    def add(self, kind: str, true: object, stated: object, *, must: bool, same: bool | None = None) -> None:
        """Count one fact; what need not be stated counts only where it is. `same` overrides equality."""
        if stated is None:
            if must:
                self.tallies.setdefault(kind, Tally()).missed += 1
                self.joint = False
            return
        tally = self.tallies.setdefault(kind, Tally())
        if true == stated if same is None else same:
            tally.right += 1
        else:
            tally.wrong += 1
            self.joint = False


def compare(stated: StatedFacts, facts: Mapping[str, Any], style: str = "short") -> FactComparison:
    """Compare; `style` (short, detailed, timed) says which facts had to be stated.

    Kinds that need not be stated are counted where they are stated. `joint` asks for every required fact right,
    nothing stated wrongly and nothing made up.

    Raises:
        ValueError: on an unknown style.
    """
    must = required_kinds(style)
    true, result = truth(facts), FactComparison()
    for number, shot in enumerate(true.shots):
        stated_shot = stated.shots[number] if number < len(stated.shots) else None
        result.add("place", shot.place, stated_shot.place if stated_shot else None, must="place" in must)
        result.add("camera", shot.camera, stated_shot.camera if stated_shot else None, must="camera" in must)
    result.add("style", true.style, stated.style, must="style" in must)
    actors, events = match(true, stated)
    for index, actor in enumerate(true.actors):
        _compare_actor(result, actor, stated.actors[actors[index]] if index in actors else None, must)
    for index, event in enumerate(true.events):
        partner = stated.events[events[index]] if index in events else None
        _compare_event(result, event, partner, actors, must)
    _compare_order(result, true, stated, events, must="order" in must)
    _compare_relations(result, true, stated, actors, must="relation" in must)
    extra_shots = max(0, len(stated.shots) - len(true.shots))
    result.made_up += len(stated.actors) - len(actors) + len(stated.events) - len(events) + extra_shots
    result.joint = result.joint and not result.made_up
    return result


def _compare_actor(result: FactComparison, true: StatedActor, stated: StatedActor | None, must: frozenset[str]) -> None:
    result.add("actor", true.kind, stated.kind if stated else None, must=True)
    for name in ("color", "size", "count"):
        result.add(name, getattr(true, name), getattr(stated, name) if stated else None, must=name in must)


def _compare_event(
    result: FactComparison,
    true: StatedEvent,
    stated: StatedEvent | None,
    actors: Mapping[int, int],
    must: frozenset[str],
) -> None:
    result.add("action", true.action, stated.action if stated else None, must=True)
    if true.direction:
        result.add("direction", true.direction, stated.direction if stated else None, must=True)
    if true.speed:
        result.add("speed", true.speed, stated.speed if stated else None, must="speed" in must)
    if true.to_color:
        result.add("recolor", true.to_color, stated.to_color if stated else None, must=True)
    if true.target is not None:
        pair = {actors.get(true.actor if true.actor is not None else -1), actors.get(true.target)}
        same = stated is not None and stated.target == actors.get(true.target)
        if stated is not None and true.action == "meet":
            same = {stated.actor, stated.target} == pair
        result.add("target", true.target, stated.target if stated else None, must=True, same=same)
    if stated is not None and stated.start_s is not None and stated.end_s is not None:
        off = max(abs(stated.start_s - (true.start_s or 0.0)), abs(stated.end_s - (true.end_s or 0.0)))
        result.add("time", 0, off, must=True, same=off <= SECONDS_OFF)
    elif "times" in must:
        result.add("time", 0, None, must=True)


def _compare_order(
    result: FactComparison, true: StatedFacts, stated: StatedFacts, events: Mapping[int, int], *, must: bool
) -> None:
    """One fact for a clip with two events or more that do not happen at the same time.

    It counts as stated when every event is, with its right action; as right when no two stand the wrong way round.
    """
    moments = [(e.shot, e.step) for e in true.events]
    if len(set(moments)) < 2:
        return
    whole = all(i in events and stated.events[events[i]].action == e.action for i, e in enumerate(true.events))
    if not whole:
        result.add("order", True, None, must=must)
        return
    order = [(stated.events[events[i]].shot, stated.events[events[i]].step) for i in range(len(moments))]
    pairs = [(i, k) for i in range(len(moments)) for k in range(i)]
    kept = all((moments[i] > moments[k]) == (order[i] > order[k]) for i, k in pairs)
    kept = kept and all((moments[i] == moments[k]) == (order[i] == order[k]) for i, k in pairs)
    result.add("order", True, kept, must=must)


def _compare_relations(
    result: FactComparison, true: StatedFacts, stated: StatedFacts, actors: Mapping[int, int], *, must: bool
) -> None:
    relations = {(r.a, r.b): r.relation for r in stated.relations}
    for relation in true.relations:
        a, b = actors.get(relation.a, -1), actors.get(relation.b, -1)
        forward, backward = relations.pop((a, b), None), relations.pop((b, a), None)
        if forward is None and backward is not None:
            result.add("relation", True, False, must=must)  # the two are swapped
        else:
            result.add("relation", relation.relation, forward, must=must)
    result.made_up += len(relations)


# --- who is who
def match(true: StatedFacts, stated: StatedFacts) -> tuple[dict[int, int], dict[int, int]]:
    """Who is who and what is what: true actor -> stated actor, true event -> stated event, each at most once."""
    actors = _match_actors(true, stated)
    return actors, _match_events(true, stated, actors)


def _match_actors(true: StatedFacts, stated: StatedFacts) -> dict[int, int]:
    """True actor -> stated actor. Every stated actor finds a partner while partners last."""
    done_true, done_stated = _deeds(true), _deeds(stated)

    def score(i: int, k: int) -> float:
        a, b = true.actors[i], stated.actors[k]
        points = 8.0 * (a.kind == b.kind) + 4.0 * (a.color == b.color) + 2.0 * (a.count == b.count)
        points += 2.0 * (a.shot == b.shot) + 1.0 * (a.size == b.size)
        return points + 1.5 * len(done_true[i] & done_stated[k]) - 0.001 * abs(i - k)

    return _assign(range(len(true.actors)), range(len(stated.actors)), score)


def _deeds(stated: StatedFacts) -> list[set[tuple[str, bool]]]:
    deeds: list[set[tuple[str, bool]]] = [set() for _ in stated.actors]
    for event in stated.events:
        if event.actor is not None:
            deeds[event.actor].add((event.action, True))
        if event.target is not None:
            deeds[event.target].add((event.action, event.action == "meet"))
    return deeds


def _match_events(true: StatedFacts, stated: StatedFacts, actors: Mapping[int, int]) -> dict[int, int]:
    """True event -> stated event of the matched actor (for the unordered pair of a meeting: either of the two)."""
    matched: dict[int, int] = {}
    for index, partner in actors.items():
        mine = [i for i, e in enumerate(true.events) if e.actor == index]
        theirs = [k for k, e in enumerate(stated.events) if _doer(e, partner, true, mine) and k not in matched.values()]

        def score(i: int, k: int) -> float:
            a, b = true.events[i], stated.events[k]
            points = 8.0 * (a.action == b.action) + 2.0 * (a.direction == b.direction) + (a.to_color == b.to_color)
            return points + (a.target is None) * (b.target is None) - 0.01 * abs(i - k)

        matched |= _assign(mine, theirs, score)
    return matched


def _doer(event: StatedEvent, partner: int, true: StatedFacts, mine: Sequence[int]) -> bool:
    meets = event.action == "meet" and any(true.events[i].action == "meet" for i in mine)
    return event.actor == partner or (meets and event.target == partner)


def _assign(rows: Sequence[int], columns: Sequence[int], score: Callable[[int, int], float]) -> dict[int, int]:
    """The one-to-one assignment of the highest total score: all tried when few, best pair first when many."""
    if not rows or not columns:
        return {}
    if max(len(rows), len(columns)) > _SMALL:
        pairs = sorted(((score(i, k), i, k) for i in rows for k in columns), key=lambda p: (-p[0], p[1], p[2]))
        partners: dict[int, int] = {}
        for _, i, k in pairs:
            if i not in partners and k not in partners.values():
                partners[i] = k
        return partners
    if len(rows) <= len(columns):
        options = (list(zip(rows, chosen, strict=True)) for chosen in permutations(columns, len(rows)))
    else:
        options = (list(zip(chosen, columns, strict=True)) for chosen in permutations(rows, len(columns)))
    return dict(max(options, key=lambda pairs: sum(score(i, k) for i, k in pairs)))
