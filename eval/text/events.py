"""Events of a text and their entailment by another text.

In: texts. Out: events as short sentences, and for each whether a text entails it, contradicts it, or is silent on it. A
judge is named `world` (captions of the cartoon world, read by `cineloop.world`), `openai:URL[#model]` (any compatible
server), or by the folder or hub id of a language model of transformers.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Protocol, TypeVar

from cineloop.errors import ItemError
from cineloop.world.language.read_text import parse
from cineloop.world.language.stated import StatedActor
from v2t_eval.core import models
from v2t_eval.judge.language import UnreadableReplyError, Writer, json_in, open_writer, read_reply

T = TypeVar("T")
TRIES = 3
VERDICTS = ("entailment", "neutral", "contradiction")
_EVENTS = """This text describes a video:
{text}

List the key events of the video, ten at most.
- An event is something that happens: an action, a motion, a movement. How things look or where they are is no event; \
nor are cuts and movements of the camera.
- Each event is one short sentence of up to ten words, with its subject, its verb and its object if there is one.
- An event must not be divisible into two, and none is listed twice.
- Write nouns in the place of pronouns, and leave out descriptions of appearance that are not needed.
Answer with JSON and nothing else: {{"events": ["...", "..."]}}"""
_VERDICTS = """This text describes a video:
{text}

Here are some events:
{events}

Compare each event with the text. Its relationship is
- "entailment" if the text says or implies that the event happens,
- "contradiction" if some detail of the text contradicts it,
- "neutral" if neither is the case.
Answer with JSON and nothing else, with one entry for each event in the same order: \
{{"events": [{{"event": "...", "relationship": "entailment"}}]}}"""


class EventJudge(Protocol):
    """A judge of events."""

    def describe(self) -> dict[str, str]:
        """The judge's part of a fingerprint: its model with revision or hash."""

    def events(self, text: str) -> list[str]:
        """What happens in a text; empty when nothing does.

        Raises:
            ItemError: the judge cannot decide: OUT_OF_DOMAIN, JUDGE_UNREADABLE, REFUSED and what its model raises.
        """

    def entails(self, events: list[str], text: str) -> list[str]:
        """For each event "entailment", "neutral" or "contradiction".

        Raises:
            ItemError: as `events`.
        """


def open_judge(name: str) -> EventJudge:
    """The judge of that name, loaded at its first use, see `v2t_eval.core.models`.

    Raises:
        UsageError: not a valid address. MissingDependencyError: no such model or server.
    """
    return models.open_model(("events", name), lambda: _load(name))


def _load(name: str) -> EventJudge:
    return WorldJudge() if name == "world" else LanguageJudge(open_writer(name))


class LanguageJudge:
    """See `v2t_eval.text.events.EventJudge`."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    def describe(self) -> dict[str, str]:
        return {"judge": self._writer.name, "judge_revision": self._writer.revision}

    def events(self, text: str) -> list[str]:
        if not text.strip():
            return []
        return self._query(_EVENTS.format(text=_plain(text)), read_events)

    def entails(self, events: list[str], text: str) -> list[str]:
        if not events:
            return []
        prompt = _VERDICTS.format(text=_plain(text), events=json.dumps(events, ensure_ascii=False))
        return self._query(prompt, lambda reply: read_verdicts(reply, len(events)))

    def _query(self, prompt: str, read: Callable[[str], T]) -> T:
        try:
            return read_reply(self._writer, prompt, read, TRIES)
        except UnreadableReplyError as error:
            raise ItemError(
                f"the judge gave {TRIES} replies that cannot be read, the last {' '.join(error.reply.split())[:80]!r}",
                code="JUDGE_UNREADABLE",
                hint="another judge",
            ) from None


def read_events(reply: str) -> list[str]:
    """The list of events in a reply.

    Raises:
        ValueError: there is none.
    """
    for value in json_in(reply):
        listed = value.get("events") if isinstance(value, dict) else value
        if isinstance(listed, list) and all(isinstance(one, str) and one.strip() for one in listed):
            return list(dict.fromkeys(" ".join(one.split()) for one in listed))
    raise ValueError("no list of events")


def read_verdicts(reply: str, num: int) -> list[str]:
    """The verdicts on `num` events in a reply, in order.

    Raises:
        ValueError: there are none, too few, too many, or others than `VERDICTS`.
    """
    for value in json_in(reply):
        listed = value.get("events") if isinstance(value, dict) else value
        if not isinstance(listed, list) or len(listed) != num or not all(isinstance(one, dict) for one in listed):
            continue
        verdicts = [str(one.get("relationship")).strip().lower() for one in listed]
        if all(verdict in VERDICTS for verdict in verdicts):
            return verdicts
    raise ValueError(f"no {num} verdicts")


def _plain(text: str) -> str:
    return text.lower().replace('"', "'")


class WorldJudge:
    """See `v2t_eval.text.events.EventJudge`."""

    def describe(self) -> dict[str, str]:
        """It has no model; its source is in the fingerprint already."""
        return {"judge": "cineloop.world.language.read_text"}

    def events(self, text: str) -> list[str]:
        """Each event once, in the order of mention.

        Raises:
            ItemError: OUT_OF_DOMAIN, the text has a word outside of the cartoon world.
        """
        return list(
            dict.fromkeys("; ".join(f"{key}={value}" for key, value in event.items()) for event in _events_of(text))
        )

    def entails(self, events: list[str], text: str) -> list[str]:
        known = _events_of(text)
        return [_verdict(dict(part.split("=", 1) for part in event.split("; ")), known) for event in events]


def _events_of(text: str) -> list[dict[str, str]]:
    stated = parse(text)
    if stated.unread:  # read without them "a giraffe jumps" would be whatever jumps, or the last figure named
        raise ItemError(
            f"{text[:60]!r} has words that are unknown to the cartoon world: {', '.join(stated.unread[:5])}",
            code="OUT_OF_DOMAIN",
            hint="name a language model as the judge: judge=openai:URL#model, or a folder or hub id",
        )
    events = []
    for event in stated.events:
        actor = _actor_fields("", None if event.actor is None else stated.actors[event.actor])
        target = _actor_fields("target_", None if event.target is None else stated.actors[event.target])
        more = {"direction": event.direction, "to_color": event.to_color}
        fields = {**actor, "action": event.action, **more, **target}
        events.append({key: value for key, value in fields.items() if value})
    return events


def _actor_fields(role: str, actor: StatedActor | None) -> dict[str, str | None]:
    return {} if actor is None else {f"{role}actor": actor.kind, f"{role}color": actor.color}


def _verdict(event: dict[str, str], known: list[dict[str, str]]) -> str:
    if event["action"] == "meet":
        known = [*known, *map(_swap_figures, (one for one in known if one["action"] == "meet"))]
    if any(all(one.get(key) == value for key, value in event.items()) for one in known):
        return "entailment"
    same = [one for one in known if all(one.get(key) == event.get(key) for key in ("actor", "action"))]
    return "contradiction" if any(_conflict(event, one) for one in same) else "neutral"


def _swap_figures(event: dict[str, str]) -> dict[str, str]:
    """A meeting with its two figures swapped."""
    names = {"actor": "target_actor", "color": "target_color", "target_actor": "actor", "target_color": "color"}
    return {names.get(key, key): value for key, value in event.items()}


def _conflict(event: dict[str, str], other: dict[str, str]) -> bool:
    return any(other.get(key, value) != value for key, value in event.items())
