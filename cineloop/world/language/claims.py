"""Yes/no questions about a clip, always in pairs: one to be answered yes, its twin, false in one fact, with no.

In: a `NamedFacts` (facts with unambiguous names) and a random stream. Out: for each kind of claim a pair (yes, no) of
questions, or None where the clip offers no such pair; since both or none exist, half of all answers are yes.
The false twin is drawn so that the wording alone gives little away: a rare truth (a moving camera) is contrasted with
the common one (a still camera) about as often as the other way round, by leaving out part of the common ones.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TypeVar

from cineloop.world import vocabulary as words
from cineloop.world.language import lexicon as lex
from cineloop.world.language.grammar import Fact, article, inflect, noun, pick
from cineloop.world.language.stated import steps_of

T = TypeVar("T")
Pair = Sequence[str] | None  # the true one, its false twin
_OPPOSITE = {"left": "right", "right": "left", "up": "down", "down": "up"}
_ALWAYS_EARLY, _ALWAYS_LATE = ("appear", "fall"), ("vanish", "stop", "turn")
_OFTEN = {a: 5 if a in ("walk", "run") else 14 for a in words.TRAVEL} | {"fall": 1, "grow": 1, "appear": 1, "bounce": 1}
_TIMELESS = ("stop", "turn", "vanish", "appear", "recolor", "fall", "collide", "meet", "hide")


class NamedFacts:
    """Facts with a name for every actor that is the only one of its description; None for the others."""

    def __init__(self, facts: Fact) -> None:
        self.facts = facts
        self.actors: list[Fact] = facts["actors"]
        self.events: list[Fact] = facts["events"]
        self.one_shot = len(facts["shots"]) == 1
        self.names = [self._name(i) for i in range(len(self.actors))]
        self.named = [i for i, name in enumerate(self.names) if name]
        self.clear_events = [e for e in self.events if self.clear(e)]

    def _name(self, index: int) -> str | None:
        actor = self.actors[index]
        others = [a for i, a in enumerate(self.actors) if i != index and a["kind"] == actor["kind"]]
        if not others:
            return f"the {noun(actor['kind'], actor['count'])}"
        if any(a["color"] == actor["color"] for a in others):
            return None
        return f"the {actor['color']} {noun(actor['kind'], actor['count'])}"

    def clear(self, event: Fact) -> bool:
        """Whether the event can be asked about: its actors have names and the actor does this only once."""
        again = sum(e["actor"] == event["actor"] and e["action"] == event["action"] for e in self.events)
        target = event["target"]
        return bool(self.names[event["actor"]]) and (target is None or bool(self.names[target])) and again == 1

    def name(self, index: int) -> str:
        """The name of an actor that has one."""
        return self.names[index] or ""

    def description_of(self, index: int) -> str:
        """Colour and kind: the red ball."""
        actor = self.actors[index]
        return f"the {actor['color']} {noun(actor['kind'], actor['count'])}"

    def many(self, index: int) -> bool:
        """Whether the actor is a group."""
        return bool(self.actors[index]["count"] > 1)

    def do(self, index: int) -> str:
        """The verb do that agrees: do or does."""
        return "do" if self.many(index) else "does"

    def be(self, index: int) -> str:
        """The verb be that agrees: is or are."""
        return "are" if self.many(index) else "is"

    def changes(self, index: int, *actions: str) -> bool:
        """Whether the actor does one of `actions`."""
        return any(e["actor"] == index and e["action"] in actions for e in self.events)

    def verb(self, event: Fact, form: str, *, way: bool = True) -> str:
        """The event's canonical predicate; `form` is s, pl, bare or ing; `way` adds the direction."""
        action = event["action"]
        phrase = f"turn {event['to_color']}" if action == "recolor" else lex.VERBS[action][0]
        text = inflect(phrase, form)
        if event["target"] is not None:
            text += f" {self.name(event['target'])}"
        if way and event["direction"]:
            text += f" {lex.DIRECTION_WORDS[event['direction']][0]}"
        return text

    def finite(self, event: Fact, *, way: bool = True) -> str:
        """The canonical predicate that agrees with its subject: rolls to the right."""
        return self.verb(event, "pl" if self.many(event["actor"]) else "s", way=way)

    def clause(self, event: Fact, *, way: bool = True) -> str:
        """Subject and predicate: the ball rolls to the right."""
        return f"{self.name(event['actor'])} {self.finite(event, way=way)}"

    def steps(self) -> list[list[Fact]]:
        """Events by step, shot after shot."""
        groups: list[list[Fact]] = []
        for number in range(len(self.facts["shots"])):
            events = [e for e in self.events if e["shot"] == number]
            at = len(groups)
            for event, step in zip(events, steps_of([(e["start_s"], e["end_s"]) for e in events]), strict=True):
                if at + step == len(groups):
                    groups.append([])
                groups[at + step].append(event)
        return groups


def _exists(clip: NamedFacts, rng: random.Random) -> Pair:
    actor = pick(rng, clip.actors)
    if rng.random() < 0.4:
        return _exists_at_all(clip, actor["kind"], rng)
    seen = {(a["kind"], a["color"]) for a in clip.actors}
    seen |= {(clip.actors[e["actor"]]["kind"], e["to_color"]) for e in clip.events if e["to_color"]}
    pairs = [(kind, actor["color"]) for kind in words.KINDS] + [(actor["kind"], color) for color in words.COLORS]
    unseen = [p for p in pairs if p not in seen]
    if not unseen:
        return None
    false = pick(rng, unseen)
    ask = pick(rng, ("Is there {}?", "Do you see {}?"))
    more = actor["count"] > 1
    phrases = [
        f"any {color} {noun(kind, 2)}" if more else article(f"{color} {kind}")
        for kind, color in ((actor["kind"], actor["color"]), false)
    ]
    ask = "Are there {}?" if more else ask
    return ask.format(phrases[0]), ask.format(phrases[1])


def _exists_at_all(clip: NamedFacts, kind: str, rng: random.Random) -> Pair:
    """By kind alone: what a reader learns first, and learns the others by."""
    here = {a["kind"] for a in clip.actors}
    others = [k for k in words.KINDS if k not in here]
    if not others:
        return None
    false = pick(rng, others)
    ask = pick(rng, ("Is there {}?", "Do you see {}?"))
    return ask.format(article(kind)), ask.format(article(false))


def _color(clip: NamedFacts, rng: random.Random) -> Pair:
    if not clip.named:
        return None
    i = pick(rng, clip.named)
    true = clip.actors[i]["color"]
    first = " at first" if clip.changes(i, "recolor") else ""
    if clip.name(i).count(" ") > 1:
        return None  # its name gives the colour away
    false = pick(rng, [c for c in words.COLORS if c != true])
    return [f"{clip.be(i).capitalize()} {clip.name(i)} {color}{first}?" for color in (true, false)]


def _size(clip: NamedFacts, rng: random.Random) -> Pair:
    if not clip.named:
        return None
    i = pick(rng, clip.named)
    true = clip.actors[i]["size"]
    first = " at first" if clip.changes(i, "grow", "shrink") else ""
    count = clip.actors[i]["count"]
    if count > 2:
        return None  # larger groups are always small
    false = {"small": "medium", "medium": "small"}.get(true, "small")
    if count == 1 and rng.random() < (0.5 if true == "large" else 0.2):
        false = "medium" if true == "large" else "large"
    return [f"{clip.be(i).capitalize()} {clip.name(i)} {size}{first}?" for size in (true, false)]


def _count(clip: NamedFacts, rng: random.Random) -> Pair:
    i = int(rng.random() * len(clip.actors))
    actor = clip.actors[i]
    if not clip.names[i] or clip.name(i).count(" ") > 1:
        return None
    false = _contrast(rng, actor["count"], [1, 2, 2, 2, 2, 3, 3, 4], common=1, keep=0.15)
    if false is None:
        return None
    phrases = [
        f"{'Is' if n == 1 else 'Are'} there exactly {lex.NUMBERS[n]} {noun(actor['kind'], n)}?"
        for n in (actor["count"], false)
    ]
    return phrases[0], phrases[1]


def _contrast(rng: random.Random, true: T, options: Sequence[T], *, common: T, keep: float) -> T | None:
    """A false option; of clips whose truth is the `common` one only a share `keep` is asked about (else None)."""
    if true == common:
        return pick(rng, [o for o in options if o != true]) if rng.random() < keep else None
    return common if rng.random() < 0.6 else pick(rng, [o for o in options if o not in (true, common)])


def _place(clip: NamedFacts, rng: random.Random) -> Pair:
    true = pick(rng, clip.facts["shots"])["place"]
    here = {s["place"] for s in clip.facts["shots"]}
    elsewhere = [p for p in words.PLACES if p not in here]
    if not elsewhere:
        return None
    false = pick(rng, elsewhere)
    ask = pick(rng, ("Does this happen {}?", "Is the scene {}?")) if clip.one_shot else "Is there a scene {}?"
    return ask.format(lex.PLACE_PHRASES[true][0]), ask.format(lex.PLACE_PHRASES[false][0])


def _action(clip: NamedFacts, rng: random.Random) -> Pair:
    events = [e for e in clip.clear_events if e["target"] is None and e["action"] != "recolor"]
    if not events:
        return None
    event = pick(rng, events)
    i = event["actor"]
    done = {e["action"] for e in clip.events if i in (e["actor"], e["target"])}
    moves = bool(done & {"chase", "overtake", "collide", "meet", "hide", "turn"})
    able = [a for a in words.actions_of(clip.actors[i]["kind"]) if a not in done and a != "recolor"]
    able = [a for a in able if not (moves and a in words.TRAVEL)]
    if not able:
        return None
    false = pick(rng, [a for a in able for _ in range(_OFTEN.get(a, 2))])
    ask = f"{clip.do(i).capitalize()} {clip.name(i)} "
    return ask + lex.VERBS[event["action"]][0] + "?", ask + lex.VERBS[false][0] + "?"


def _direction(clip: NamedFacts, rng: random.Random) -> Pair:
    events = [e for e in clip.clear_events if e["direction"]]
    if not events:
        return None
    event = pick(rng, events)
    ways = {e["direction"] for e in clip.events if e["actor"] == event["actor"]}
    false = _OPPOSITE[event["direction"]]
    if false in ways and event["action"] != "turn":
        return None  # it went there as well, on its way back
    ask = f"{clip.do(event['actor']).capitalize()} {clip.name(event['actor'])} {clip.verb(event, 'bare', way=False)}"
    return [f"{ask} {lex.DIRECTION_WORDS[way][0]}?" for way in (event["direction"], false)]


def _speed(clip: NamedFacts, rng: random.Random) -> Pair:
    events = [e for e in clip.clear_events if e["speed"]]
    if not events:
        return None
    event = pick(rng, events)
    false = "fast" if event["speed"] == "slow" else "slow"
    ask = f"{clip.do(event['actor']).capitalize()} {clip.name(event['actor'])} {clip.verb(event, 'bare', way=False)}"
    return [f"{ask} {lex.SPEED_WORDS[speed][0]}?" for speed in (event["speed"], false)]


def _order(clip: NamedFacts, rng: random.Random) -> Pair:
    steps = [[e for e in step if e in clip.clear_events] for step in clip.steps()]
    steps = [step for step in steps if step]
    if len(steps) < 2:
        return None
    at = int(rng.random() * (len(steps) - 1))
    early, late = pick(rng, steps[at]), pick(rng, steps[at + 1])
    if early["action"] in _ALWAYS_EARLY or late["action"] in _ALWAYS_LATE:
        return None  # nobody need watch the clip to know
    first, second, link = (early, late, "before") if rng.random() < 0.5 else (late, early, "after")
    asked = []
    for one, other in ((first, second), (second, first)):
        ask = f"{clip.do(one['actor']).capitalize()} {clip.name(one['actor'])} {clip.verb(one, 'bare', way=False)}"
        asked.append(f"{ask} {link} {clip.clause(other, way=False)}?")
    return asked[0], asked[1]


def _interaction(clip: NamedFacts, rng: random.Random) -> Pair:
    events = [e for e in clip.clear_events if e["target"] is not None and e["action"] != "meet"]
    if not events:
        return None
    event = pick(rng, events)
    a, b, verb = event["actor"], event["target"], lex.VERBS[event["action"]][0]
    return [f"{clip.do(x).capitalize()} {clip.name(x)} {verb} {clip.name(y)}?" for x, y in ((a, b), (b, a))]


def _recolor(clip: NamedFacts, rng: random.Random) -> Pair:
    events = [e for e in clip.clear_events if e["to_color"]]
    if not events:
        return None
    event = pick(rng, events)
    i = event["actor"]
    false = pick(rng, [c for c in words.COLORS if c not in (event["to_color"], clip.actors[i]["color"])])
    ask = f"{clip.do(i).capitalize()} {clip.name(i)} turn "
    return ask + event["to_color"] + "?", ask + false + "?"


def _camera(clip: NamedFacts, rng: random.Random) -> Pair:
    used = {s["camera"] for s in clip.facts["shots"]}
    if len(used) > 1:
        return None
    true = next(iter(used))
    false = _contrast(rng, true, words.CAMERAS, common="static", keep=0.2)
    if false is None:
        return None
    return [f"Does the camera {lex.CAMERA_VERBS[camera][0]}?" for camera in (true, false)]


def _style(clip: NamedFacts, rng: random.Random) -> Pair:
    true = clip.facts["style"]
    false = _contrast(rng, true, words.STYLES, common="flat", keep=0.43)
    if false is None:
        return None
    return [f"Is this {article(lex.STYLE_NOUNS[style][0])}?" for style in (true, false)]


def _relation(clip: NamedFacts, rng: random.Random) -> Pair:
    relations = [r for r in clip.facts["relations"] if clip.names[r["a"]] and clip.names[r["b"]]]
    if not relations:
        return None
    r = pick(rng, relations)
    a, b = r["a"], r["b"]
    forward, backward = lex.RELATION_WORDS[r["relation"]][0], lex.INVERSE_WORDS[r["relation"]][0]
    if r["relation"] == "inside":  # "around" would be odd: swap the two instead
        pairs = [(a, forward, b), (b, forward, a)]
    else:
        pairs = [(a, forward, b), (a, backward, b)] if rng.random() < 0.5 else [(b, backward, a), (b, forward, a)]
    return [f"{clip.be(x).capitalize()} {clip.name(x)} {phrase} {clip.name(y)}?" for x, phrase, y in pairs]


def _when(clip: NamedFacts, rng: random.Random) -> Pair:
    """Is it still at it at that second: one inside the event, one well outside."""
    length = clip.facts["duration_s"]
    events = [e for e in clip.clear_events if e["action"] not in _TIMELESS]
    events = [e for e in events if e["end_s"] - e["start_s"] > 0.6 and max(e["start_s"], length - e["end_s"]) > 0.6]
    if not events:
        return None
    event = pick(rng, events)
    start, end = event["start_s"], event["end_s"]
    inside = start + 0.2 + (end - start - 0.4) * rng.random()
    room = [(0.0, start - 0.3)] if start > 0.6 else []
    room += [(end + 0.3, length)] if length - end > 0.6 else []
    low, high = pick(rng, room)
    outside = low + (high - low) * rng.random()
    ask = f"{clip.be(event['actor']).capitalize()} {clip.name(event['actor'])} {clip.verb(event, 'ing', way=False)}"
    return f"{ask} at {inside:.1f} seconds?", f"{ask} at {outside:.1f} seconds?"


CLAIMS: dict[str, Callable[[NamedFacts, random.Random], Pair]] = {
    "exists": _exists,
    "color": _color,
    "size": _size,
    "count": _count,
    "place": _place,
    "action": _action,
    "direction": _direction,
    "speed": _speed,
    "order": _order,
    "interaction": _interaction,
    "recolor": _recolor,
    "camera": _camera,
    "style": _style,
    "relation": _relation,
    "when": _when,
}
