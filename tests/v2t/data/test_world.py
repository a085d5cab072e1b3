"""Conversations about a clip: plain captions are told in order of time, and questions may follow them."""

from __future__ import annotations

import random

from cineloop.world.language.comparison import compare
from cineloop.world.language.read_text import parse
from cineloop.world.scenes.sampler import sample_scene
from v2t.data.world import BACKWARDS, ClipsConfig, conversation

SCENES = [sample_scene("train", 5, index).facts() for index in range(120)]


def captions(config: ClipsConfig, stream: int = 0) -> list[str]:
    """A caption of each scene."""
    draws = [random.Random(f"{stream}|{n}") for n in range(len(SCENES))]
    return [conversation(facts, "short", rng, config)[1].text for facts, rng in zip(SCENES, draws, strict=True)]


def test_the_plainest_of_several_wordings_says_the_same_with_less():
    plain, any_ = captions(ClipsConfig(wordings=4)), captions(ClipsConfig())
    assert all(compare(parse(text), facts).joint for text, facts in zip(plain, SCENES, strict=True))
    assert sum(map(len, plain)) < 0.9 * sum(map(len, any_))


def test_what_came_later_is_seldom_told_first():
    assert BACKWARDS.search("Before turning around, two boats sail along the beach.")
    assert BACKWARDS.search("In the snow, before a cat jumps, a dog spins.")
    assert BACKWARDS.search("A cat jumps after a dog spins.")
    for forward in (
        "A dog spins before a cat jumps.",
        "In a city, after a dog spins, a cat jumps.",
        "A dog spins, and after that a cat jumps, and after a cut, a bus drives.",
    ):
        assert not BACKWARDS.search(forward)
    many = [
        [text for stream in range(6) for text in captions(ClipsConfig(wordings=n), stream) if BACKWARDS.search(text)]
        for n in (1, 4)
    ]
    assert len(many[0]) >= 10 and len(many[1]) <= len(many[0]) // 4


def test_questions_follow_a_caption():
    config = ClipsConfig(follow_ups=3)
    talks = [conversation(facts, "short", random.Random(n), config) for n, facts in enumerate(SCENES)]
    assert all([turn.role for turn in talk[:2]] == ["user", "assistant"] and talk[0].clips == 1 for talk in talks)
    assert all(turn.clips == 0 for talk in talks for turn in talk[1:])
    assert {len(talk) for talk in talks} == {8}
    firsts = [talk[2].text for talk in talks]
    assert sum(text.startswith(("What does", "What do", "What is", "What are")) for text in firsts) > 60
    assert not any("there is no" in talk[3].text for talk in talks if " do" in talk[2].text and "What" in talk[2].text)
