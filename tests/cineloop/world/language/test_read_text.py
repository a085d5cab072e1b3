"""The reader on free wording and on nonsense."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cineloop.world.language.phrases import _TABLE, why_unread
from cineloop.world.language.read_text import parse


def events(text: str) -> list[list[tuple]]:
    stated = parse(text)

    def name(index: int | None) -> str | None:
        return None if index is None else stated.actors[index].kind

    return [
        [(name(e.actor), e.action, e.direction, e.speed, name(e.target), e.to_color) for e in step]
        for step in stated.steps()
    ]


def event(who: str, action: str, way=None, speed=None, target=None, color=None) -> tuple:
    return who, action, way, speed, target, color


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("A red ball rolls quickly to the right", [[event("ball", "roll", "right", "fast")]]),
        ("after jumping the dog runs left", [[event("dog", "jump")], [event("dog", "run", "left")]]),
        ("A dog runs to the left after it jumps.", [[event("dog", "jump")], [event("dog", "run", "left")]]),
        ("Before jumping, a dog runs left.", [[event("dog", "run", "left")], [event("dog", "jump")]]),
        ("A cat is chased by a big brown dog going right.", [[event("dog", "chase", "right", None, "cat")]]),
        ("A boy goes to the left and hides behind a box.", [[event("boy", "hide", "left", None, "box")]]),
        ("A car and a bus meet each other.", [[event("car", "meet", None, None, "bus")]]),
        ("The plane turns from red to blue.", [[event("plane", "recolor", None, None, None, "blue")]]),
        ("The color of the heart turns blue", [[event("heart", "recolor", None, None, None, "blue")]]),
        ("A car moves left. Meanwhile, a bird spins.", [[event("car", "drive", "left"), event("bird", "spin")]]),
        ("While a car moves left, a bird spins.", [[event("car", "drive", "left"), event("bird", "spin")]]),
        ("A fish turns around and goes back to the left.", [[event("fish", "turn", "left")]]),
        ("A girl moves fast to the right.", [[event("girl", "run", "right", "fast")]]),
        ("Two cats jump, spin and then vanish!", [[event("cat", a)] for a in ("jump", "spin", "vanish")]),
        ("A dog and a cat jump.", [[event("dog", "jump"), event("cat", "jump")]]),
        ("There is a dog in the snow and a ship sails to the right", [[event("boat", "sail", "right")]]),
    ],
)
def test_free_wording(text: str, told: list) -> None:
    assert events(text) == told


def test_attributes_places_and_camera() -> None:
    stated = parse("3 little purple bunnies hop in the woods. The camera zooms out. It is drawn in pencil.")
    (actor,) = stated.actors
    assert (actor.kind, actor.color, actor.size, actor.count) == ("rabbit", "purple", "small", 3)
    assert (stated.shots[0].place, stated.shots[0].camera, stated.style) == ("forest", "zoom out", "pencil")


def test_a_cut_opens_a_shot() -> None:
    stated = parse("A red dog runs left on the beach, then the scene cuts to a city, where a red dog jumps.")
    assert [shot.place for shot in stated.shots] == ["beach", "city"]
    assert [(e.shot, e.actor) for e in stated.events] == [(0, 0), (1, 1)]


def test_times() -> None:
    stated = parse("0.2-1.7s: a brown cat runs left in the snow.\n2.0 to 3.1s: it jumps.")
    assert [(e.start_s, e.end_s, e.step) for e in stated.events] == [(0.2, 1.7, 0), (2.0, 3.1, 1)]


def test_relations_both_ways() -> None:
    for text in (
        "A red dog above a blue box spins.",
        "Above a blue box, a red dog spins.",
        "A blue box is below a red dog.",
    ):
        stated = parse(text)
        (relation,) = stated.relations
        names = stated.actors[relation.a].kind, relation.relation, stated.actors[relation.b].kind
        assert names == ("dog", "above", "box"), text


def test_what_is_not_understood_is_kept() -> None:
    assert parse("a giraffe eats grass").unread == ["giraffe", "eats"]
    assert parse("").actors == []


WORDS = sorted({word for keys in _TABLE.values() for key, _ in keys for word in key})


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from([*WORDS, "a", "red", "dog", "dogs", "it", "beach", "0.1-2.0s:", "\n"]), max_size=30))
def test_any_order_of_words_is_read_without_an_error(chosen: list[str]) -> None:
    stated = parse(" ".join(chosen))
    num = len(stated.actors)
    assert all(e.actor is None or 0 <= e.actor < num for e in stated.events)


@pytest.mark.slow
@settings(max_examples=50, deadline=None)
@given(st.text(max_size=80))
def test_any_text_is_read_without_an_error(text: str) -> None:
    assert parse(text).shots


def test_words_of_the_world_are_not_called_unknown():
    assert why_unread(parse("A blue frobnicator spins.").unread) == "does not know 'frobnicator'"
    assert why_unread(parse("One of the dogs jumps.").unread).startswith("knows the words 'one', and not as")
