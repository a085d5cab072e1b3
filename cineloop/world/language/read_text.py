"""Reads a caption back into facts: the inverse of `words`.

In: a caption of any style, written by `words` or by a model (mistakes and all). Out: `StatedFacts`. A text written by
`words` reads back exactly; in any other text what is understood is kept and what is not lands in `unread`.
How: each sentence is cut into phrases (`phrases`), which are read from left to right by a small state machine that
remembers the subject, the verb that still wants an object, and how the clause is tied to the one before.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache

from cineloop.world import vocabulary as words
from cineloop.world.language import lexicon as lex
from cineloop.world.language.phrases import ActorPhrase, Phrase, phrases
from cineloop.world.language.stated import StatedActor, StatedEvent, StatedFacts, StatedRelation, StatedShot, steps_of

_TIMES = re.compile(r"^\s*(?:from\s+)?(\d+(?:\.\d+)?)\s*s?\s*(?:-|–|to)\s*(\d+(?:\.\d+)?)\s*s?(?:econds)?\s*[:,]?\s*")
_COORDINATED = (("noun", "and"), ("pronoun", "and"))
_SENTENCE_END = re.compile(r"(?<!\d)[.;!?]+(?=\s|$)|\n+")


def parse(text: str) -> StatedFacts:
    """What `text` states about a clip. Never raises on text; an empty text states nothing."""
    reader = _Reader()
    for line in text.splitlines():
        timed = _TIMES.match(line)
        reader.times = (float(timed[1]), float(timed[2])) if timed else None
        for sentence in _SENTENCE_END.split(line[timed.end() :] if timed else line):
            if sentence and sentence.strip():
                reader.sentence(phrases(sentence))
    return reader.finish()


@lru_cache(maxsize=4096)
def parse_whole(text: str) -> StatedFacts | None:
    """As `parse`; None where the text states neither an actor nor a place, or has a word outside this world."""
    stated = parse(text)
    states = stated.actors or any(shot.place for shot in stated.shots)
    return stated if states and not stated.unread else None


@dataclass
class _Sentence:
    """What is remembered within one sentence (or one shot's part of it)."""

    groups: list[list[StatedEvent]] = field(default_factory=list)  # steps, in order of mention
    subject: list[int] = field(default_factory=list)
    wants_object: list[StatedEvent] = field(default_factory=list)
    wants_agent: StatedEvent | None = None
    wants_subject: list[StatedEvent] = field(default_factory=list)  # participles before their subject
    relation: tuple[str, bool] | None = None  # waits for its second actor
    lead_relation: tuple[str, bool, int] | None = None  # waits for its first actor: "above a box, a dog ..."
    direction: str | None = None  # stated before the verb
    speed: str | None = None
    joins: bool = False  # the next event is at the same time as the last one
    joins_after_comma: bool = False
    before_first: bool = False  # "before jumping, ..." not yet closed by its comma
    turn_at: int | None = None  # groups from here on happen before the others
    fresh: bool = True  # no event yet since the last link
    last_kind: str = ""
    last_kinds: tuple[str, str] = ("", "")  # of the two phrases before


class _Reader:
    def __init__(self) -> None:
        self.stated = StatedFacts(shots=[StatedShot()])
        self.times: tuple[float, float] | None = None
        self.steps: list[list[StatedEvent]] = []  # of the current shot
        self.joined_to_last_sentence = False
        self.last_subject: list[int] = []
        self.now = _Sentence()

    # --- sentences and shots
    def sentence(self, phrases: list[Phrase]) -> None:
        self.now = _Sentence()
        for position, phrase in enumerate(phrases):
            following = phrases[position + 1].kind if position + 1 < len(phrases) else ""
            self._read(phrase, following)
            self.now.last_kinds = (self.now.last_kind, phrase.kind)
            self.now.last_kind = phrase.kind
        self._close()

    def _close(self) -> None:
        now = self.now
        for event in now.wants_subject:
            event.actor = self.last_subject[0] if self.last_subject else None
        if now.subject:
            self.last_subject = now.subject
        groups = now.groups
        if now.turn_at is not None:
            groups = groups[now.turn_at :] + groups[: now.turn_at]
        if groups and self.joined_to_last_sentence and self.steps:
            self.steps[-1].extend(groups[0])
            groups = groups[1:]
        self.joined_to_last_sentence = False
        self.steps.extend(groups)

    def _cut(self) -> None:
        self._close()
        self.now = _Sentence()
        shot = self.stated.shots[-1]
        if shot.place is not None or self.steps or any(a.shot == self._shot for a in self.stated.actors):
            self._number_steps()
            self.stated.shots.append(StatedShot())
            self.last_subject = []

    @property
    def _shot(self) -> int:
        return len(self.stated.shots) - 1

    def _number_steps(self) -> None:
        events = [event for step in self.steps for event in step]
        if events and all(e.start_s is not None and e.end_s is not None for e in events):
            events.sort(key=lambda e: e.start_s or 0.0)
            for event, step in zip(events, steps_of([(e.start_s or 0.0, e.end_s or 0.0) for e in events]), strict=True):
                event.step = step
        else:
            for number, group in enumerate(self.steps):
                for event in group:
                    event.step = number
        self.stated.events.extend(events)
        self.steps = []

    def finish(self) -> StatedFacts:
        self._number_steps()
        self.stated.events = [e for e in self.stated.events if e.action != "go"]
        for event in self.stated.events:
            if event.action == "go by kind":
                kind = self.stated.actors[event.actor].kind if event.actor is not None else "boy"
                event.action = words.travel_action(kind, event.speed or "slow")
        return self.stated

    # --- one phrase
    def _read(self, phrase: Phrase, following: str) -> None:
        now, kind, value = self.now, phrase.kind, phrase.value
        if kind == "noun" or kind == "pronoun":
            self._mention(self._who(phrase), fresh=kind == "noun")
        elif kind in ("act", "recolor", "passive"):
            self._act(kind, str(value))
        elif kind == "direction":
            self._adverb("direction", str(value), following)
        elif kind == "speed":
            self._adverb("speed", str(value), following)
        elif kind == "relation":
            now.relation = value  # type: ignore[assignment]
        elif kind == "place":
            shot = self.stated.shots[-1]
            shot.place = shot.place or str(value)
        elif kind == "camera":
            self.stated.shots[-1].camera = str(value)
        elif kind == "style":
            self.stated.style = self.stated.style or str(value)
        elif kind == "cut":
            self._cut()
        elif kind == "unknown":
            self.stated.unread.append(str(value))
        else:
            self._link(kind)

    def _link(self, kind: str) -> None:
        now = self.now
        if kind == "while":
            now.joins = bool(now.groups)
            now.joins_after_comma = not now.groups
        elif kind == "same":
            if not now.groups:
                self.joined_to_last_sentence = True
            elif now.last_kind in ("and", ","):
                now.joins = True
            elif len(now.groups) > 1:
                last = now.groups.pop()
                now.groups[-1].extend(last)
        elif kind == "before" and not now.groups:
            now.before_first = True
        elif kind == "after" and now.groups:
            now.turn_at = len(now.groups)
        elif kind == "," and now.groups:
            if now.before_first:
                now.turn_at, now.before_first = len(now.groups), False
            if now.joins_after_comma:
                now.joins, now.joins_after_comma = True, False
        if kind not in (",", "by", "first"):
            now.fresh = True

    # --- actors
    def _who(self, phrase: Phrase) -> int | None:
        actors = self.stated.actors
        if not isinstance(phrase.value, ActorPhrase):
            return self._pronoun(str(phrase.value))
        noun = phrase.value
        if noun.definite:
            for index in range(len(actors) - 1, -1, -1):
                actor = actors[index]
                fits = noun.color in (None, actor.color) and noun.size in (None, actor.size)
                if actor.kind == noun.kind and actor.shot == self._shot and fits:
                    return index
        count = None if noun.definite and noun.number == 2 else noun.number  # "the cars": how many is not stated
        actors.append(StatedActor(kind=noun.kind, color=noun.color, size=noun.size, count=count, shot=self._shot))
        return len(actors) - 1

    def _pronoun(self, word: str) -> int | None:
        subject = self.now.subject or self.last_subject
        if not (self.now.wants_object or self.now.wants_agent):
            return subject[0] if subject else None
        for index in range(len(self.stated.actors) - 1, -1, -1):
            if self.stated.actors[index].shot == self._shot and index not in subject:
                return index
        return None

    def _mention(self, who: int | None, *, fresh: bool) -> None:
        now = self.now
        if who is None:
            return
        if now.wants_object:
            for event in now.wants_object:
                event.target = who
            now.wants_object = []
        elif now.wants_agent is not None:
            now.wants_agent.actor = who
            now.wants_agent = None
        elif now.relation is not None:
            self._relate(who)
        elif now.last_kinds in _COORDINATED and now.subject and not now.wants_subject and not self._has_acted():
            now.subject = [*now.subject, who]
        else:
            now.subject = [who]
            now.direction = now.speed = None
            for event in now.wants_subject:
                event.actor = who
            now.wants_subject = []
            if now.lead_relation is not None:
                relation, inverse, other = now.lead_relation
                self._add_relation(relation, inverse, who, other)
                now.lead_relation = None

    def _has_acted(self) -> bool:
        """Whether the present subject has done something in this sentence."""
        return any(e.actor in self.now.subject or e.target in self.now.subject for g in self.now.groups for e in g)

    def _relate(self, who: int) -> None:
        now = self.now
        relation, inverse = now.relation or ("", False)
        now.relation = None
        if now.subject:
            self._add_relation(relation, inverse, now.subject[-1], who)
        else:
            now.lead_relation = (relation, inverse, who)

    def _add_relation(self, relation: str, inverse: bool, a: int, b: int) -> None:
        a, b = (b, a) if inverse else (a, b)
        self.stated.relations.append(StatedRelation(a=a, relation=relation, b=b))

    # --- events
    def _act(self, kind: str, value: str) -> None:
        now = self.now
        before = now.groups[-1][-1] if now.groups else None
        same = before is not None and now.subject and before.actor == now.subject[0]
        if value == "go back":
            if same and before is not None and before.action == "turn" and now.last_kind == "and":
                return  # "turns around and goes back": one event
            value = "turn"
        led_up = same and before is not None and before.action == "go" and now.last_kind == "and"
        subjects: list[int | None] = list(now.subject) or [None]
        made: list[StatedEvent] = []
        if kind == "passive":
            event = self._event(value, None, target=now.subject[0] if now.subject else None)
            now.wants_agent = event
            made.append(event)
        elif value == "meet" and len(subjects) == 2:
            made.append(self._event("meet", subjects[0], target=subjects[1]))
        else:
            action = "recolor" if kind == "recolor" else value
            made = [self._event(action, who, to_color=value if kind == "recolor" else None) for who in subjects]
            if action in lex.TRANSITIVE:
                now.wants_object = made
        if led_up and before is not None:
            made[0].direction, made[0].speed = before.direction, before.speed
            now.groups[-1].remove(before)
            now.groups[-1].extend(made)
        elif now.joins and now.groups:
            now.groups[-1].extend(made)
        else:
            now.groups.append(made)
        now.joins = now.fresh = False

    def _event(
        self, action: str, who: int | None, *, target: int | None = None, to_color: str | None = None
    ) -> StatedEvent:
        now = self.now
        event = StatedEvent(actor=who, action=action, target=target, to_color=to_color, shot=self._shot)
        event.direction, event.speed = now.direction, now.speed
        now.direction = now.speed = None
        if self.times is not None:
            event.start_s, event.end_s = self.times
        if who is None and target is None:
            now.wants_subject.append(event)
        return event

    def _adverb(self, name: str, value: str, following: str) -> None:
        now = self.now
        ahead = following in ("act", "recolor", "passive")
        if now.groups and not ahead and not (now.fresh and now.last_kind != "act"):
            for event in now.groups[-1] if len(now.subject) > 1 else now.groups[-1][-1:]:
                setattr(event, name, value)
        else:
            setattr(now, name, value)
