"""Captions that are wrong in exactly one fact: the negatives that teach an encoder to look.

In: the facts of a scene. Out: the same facts with one of them changed. Worded from the same random stream, the two
captions differ in the words of that fact alone; where events change places or a figure does something else, the rest
may be in other words of the same meaning.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Sequence
from typing import Any

from cineloop.world import vocabulary as words
from cineloop.world.language.words import caption

KINDS = ("color", "kind", "count", "place", "direction", "action", "order")
# Who does these depends on what came before or comes after, so they stay where they are.
_BOUND = (*words.AFTER_TRAVEL, *words.INTERACTIONS, "appear", "vanish")
_DONE = ("actor", "action", "direction", "speed", "target", "to_color")  # of an event, all but its times
OPPOSITE = {"left": "right", "right": "left", "up": "down", "down": "up"}
Facts = dict[str, Any]


def change_one(facts: Facts, kind: str, rng: random.Random) -> Facts | None:
    """The facts with one fact of `kind` changed, or None where there is no such fact.

    Raises:
        ValueError: on an unknown kind.
    """
    changed = copy.deepcopy(facts)
    if kind == "place":
        shot = changed["shots"][0]
        shot["place"] = _other(rng, words.PLACES, shot["place"])
        return changed
    if kind == "direction":
        events = [event for event in changed["events"] if event["direction"] in OPPOSITE]
        if not events:
            return None
        event = events[int(rng.random() * len(events))]
        event["direction"] = OPPOSITE[event["direction"]]
        return changed
    if kind == "action":
        return changed if _other_action(changed, rng) else None
    if kind == "order":
        return changed if _swap(changed, rng) else None
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, not {kind!r}")
    actor = changed["actors"][int(rng.random() * len(changed["actors"]))]
    choices: dict[str, Sequence[Any]] = {"color": list(words.COLORS), "kind": list(words.KINDS), "count": (1, 2, 3, 4)}
    actor[kind] = _other(rng, choices[kind], actor[kind])
    return changed


def _other_action(facts: Facts, rng: random.Random) -> bool:
    """Let the figure of one event do something else that its kind can do on the spot."""
    events = [event for event in facts["events"] if event["action"] not in (*_BOUND, "stand", "recolor")]
    if not events:
        return False
    event = events[int(rng.random() * len(events))]
    own = words.actions_of(facts["actors"][event["actor"]]["kind"])
    choices = [action for action in own if action in words.IN_PLACE or action == "fall"]
    event |= {"action": _other(rng, choices, event["action"]), "direction": None, "speed": None}
    return True


def _swap(facts: Facts, rng: random.Random) -> bool:
    """Let two events of a shot that follow each other happen the other way round."""
    events = facts["events"]
    pairs = [(first, then) for first, then in zip(events, events[1:], strict=False)
            if first["shot"] == then["shot"] and first["end_s"] <= then["start_s"]
            and not {first["action"], then["action"]}.intersection(_BOUND)]  # fmt: skip
    if not pairs:
        return False
    first, then = pairs[int(rng.random() * len(pairs))]
    for name in _DONE:
        first[name], then[name] = then[name], first[name]
    return True


def pair(facts: Facts, style: str, stream: str, kinds: Sequence[str]) -> tuple[str, str, int]:
    """(true caption, caption wrong in one fact, index of the fact's kind in `kinds`); the same text twice and -1 where
    no kind fits. `stream` seeds the words."""
    rng = random.Random(f"{stream}|kind")
    true = caption(facts, style, random.Random(stream))
    order = sorted(range(len(kinds)), key=lambda _: rng.random())
    for number in order:
        changed = change_one(facts, kinds[number], rng)
        if changed is not None:
            wrong = caption(changed, style, random.Random(stream))
            if wrong != true:
                return true, wrong, number
    return true, true, -1


def _other(rng: random.Random, choices: Sequence[Any], than: Any) -> Any:
    rest = [choice for choice in choices if choice != than]
    return rest[int(rng.random() * len(rest))]
