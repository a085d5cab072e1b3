"""Captions of the cartoon world, and the reader that must take every stated fact back out of them."""

from __future__ import annotations

import copy
import random
import re

import pytest

from cineloop.world import vocabulary as words
from cineloop.world.language import lexicon as lex
from cineloop.world.language.comparison import compare
from cineloop.world.language.grammar import inflect
from cineloop.world.language.read_text import parse
from cineloop.world.language.stated import STYLES, required_kinds, steps_of
from cineloop.world.language.words import caption, captions
from cineloop.world.scenes.sampler import sample_scene

NUM = 700


def facts_of(index: int) -> dict:
    split = ("train", "seen", "unseen")[index % 3]
    return sample_scene(split, 11, index, seconds=(8.0, 25.0) if index % 7 == 0 else None).facts()


def differing(facts: dict, rng: random.Random) -> tuple[str, dict]:
    """Facts that differ from `facts` in exactly one fact a short caption states."""
    false = copy.deepcopy(facts)
    what = ["kind", "color", "count", "place"]
    ways = [e for e in false["events"] if e["direction"]]
    what += ["direction"] if ways else []
    kind = what[int(rng.random() * len(what))]
    actor = false["actors"][int(rng.random() * len(false["actors"]))]
    shot = false["shots"][0]
    if kind == "kind":
        # another kind that gets about in the same way, so that nothing else need change
        way = words.KINDS[actor["kind"]][1]
        same = [k for k in words.KINDS if words.KINDS[k][1] == way and k != actor["kind"]]
        if not same:
            return differing(facts, rng)
        actor["kind"] = same[0]
    elif kind == "color":
        actor["color"] = next(c for c in words.COLORS if c != actor["color"])
    elif kind == "count":
        actor["count"] = actor["count"] % 4 + 1
    elif kind == "place":
        shot["place"] = next(p for p in words.PLACES if p != shot["place"])
    else:
        event = ways[0]
        event["direction"] = {"left": "right", "right": "left", "up": "down", "down": "up"}[event["direction"]]
    return kind, false


@pytest.mark.slow
@pytest.mark.parametrize("style", STYLES)
def test_every_stated_fact_is_read_back(style: str) -> None:
    for index in range(NUM):
        facts = facts_of(index)
        text = caption(facts, style, random.Random(index))
        result = compare(parse(text), facts, style)
        assert result.joint, (text, result)
        assert not parse(text).unread, text
        stated = {kind for kind, tally in result.tallies.items() if tally.right}
        assert not {"camera", "style", "size"} & required_kinds(style) - stated, text


@pytest.mark.slow
def test_a_caption_of_other_facts_is_caught_in_exactly_what_differs() -> None:
    for index in range(300):
        rng = random.Random(index)
        facts = facts_of(index)
        kind, false = differing(facts, rng)
        result = compare(parse(caption(false, "short", rng)), facts, "short")
        name = {"kind": "actor"}.get(kind, kind)
        assert not result.joint, (kind, index)
        assert {k for k, t in result.tallies.items() if t.wrong or t.missed} == {name}, (kind, index, result)


def test_reversed_order_is_seen() -> None:
    text = "On the beach, a red ball rolls to the right, then it jumps."
    facts = {
        "duration_s": 4.0,
        "style": "flat",
        "shots": [{"start_s": 0, "end_s": 4.0, "place": "beach", "camera": "static"}],
        "actors": [{"kind": "ball", "color": "red", "size": "small", "count": 1, "shot": 0}],
        "events": [
            {"actor": 0, "action": a, "direction": d, "speed": None, "target": None, "to_color": None, "shot": 0}
            | {"start_s": s, "end_s": s + 2.0}
            for a, d, s in (("roll", "right", 0.0), ("jump", None, 2.0))
        ],
        "relations": [],
    }
    assert compare(parse(text), facts).joint
    for told in ("jumps, then it rolls to the right", "jumps before rolling to the right"):
        result = compare(parse(f"On the beach, a red ball {told}."), facts)
        assert (result.tallies["order"].wrong, result.tallies["action"].right, result.joint) == (1, 2, False)


def test_a_pure_function_that_asks_the_stream_for_random_only() -> None:
    class Strict(random.Random):
        def getrandbits(self, k: int) -> int:
            raise RuntimeError("only random() gives the same numbers everywhere")

    for index in range(40):
        facts = facts_of(index)
        before = copy.deepcopy(facts)
        first, again = (captions(facts, Strict(index), n=2) for _ in range(2))
        assert first == again
        assert facts == before
        assert {len(texts) for texts in first.values()} == {2}


def test_shapes_and_words() -> None:
    seen: set[str] = set()
    for index in range(300):
        facts = sample_scene("train", 2, index).facts()
        told = captions(facts, random.Random(index), n=1)
        short, detailed, timed = (told[style][0] for style in STYLES)
        assert short.count(".") == 1 and short.endswith(".") and short[0].isupper()
        assert 2 <= len(re.findall(r"\.(?:\s|$)", detailed)) <= 4 or len(facts["shots"]) > 1, detailed
        lines = timed.splitlines()
        moving = [s for s in facts["shots"] if s["camera"] != "static"]
        assert len(lines) == len(facts["events"]) + len(moving)
        assert all(re.match(r"\d+\.\d-\d+\.\ds: [a-z]", line) for line in lines), timed
        for text in (short, detailed, timed):
            assert not re.search(r"\ba [aeiou]|\ban [^aeiou]|  | [,.]|[<>{}]|None", text), text
            seen |= set(re.findall(r"[a-z]+", text.lower()))
    assert len(seen) < 450


def test_paraphrases_differ() -> None:
    facts = facts_of(4)
    made = {caption(facts, "short", random.Random(i)) for i in range(100)}
    assert len(made) > 60


@pytest.mark.parametrize(
    ("phrase", "form", "told"),
    [
        ("run", "ing", "running"),
        ("slide", "ing", "sliding"),
        ("vanish", "s", "vanishes"),
        ("fly", "s", "flies"),
        ("stay still", "s", "stays still"),
        ("not move", "s", "does not move"),
        ("turn around and go back", "s", "turns around and goes back"),
        ("bounce up and down", "s", "bounces up and down"),
    ],
)
def test_inflection(phrase: str, form: str, told: str) -> None:
    assert inflect(phrase, form) == told


def test_steps() -> None:
    assert steps_of([(0.0, 2.0), (0.1, 1.0), (2.1, 3.0)]) == [0, 0, 1]
    assert steps_of([(0.0, 2.0), (1.9, 3.0)]) == [0, 1]


def test_one_meaning_for_each_wording() -> None:
    tables = (lex.VERBS, lex.DIRECTION_WORDS, lex.SPEED_WORDS, lex.RELATION_WORDS, lex.CAMERA_VERBS, lex.STYLE_NOUNS)
    for table in tables:
        options = [o for values in table.values() for o in values if o not in lex.GENERIC_TRAVEL]
        assert len(options) == len(set(options))


def test_unknown_style() -> None:
    with pytest.raises(ValueError, match="short, detailed, timed"):
        caption(facts_of(0), "long", random.Random(0))
