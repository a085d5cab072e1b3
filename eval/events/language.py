"""Events by a language model, as AutoDQ asks for them (Wang et al. 2024, Tarsier, arXiv:2407.00634).

In: texts, and anything that answers a prompt in text. Out: at most ten events for a text, and a verdict on each. Texts
are lower-cased first, as there. A reply that cannot be read is asked for again, twice, with a little chance and a fixed
seed; a text for which none can be read is an error, never a score.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeVar

from cineloop.errors import ItemError

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


class Model(Protocol):
    """Something that answers a prompt."""

    def answer(self, prompt: str, temperature: float, seed: int) -> str:
        """The answer. Raises ItemError where there is none."""

    def describe(self) -> dict[str, str]:
        """Name and revision or hash."""


class LanguageJudge:
    """See `v2t_eval.events.EventJudge`."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def describe(self) -> dict[str, str]:
        """The model's name, and revision or hash."""
        return self._model.describe()

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
        reply = ""
        for number in range(TRIES):
            reply = self._model.answer(prompt, 0.0 if number == 0 else 0.7, number)
            try:
                return read(reply)
            except ValueError:
                continue
        raise ItemError(
            f"the judge gave {TRIES} replies that cannot be read, the last {' '.join(reply.split())[:80]!r}",
            code="JUDGE_UNREADABLE",
            hint="another judge",
        )


def read_events(reply: str) -> list[str]:
    """The list of events in a reply.

    Raises:
        ValueError: there is none.
    """
    for found in _structures(reply):
        listed = found.get("events") if isinstance(found, dict) else found
        if isinstance(listed, list) and all(isinstance(one, str) and one.strip() for one in listed):
            return list(dict.fromkeys(" ".join(one.split()) for one in listed))
    raise ValueError("no list of events")


def read_verdicts(reply: str, num: int) -> list[str]:
    """The verdicts on `num` events in a reply, in order.

    Raises:
        ValueError: there are none, too few, too many, or others than `VERDICTS`.
    """
    for found in _structures(reply):
        listed = found.get("events") if isinstance(found, dict) else found
        if not isinstance(listed, list) or len(listed) != num or not all(isinstance(one, dict) for one in listed):
            continue
        verdicts = [str(one.get("relationship")).strip().lower() for one in listed]
        if all(verdict in VERDICTS for verdict in verdicts):
            return verdicts
    raise ValueError(f"no {num} verdicts")


def _plain(text: str) -> str:
    return text.lower().replace('"', "'")


def _structures(reply: str) -> Iterator[Any]:
    """Lists and mappings in a reply, the outermost first, in the spelling of JSON or of Python."""
    reply = reply.rpartition("</think>")[2]
    for opening in re.finditer(r"[\[{]", reply):
        try:
            yield json.JSONDecoder().raw_decode(reply, opening.start())[0]
        except ValueError:
            end = reply.rfind("]" if opening[0] == "[" else "}")
            try:
                yield ast.literal_eval(reply[opening.start() : end + 1])
            except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
                continue
