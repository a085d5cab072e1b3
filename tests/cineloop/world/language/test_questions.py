"""Questions: right answers, false twins that are false, no kind whose wording gives the answer away."""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict

import pytest

from cineloop.world import vocabulary as words
from cineloop.world.language import lexicon as lex
from cineloop.world.language.claims import CLAIMS
from cineloop.world.language.questions import OPEN, conversations, questions
from cineloop.world.scenes.sampler import sample_scene

KINDS = set(words.KINDS) | set(lex.PLURALS.values())


def facts_of(index: int) -> dict:
    return sample_scene("train", 21, index, seconds=(9.0, 14.0) if index % 6 == 0 else None).facts()


def masked(question: str) -> str:
    """The question with kinds, colours and seconds taken out: what a reader without the video can go by."""
    told = re.findall(r"\w+", re.sub(r"\d\.\d", "0", question.lower()))
    return " ".join("KIND" if w in KINDS else "COLOR" if w in words.COLORS else w for w in told)


@pytest.mark.slow
def test_every_kind_comes_and_yes_is_as_frequent_as_no_in_each() -> None:
    seen: dict[str, Counter] = defaultdict(Counter)
    for index in range(500):
        for asked in questions(facts_of(index), random.Random(index)):
            assert asked["question"].endswith("?") and asked["question"][0].isupper()
            assert asked["answer"] and "  " not in asked["question"]
            seen[asked["kind"]][asked["answer"]] += 1
    assert set(seen) == {*OPEN, *(f"yesno-{kind}" for kind in CLAIMS)}
    for kind, answers in seen.items():
        if kind.startswith("yesno"):
            assert set(answers) == {"yes", "no"} and answers["yes"] == answers["no"], kind


@pytest.mark.slow
def test_sampled_questions_are_of_different_kinds_and_balanced() -> None:
    said: Counter = Counter()
    for index in range(1500):
        made = questions(facts_of(index % 300), random.Random(index), 3)
        assert len({asked["kind"] for asked in made}) == len(made) == 3
        said.update(asked["answer"] for asked in made if asked["kind"].startswith("yesno"))
    assert abs(said["yes"] - said["no"]) < 4 * (said["yes"] + said["no"]) ** 0.5 / 2


@pytest.mark.slow
def test_the_wording_does_not_give_the_answer_away() -> None:
    shapes: dict[str, dict[str, Counter]] = defaultdict(lambda: defaultdict(Counter))
    for index in range(1500):
        for asked in questions(sample_scene("train", 5, index).facts(), random.Random(index)):
            if asked["kind"].startswith("yesno"):
                shapes[asked["kind"]][masked(asked["question"])][asked["answer"]] += 1
    for kind, found in shapes.items():
        common = [answers for answers in found.values() if answers.total() >= 20]
        total = sum(answers.total() for answers in common)
        if total >= 200:
            assert sum(max(answers.values()) for answers in common) / total < 0.63, kind


@pytest.mark.slow
def test_twins_of_simple_kinds_are_true_and_false() -> None:
    for index in range(300):
        facts = facts_of(index)
        by_kind = {a["kind"]: a for a in facts["actors"]}
        if len(by_kind) < len(facts["actors"]):
            continue
        name = {noun: k for k in words.KINDS for noun in (k, lex.PLURALS[k])}
        for asked in questions(facts, random.Random(index)):
            told = re.findall(r"[a-z]+", asked["question"].lower())
            actors = [by_kind[name[w]] for w in told if w in name and name[w] in by_kind]
            if asked["kind"] == "yesno-color":
                truth = actors[0]["color"] in told
            elif asked["kind"] == "yesno-size":
                truth = actors[0]["size"] in told
            elif asked["kind"] == "yesno-count":
                truth = lex.NUMBERS[actors[0]["count"]] in told
            elif asked["kind"] == "yesno-exists":
                truth = any(a["color"] in told for a in actors) if set(told) & set(words.COLORS) else bool(actors)
            elif asked["kind"] == "yesno-place":
                truth = any(lex.PLACE_PHRASES[s["place"]][0] in asked["question"] for s in facts["shots"])
            elif asked["kind"] == "absent":
                assert not actors, asked
                continue
            else:
                continue
            assert asked["answer"] == ("yes" if truth else "no"), (asked, facts)


def test_answers_to_events() -> None:
    facts = {
        "duration_s": 5.0,
        "style": "pixel",
        "shots": [{"start_s": 0, "end_s": 5.0, "place": "snow", "camera": "zoom in"}],
        "actors": [{"kind": "bus", "color": "red", "size": "small", "count": 2, "shot": 0}],
        "events": [
            {"actor": 0, "action": a, "direction": d, "speed": p, "target": None, "to_color": None, "shot": 0}
            | {"start_s": s, "end_s": e}
            for a, d, p, s, e in (("drive", "left", "fast", 0.04, 2.0), ("vanish", None, None, 2.1, 2.7))
        ],
        "relations": [],
    }
    found = defaultdict(set)
    for seed in range(200):
        for asked in questions(facts, random.Random(seed)):
            found[asked["question"]].add(asked["answer"])
    assert found["What do the buses do?"] == {"drive to the left, then vanish"}
    assert found["Which way do the buses drive?"] == {"to the left"}
    assert found["How fast do the buses drive?"] == {"quickly"}
    assert found["When do the buses drive?"] == {"from 0.0 to 2.0 seconds"}
    assert found["When do the buses vanish?"] == {"at 2.1 seconds"}
    assert found["How many buses are there?"] == {"two"}
    assert found["What do the buses do after driving?"] == {"vanish"}
    assert found["What happens first?"] == {"the buses drive to the left"}
    assert found["What does the camera do?"] == {"it zooms in"}
    assert found["Where does this happen?"] == {"in the snow"}
    assert found["Do the buses drive to the right?"] == {"no"}
    assert all(len(answers) == 1 for answers in found.values())  # one question, one answer


def test_conversations_are_in_llava_form() -> None:
    for index in range(100):
        turns = conversations(facts_of(index), random.Random(index), 4)
        assert [turn["from"] for turn in turns] == ["human", "gpt"] * (len(turns) // 2)
        assert turns[0]["value"].startswith("<video>\n")
        assert not any("<video>" in turn["value"] for turn in turns[1:])
        assert 2 <= len(turns) <= 8
    first, again = (conversations(facts_of(3), random.Random(1)) for _ in range(2))
    assert first == again


@pytest.mark.slow
def test_a_clip_of_an_hour_in_which_everything_happens() -> None:
    facts = sample_scene("train", 0, 1, seconds=(3600.0, 3600.0)).facts()
    kinds = {asked["kind"] for asked in questions(facts, random.Random(0))}
    assert "duration" in kinds and not {"absent", "yesno-place"} & kinds
