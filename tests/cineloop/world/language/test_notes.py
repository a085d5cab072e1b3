"""Notes say every event in words that read back; film questions are answered by counting and comparing the events."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from cineloop.world.language import lexicon as lex
from cineloop.world.language.grammar import inflect
from cineloop.world.language.notes import COUNTS, FILM_KINDS, film_question, notes, write
from cineloop.world.language.read_text import parse
from cineloop.world.scenes.sampler import sample_scene
from v2t.data.film import film_turns


def facts_of(index: int, seconds: tuple[float, float] | None = None) -> dict:
    return sample_scene("seen", 31, index, seconds=seconds).facts()


def test_notes_read_back_to_all_events() -> None:
    for index in range(150):
        facts = facts_of(index, (12.0, 20.0) if index % 5 == 0 else None)
        said = parse(write(facts))
        told = [(e.action, e.direction, e.to_color, round(e.start_s, 1), round(e.end_s, 1)) for e in said.events]
        true = [
            (e["action"], e["direction"], e["to_color"], round(e["start_s"], 1), round(e["end_s"], 1))
            for e in facts["events"]
        ]
        assert sorted(told, key=str) == sorted(true, key=str) and not said.unread, write(facts)


def named(question: str, key: tuple[str, str]) -> bool:
    """Whether the question names this subject with this action."""
    subject, verb = key[0], lex.VERBS[key[1]][0]
    if question.startswith("Which "):
        return f"the {subject} " in question and question.startswith(f"Which {inflect(verb, 's')} first")
    ends = (" ", "?")
    return any(f"{subject} {inflect(verb, form)}{end}" in question for form in ("bare", "s") for end in ends)


def test_film_questions_are_answered_by_the_notes_themselves() -> None:
    told = notes(facts_of(0, (240.0, 240.0)))
    seen = set()
    for number in range(300):
        kind = FILM_KINDS[number % len(FILM_KINDS)]
        asked = film_question(told, kind, random.Random(number))
        if asked is None:
            continue
        question, answer = asked
        starts: dict[tuple[str, str], list[float]] = {}
        for note in told:
            if note.key and named(question.replace("?", " ?"), note.key):
                starts.setdefault(note.key, []).append(note.start_s)
        seen.add(kind)
        if kind == "film-count":
            assert COUNTS.index(answer) == sum(map(len, starts.values())), (question, answer)
            continue
        first, second = sorted(starts, key=lambda key: min(starts[key]))
        if kind == "film-before":
            asked_first = question.index(first[0]) < question.index(second[0])
            assert answer == ("before" if asked_first else "after"), (question, answer)
        else:
            assert first[0] in answer and second[0] not in answer, (question, answer)
    assert seen == set(FILM_KINDS)


@pytest.mark.slow
def test_film_training_shows_the_notes_that_answer() -> None:
    counted, claimed = 0, Counter()
    for number in range(400):
        turns = film_turns("train", 1, random.Random(number))
        heading, *lines, _ = turns[0].text.splitlines()
        assert heading == "Notes:" and not any(turn.clips for turn in turns)
        for user, assistant in zip(turns[::2], turns[1::2], strict=True):
            question = user.text.splitlines()[-1]
            assert question.endswith("?")
            if question.startswith("How many times does a"):
                times = does(lines, question.removeprefix("How many times does a"))
                assert COUNTS.index(assistant.text) == times, (turns[0].text, assistant.text)
                counted += 1
            elif question.startswith("Does a") and "before or after" not in question:
                assert assistant.text == ("yes" if does(lines, question.removeprefix("Does a")) else "no"), turns
                claimed[assistant.text] += 1
    assert counted > 30 and min(claimed["yes"], claimed["no"]) > 100


def does(lines: list[str], asked: str) -> int:
    """How many lines say that "n orange dog jump?" does so."""
    words = asked.removeprefix("n ").removesuffix("?").split()
    return sum(f" {words[0]} {words[1]} {inflect(' '.join(words[2:]), 's')} " in line for line in lines)
