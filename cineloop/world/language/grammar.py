"""Phrases and clauses of the cartoon world: noun phrases, verb forms, agreement, pronouns, sentence shapes.

In: events and actors of one shot (the dicts of `Scene.facts()`). Out: surface items (words, references to actors,
places where an adjunct may stand), and text from them. Every shape here is one `read_text` can read back exactly.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

from cineloop.world import vocabulary as words
from cineloop.world.language import lexicon as lex

T = TypeVar("T")
Fact = Mapping[str, Any]
LEAD, AFTER_SUBJECT, AFTER_VERB, END = "<lead>", "<subject>", "<verb>", "<end>"  # where a place may stand
SLOTS = (LEAD, AFTER_SUBJECT, AFTER_VERB, END)
_DOUBLED = {"run", "swim", "spin", "stop", "hop", "drop", "get", "hit", "pan", "cut"}


class Ref(NamedTuple):
    """A mention of actor `actor` (index into the facts' actors), as subject or as object."""

    actor: int
    subject: bool = True


Item = str | Ref


def pick(rng: random.Random, items: Sequence[T]) -> T:
    """One of `items`, each equally likely; uses `rng.random()` only."""
    return items[int(rng.random() * len(items))]


def chance(rng: random.Random, share: float) -> bool:
    """True with probability `share`."""
    return rng.random() < share


@lru_cache(maxsize=4096)
def inflect(phrase: str, form: str) -> str:
    """Inflect the first word of a verb phrase; `form` is s (he rolls), pl (they roll), bare (roll) or ing."""
    if " and go" in phrase:  # two verbs; "bounce up and down" is one
        return " and ".join(inflect(part, form) for part in phrase.split(" and "))
    verb, _, rest = phrase.partition(" ")
    if verb == "not":
        negated = {"s": "does not ", "pl": "do not ", "bare": "not ", "ing": "not "}[form]
        return negated + (inflect(rest, "ing") if form == "ing" else rest)
    if form == "s":
        if verb.endswith(("s", "sh", "ch", "x", "o")):
            verb += "es"
        elif verb.endswith("y") and verb[-2] not in "aeiou":
            verb = verb[:-1] + "ies"
        else:
            verb += "s"
    elif form == "ing":
        if verb in _DOUBLED:
            verb += verb[-1]
        elif verb.endswith("e") and not verb.endswith("ee"):
            verb = verb[:-1]
        verb += "ing"
    return f"{verb} {rest}" if rest else verb


def article(phrase: str) -> str:
    """`phrase` with a or an before it."""
    return ("an " if phrase[0] in "aeiou" else "a ") + phrase


def noun(kind: str, count: int) -> str:
    """The kind's noun, in the plural for a count above one."""
    return kind if count == 1 else lex.PLURALS[kind]


def pronoun(actor: Fact, subject: bool = True) -> str:
    """The pronoun that stands for the actor."""
    if actor["count"] > 1:
        return "they" if subject else "them"
    if actor["kind"] == "boy":
        return "he" if subject else "him"
    if actor["kind"] == "girl":
        return "she" if subject else "her"
    return "it"


class Teller:
    """Words for one shot: knows who was mentioned already, so that the next mention is short or a pronoun.

    Args:
        facts: the clip's facts.
        shot: number of the shot that is described.
        rng: the random stream.
        sizes: share of first mentions that tell the size.
        speeds: share of events that tell their speed.
    """

    def __init__(self, facts: Fact, shot: int, rng: random.Random, *, sizes: float, speeds: float) -> None:
        self.actors = facts["actors"]
        self.rng = rng
        self.sizes, self.speeds = sizes, speeds
        self.known: set[int] = set()
        self.relations = [r for r in facts["relations"] if self.actors[r["a"]]["shot"] == shot]
        self.here = [i for i, a in enumerate(self.actors) if a["shot"] == shot]
        self._subject: int | None = None  # whom a pronoun would mean
        self._others: set[str] = set()  # pronouns of everybody else mentioned since

    # --- noun phrases
    def _full(self, index: int) -> str:
        actor, rng = self.actors[index], self.rng
        size = pick(rng, lex.SIZE_WORDS[actor["size"]]) + " " if chance(rng, self.sizes) else ""
        phrase = f"{size}{actor['color']} {noun(actor['kind'], actor['count'])}"
        return article(phrase) if actor["count"] == 1 else f"{lex.NUMBERS[actor['count']]} {phrase}"

    def _short(self, index: int) -> str:
        actor = self.actors[index]
        same = [i for i in self.here if i != index and self.actors[i]["kind"] == actor["kind"]]
        color = actor["color"] + " " if same else ""
        return f"the {color}{noun(actor['kind'], actor['count'])}"

    def mention(self, ref: Ref) -> str:
        """The noun phrase or pronoun for a mention at this point of the text."""
        index = ref.actor
        if index in self.known:
            word = pronoun(self.actors[index], ref.subject)
            lone = ref.subject and index == self._subject and pronoun(self.actors[index]) not in self._others
            text = word if lone and chance(self.rng, 0.6) else self._short(index)
        else:
            text = self._full(index)
            self.known.add(index)
            self._note(ref)
            return text + (self._relation_after(index) if ref.subject else "")
        self._note(ref)
        return text

    def _note(self, ref: Ref) -> None:
        if ref.subject:
            if ref.actor != self._subject:
                self._others = set()
            self._subject = ref.actor
        elif ref.actor != self._subject:
            self._others.add(pronoun(self.actors[ref.actor]))

    def _relation_after(self, index: int) -> str:
        for relation in self.relations:
            if index not in (relation["a"], relation["b"]):
                continue
            forward = relation["a"] == index
            other = relation["b"] if forward else relation["a"]
            if other in self.known:
                continue
            self.relations.remove(relation)
            table = lex.RELATION_WORDS if forward else lex.INVERSE_WORDS
            self.known.add(other)
            phrase = f" {pick(self.rng, table[relation['relation']])} {self._full(other)}"
            self._others.add(pronoun(self.actors[other]))
            return phrase
        return ""

    def forget_pronouns(self) -> None:
        """No pronoun may follow (the text has spoken of something else)."""
        self._subject = None

    # --- verb phrases
    def predicate(self, event: Fact, form: str) -> list[Item]:
        """What follows the subject; `form` is fin, prog, ing or bare."""
        rng, action = self.rng, event["action"]
        many = self.actors[event["actor"]]["count"] > 1
        ending = {"fin": "pl" if many else "s", "prog": "ing", "ing": "ing", "bare": "bare"}[form]
        speed = event["speed"] if event["speed"] and chance(rng, self.speeds) else None
        before = after = ""
        if speed and chance(rng, 0.4):
            before = lex.BEFORE_VERB[speed]
        elif speed:
            after = pick(rng, lex.SPEED_WORDS[speed])
        parts: list[Item] = [("are" if many else "is")] if form == "prog" else []
        parts += [before] if before else []
        way, target = event["direction"], event["target"]
        if action == "recolor":
            old = self.actors[event["actor"]]["color"]
            parts.append(inflect(pick(rng, lex.RECOLOR).format(to=event["to_color"], old=old), ending))
            return parts + ([after] if after else [])
        if target is not None:
            return parts + self._toward(event, ending, after)
        verb = inflect(pick(rng, lex.VERBS[action]), ending)
        parts.append(verb)
        tail = [pick(rng, lex.DIRECTION_WORDS[way])] if way else []
        if verb.endswith(("around", "back")) and way in ("left", "right"):
            tail = [lex.DIRECTION_WORDS[way][0]]  # "turns around and goes back left" would not be English
        if after:
            tail.insert(0 if after.endswith("ly") and chance(rng, 0.6) else len(tail), after)
        return parts + tail

    def _toward(self, event: Fact, ending: str, after: str) -> list[Item]:
        rng, action, way = self.rng, event["action"], event["direction"]
        verb = inflect(pick(rng, lex.VERBS[action]), ending)
        goal = Ref(event["target"], subject=False)
        adverb = [after] if after else []
        if way and action in lex.LEAD_UP and chance(rng, 0.6):
            return [inflect("go", ending), pick(rng, lex.DIRECTION_WORDS[way]), *adverb, "and", verb, goal]
        heading = [pick(rng, (*lex.DIRECTION_WORDS[way][:2], *lex.HEADING[way]))] if way else []
        return [verb, goal, *heading, *adverb] if chance(rng, 0.5) or not adverb else [verb, goal, *adverb, *heading]

    def passive(self, event: Fact, form: str) -> list[Item]:
        """A whole clause from the side of the one it happens to."""
        rng, way = self.rng, event["direction"]
        many = self.actors[event["target"]]["count"] > 1
        be = {"fin": "are" if many else "is", "prog": "are being" if many else "is being", "ing": "being", "bare": "be"}
        adverbs = [pick(rng, (*lex.DIRECTION_WORDS[way][:2], *lex.HEADING[way]))] if way else []
        if event["speed"] and chance(rng, self.speeds):
            adverbs.append(pick(rng, lex.SPEED_WORDS[event["speed"]]))
        verb = f"{be[form]} {pick(rng, lex.PASSIVES[event['action']])}"
        agent = Ref(event["actor"], subject=False)
        return [Ref(event["target"]), AFTER_SUBJECT, verb, agent, *adverbs, AFTER_VERB]

    # --- clauses
    def clause(self, event: Fact, form: str) -> list[Item]:
        """Subject and predicate of one event."""
        rng = self.rng
        if event["action"] in lex.PASSIVES and chance(rng, 0.3):
            return self.passive(event, form)
        if event["action"] == "meet" and not event["direction"] and chance(rng, 0.4):
            pair = [Ref(event["actor"]), Ref(event["target"])]
            first, second = pair if chance(rng, 0.5) else pair[::-1]
            verb = {"fin": "meet", "prog": "are meeting", "ing": "meeting", "bare": "meet"}[form]
            each = " each other" if chance(rng, 0.4) else ""
            return [first, "and", Ref(second.actor, subject=False), AFTER_SUBJECT, verb + each, AFTER_VERB]
        return [Ref(event["actor"]), AFTER_SUBJECT, *self.predicate(event, form), AFTER_VERB]

    def solo(self, events: Sequence[Fact], form: str, *, plain: bool = False) -> list[Item]:
        """One actor's events one after the other; `plain` keeps to the order of time."""
        if len(events) == 1:
            return self.clause(events[0], form)
        who: list[Item] = [Ref(events[0]["actor"]), AFTER_SUBJECT]
        shapes = _chain_plain if plain or form != "fin" else _chain_free
        return shapes(self, who, events, "fin" if form == "prog" else form)

    def together(self, events: Sequence[Fact], form: str) -> list[Item]:
        """Events of different actors at the same time."""
        rng = self.rng
        order = list(events) if chance(rng, 0.5) else list(events)[::-1]
        first, rest = self.clause(order[0], form), order[1:]
        link = "while" if chance(rng, 0.6) else "as"
        if len(rest) == 1 and form == "fin":
            other = self.clause(rest[0], "fin")
            shape = int(rng.random() * 4)
            if shape == 0:
                return [link, *first, ",", *other]
            if shape == 1:
                return [*first, "and", *other, "at the same time"]
            return [*first, link, *other]
        for event in rest:
            first += [link, *self.clause(event, "fin")]
        return first


def _chain_plain(teller: Teller, who: list[Item], events: Sequence[Fact], form: str) -> list[Item]:
    rng = teller.rng
    predicates = [teller.predicate(e, form) for e in events]
    first: list[Item] = [*who, *predicates[0], AFTER_VERB]
    if len(predicates) == 2:
        if chance(rng, 0.2):
            return [*first, "before", *teller.predicate(events[1], "ing")]
        return [*first, *pick(rng, ([",", "then"], ["and then"], ["and"], [",", "and then"])), *predicates[1]]
    middle: list[Item] = [",", "then"] if chance(rng, 0.4) else [","]
    for one in predicates[1:-1]:
        first += [*middle, *one]
    return [*first, *pick(rng, ([",", "then"], ["and then"], ["and finally"], [",", "and then"])), *predicates[-1]]


def _chain_free(teller: Teller, who: list[Item], events: Sequence[Fact], form: str) -> list[Item]:
    rng = teller.rng
    if chance(rng, 0.4):
        return _chain_plain(teller, who, events, form)
    *early, last = events
    shape = int(rng.random() * 5)
    if shape == 0:  # after rolling and jumping, the ball spins
        return ["after", *_participles(teller, early), ",", *who, *teller.predicate(last, "fin"), AFTER_VERB]
    if shape == 1:  # the ball spins after rolling and jumping
        return [*who, *teller.predicate(last, "fin"), AFTER_VERB, "after", *_participles(teller, early)]
    if shape == 2:  # before jumping and spinning, the ball rolls
        later = _participles(teller, events[1:])
        return ["before", *later, ",", *who, *teller.predicate(events[0], "fin"), AFTER_VERB]
    if shape == 3:  # first the ball rolls, then it jumps
        items = [*who, *teller.predicate(events[0], "fin"), AFTER_VERB]
        for number, event in enumerate(events[1:]):
            link = "finally" if number and number == len(events) - 2 else "then"
            items += [",", link, Ref(event["actor"]), *teller.predicate(event, "fin")]
        return ["first", *items]
    items = _chain_plain(teller, who, early, form) if len(early) > 1 else [*who, *teller.predicate(early[0], "fin")]
    link = "until" if last["action"] in words.AFTER_TRAVEL else pick(rng, ("before", "and after that"))
    pause: list[Item] = [","] if link == "and after that" else []
    return [*items, AFTER_VERB, *pause, link, Ref(last["actor"]), *teller.predicate(last, "fin")]


def _participles(teller: Teller, events: Sequence[Fact]) -> list[Item]:
    items = teller.predicate(events[0], "ing")
    for number, event in enumerate(events[1:]):
        items += ["and then" if number == len(events) - 2 else "and", *teller.predicate(event, "ing")]
    return items
