"""A film's events in plain words, and questions that only the whole film answers.

In: `Scene.facts()` of a film of any length. Out: one `EventNote` an event, always in the canonical wording with colour,
number and place, so that notes of many minutes can be searched and counted; and questions with answers: how many
times, which first, before or after, when, what at a moment. Seconds are the film's.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from cineloop.world import vocabulary as words
from cineloop.world.language import lexicon as lex
from cineloop.world.language.grammar import Fact, article, inflect, noun, pick

COUNTS = ("never", "once", "twice", *(f"{n} times" for n in ("three", "four", "five", "six", "seven", "eight", "nine")))
FILM_KINDS = ("film-count", "film-first", "film-before")
_BETWEEN_S = 1.0  # the first of two events begins so much earlier


@dataclass(frozen=True, kw_only=True)
class EventNote:
    """One event: seconds, what happens in plain words, and, of a single actor that acts on none, who and what.

    `key` is (colour and kind, action), or None where the event cannot be asked about.
    """

    start_s: float
    end_s: float
    text: str
    key: tuple[str, str] | None = None


def notes(facts: Fact) -> list[EventNote]:
    """The events in order of their start."""
    events = []
    for event in sorted(facts["events"], key=lambda e: (e["start_s"], e["end_s"])):
        actor = facts["actors"][event["actor"]]
        askable = actor["count"] == 1 and event["target"] is None and event["action"] != "recolor"
        events.append(
            EventNote(
                start_s=event["start_s"],
                end_s=event["end_s"],
                text=_plain(facts, event),
                key=(f"{actor['color']} {actor['kind']}", event["action"]) if askable else None,
            )
        )
    return events


def write(facts: Fact) -> str:
    """The notes of a clip, one line an event, in the form of timed captions."""
    return "\n".join(f"{n.start_s:.1f}-{n.end_s:.1f}s: {n.text}." for n in notes(facts))


def _plain(facts: Fact, event: Fact) -> str:
    """A brown dog runs to the left in the snow."""
    actor = facts["actors"][event["actor"]]
    many = actor["count"] > 1
    action = event["action"]
    phrase = f"turn {event['to_color']}" if action == "recolor" else lex.VERBS[action][0]
    parts = [_figures(actor), inflect(phrase, "pl" if many else "s")]
    if event["target"] is not None:
        parts.append(_figures(facts["actors"][event["target"]]))
    if event["direction"]:
        parts.append(lex.DIRECTION_WORDS[event["direction"]][0])
    parts.append(lex.PLACE_PHRASES[facts["shots"][event["shot"]]["place"]][0])
    return " ".join(parts)


def _figures(actor: Fact) -> str:
    named = f"{actor['color']} {noun(actor['kind'], actor['count'])}"
    return f"{lex.NUMBERS[actor['count']]} {named}" if actor["count"] > 1 else article(named)


def _clause(key: tuple[str, str], form: str) -> str:
    """A brown dog jumps (form s), a brown dog jump (form bare)."""
    return f"{article(key[0])} {inflect(lex.VERBS[key[1]][0], form)}"


def film_question(film_notes: Sequence[EventNote], kind: str, rng: random.Random) -> tuple[str, str] | None:
    """One question of a kind of `FILM_KINDS` and its answer; None where the film offers none.

    Raises:
        ValueError: on an unknown kind.
    """
    times: dict[tuple[str, str], list[float]] = {}
    for note in film_notes:
        if note.key:
            times.setdefault(note.key, []).append(note.start_s)
    if not times:
        return None
    if kind == "film-count":
        return _count(times, rng)
    if kind not in FILM_KINDS:
        raise ValueError(f"kind must be one of {', '.join(FILM_KINDS)}, not {kind!r}")
    same = kind == "film-first" and rng.random() < 0.5
    one = pick(rng, list(times))
    others = [k for k in times if k != one and abs(times[k][0] - times[one][0]) >= _BETWEEN_S]
    others = [k for k in others if k[0] != one[0] and (k[1] == one[1]) == same]
    if not others:
        return None
    other = pick(rng, others)
    first, second = sorted((one, other), key=lambda k: times[k][0])
    if kind == "film-before":
        answer = "before" if one == first else "after"
        return f"Does {_clause(one, 'bare')} before or after {_clause(other, 's')} for the first time?", answer
    if same:
        return f"Which {inflect(lex.VERBS[one[1]][0], 's')} first, the {one[0]} or the {other[0]}?", f"the {first[0]}"
    return f"What happens first: {_clause(one, 's')} or {_clause(other, 's')}?", _clause(first, "s")


def film_claims(facts: Fact, rng: random.Random, n: int) -> list[tuple[str, str]]:
    """Up to `n` different yes/no questions on a film's notes with their answers, yes and no by a fair coin.

    From the plain to the hard: whether a kind of figure is there, one of a colour, whether it does something.
    """
    single = {f"{a['color']} {a['kind']}" for a in facts["actors"] if a["count"] == 1}
    here = {a["kind"] for a in facts["actors"]}
    keys = {note.key for note in notes(facts) if note.key}
    asked: dict[str, str] = {}
    for _ in range(n):
        is_true, draw = rng.random() < 0.5, rng.random()
        if draw < 0.4:
            options = [f"Is there {article(k)}?" for k in words.KINDS if (k in here) == is_true]
        elif draw < 0.7:
            known = [f"{c} {k}" for k in sorted({who.split()[1] for who in single}) for c in words.COLORS]
            options = [f"Is there {article(who)}?" for who in known if (who in single) == is_true]
        else:
            known_keys = [(who, a) for who in sorted({k[0] for k in keys}) for a in words.actions_of(who.split()[1])]
            options = [
                f"Does {_clause(k, 'bare')}?" for k in known_keys if (k in keys) == is_true and k[1] != "recolor"
            ]
        if options:
            asked[pick(rng, options)] = "yes" if is_true else "no"
    return list(asked.items())


def _count(times: dict[tuple[str, str], list[float]], rng: random.Random) -> tuple[str, str] | None:
    """How often someone does something: as a rule what happens, now and then what never does."""
    if rng.random() < 0.15:
        kinds, colors = list(words.KINDS), list(words.COLORS)
        kind = pick(rng, kinds)
        key = (f"{pick(rng, colors)} {kind}", pick(rng, words.actions_of(kind)))
        key = key if key[1] != "recolor" else (key[0], "spin")
    else:
        often = [key for key, starts in times.items() if len(starts) > 1]
        key = pick(rng, often if often and rng.random() < 0.6 else list(times))
    number = len(times.get(key, ()))
    return None if number >= len(COUNTS) else (f"How many times does {_clause(key, 'bare')}?", COUNTS[number])
