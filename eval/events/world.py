"""Events of captions of the cartoon world, read by `cineloop.world.language.read_text`: exact, and without any model.

In: captions. Out: events such as "actor=bus; color=yellow; action=drive; direction=right". An event is an actor (kind
and colour), action, direction, target and new colour; size, number, speed and place are no part of it. A text
entails an event when it states one with all its fields; it contradicts it when it states the same actor's same
action with another direction, colour or target; else it is neutral. A meeting has no order.
"""

from __future__ import annotations

import re

from cineloop.errors import ItemError
from cineloop.world.language.read_text import parse
from cineloop.world.language.stated import StatedActor

MOST_UNREAD = 1 / 3  # share of a text's words; above it the text is not about the cartoon world
_WORD = re.compile(r"[^\W_]+")


class WorldJudge:
    """See `v2t_eval.events.EventJudge`."""

    def describe(self) -> dict[str, str]:
        """It has no model; its source is in the fingerprint already."""
        return {"judge": "cineloop.world.language.read_text"}

    def events(self, text: str) -> list[str]:
        """Each event once, in the order of mention.

        Raises:
            ItemError: OUT_OF_DOMAIN, the text is not about the cartoon world.
        """
        return list(
            dict.fromkeys("; ".join(f"{key}={value}" for key, value in event.items()) for event in _events_of(text))
        )

    def entails(self, events: list[str], text: str) -> list[str]:
        known = _events_of(text)
        return [_verdict(dict(part.split("=", 1) for part in event.split("; ")), known) for event in events]


def _events_of(text: str) -> list[dict[str, str]]:
    stated = parse(text)
    num_words = len(_WORD.findall(text))
    if len(stated.unread) > MOST_UNREAD * num_words:
        raise ItemError(
            f"{len(stated.unread)} of {num_words} words of {text[:60]!r} are unknown to the cartoon world",
            code="OUT_OF_DOMAIN",
            hint="name a language model as the judge: judge=openai:URL#model, or a folder or hub id",
        )
    found = []
    for event in stated.events:
        actor = _actor_fields("", None if event.actor is None else stated.actors[event.actor])
        target = _actor_fields("target_", None if event.target is None else stated.actors[event.target])
        more = {"direction": event.direction, "to_color": event.to_color}
        fields = {**actor, "action": event.action, **more, **target}
        found.append({key: value for key, value in fields.items() if value})
    return found


def _actor_fields(role: str, actor: StatedActor | None) -> dict[str, str | None]:
    return {} if actor is None else {f"{role}actor": actor.kind, f"{role}color": actor.color}


def _verdict(event: dict[str, str], known: list[dict[str, str]]) -> str:
    if event["action"] == "meet":
        known = [*known, *map(_swapped, (one for one in known if one["action"] == "meet"))]
    if any(all(one.get(key) == value for key, value in event.items()) for one in known):
        return "entailment"
    same = [one for one in known if all(one.get(key) == event.get(key) for key in ("actor", "action"))]
    return "contradiction" if any(_conflict(event, one) for one in same) else "neutral"


def _swapped(event: dict[str, str]) -> dict[str, str]:
    """A meeting with its two figures swapped."""
    names = {"actor": "target_actor", "color": "target_color", "target_actor": "actor", "target_color": "color"}
    return {names.get(key, key): value for key, value in event.items()}


def _conflict(event: dict[str, str], other: dict[str, str]) -> bool:
    return any(other.get(key, value) != value for key, value in event.items())
