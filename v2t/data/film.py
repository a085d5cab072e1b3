"""Questions about a film that are answered from notes on it: text alone, no frames.

In: a random stream. Out: a conversation of one question, or of several that are answered by yes or no, asked the way
`v2t ask` asks about a long video (see `v2t.data.notes`). The notes are those of a stretch of a film, put anywhere in
it. For a single question some events happen again at other times, and only some notes are shown: those that the
question is about and a few that are beside the point.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from cineloop.world.language.notes import FILM_KINDS, EventNote, film_claims, film_question, notes
from cineloop.world.scenes.sampler import sample_scene
from v2t.data.chat import Turn
from v2t.data.notes import Note as Line
from v2t.data.notes import notes_prompt

_STRETCH_S = (20.0, 60.0)
_SHORT_S = (6.0, 30.0)
_CLAIMS = 12
_FILM_S = 7200.0
_SHOWN = 10


def film_turns(split: str, seed: int, rng: random.Random) -> list[Turn]:
    """A conversation about notes: one question, or (in three of five) claims to be judged."""
    if rng.random() < 0.6:
        return _claims(split, seed, rng)
    while True:
        stretch = sample_scene(split, seed, int(rng.random() * (1 << 30)), seconds=_STRETCH_S).facts()
        offset = rng.random() * _FILM_S
        film_notes = [_move(note, offset) for note in notes(stretch)]
        film_notes = sorted([*film_notes, *_again(film_notes, rng)], key=lambda note: note.start_s)
        kind = FILM_KINDS[int(rng.random() * len(FILM_KINDS))]
        pair = film_question(film_notes, kind, rng)
        if pair is None:
            continue
        question, answer = pair
        lines = _lines(_notes_to_show(film_notes, question, rng))
        return [Turn("user", notes_prompt(lines, question)), Turn("assistant", answer)]


def _claims(split: str, seed: int, rng: random.Random) -> list[Turn]:
    stretch = sample_scene(split, seed, int(rng.random() * (1 << 30)), seconds=_SHORT_S).facts()
    offset = rng.random() * _FILM_S
    lines = _lines([_move(note, offset) for note in notes(stretch)])
    turns: list[Turn] = []
    for question, answer in film_claims(stretch, rng, _CLAIMS):
        turns += [Turn("user", question if turns else notes_prompt(lines, question)), Turn("assistant", answer)]
    return turns


def _lines(film_notes: Sequence[EventNote]) -> list[Line]:
    return [Line(start_s=note.start_s, end_s=note.end_s, text=note.text + ".") for note in film_notes]


def _move(note: EventNote, by_s: float) -> EventNote:
    return replace(note, start_s=note.start_s + by_s, end_s=note.end_s + by_s)


def _again(film_notes: Sequence[EventNote], rng: random.Random) -> list[EventNote]:
    """Up to two of the events again, up to five times each, minutes later."""
    more = []
    for _ in range(int(rng.random() * 3)):
        note = film_notes[int(rng.random() * len(film_notes))]
        more += [_move(note, 5.0 + rng.random() * 1200) for _ in range(int(rng.random() * 6))]
    return more


def _notes_to_show(film_notes: Sequence[EventNote], question: str, rng: random.Random) -> list[EventNote]:
    """Notes on who the question names, as far as they fit, and a few others."""
    about = [note for note in film_notes if note.key and note.key[0] in question]
    if len(about) < _SHOWN:
        others = [note for note in film_notes if note not in about]
        for _ in range(min(len(others), int(rng.random() * 4), _SHOWN - len(about))):
            about.append(others.pop(int(rng.random() * len(others))))
    return about
