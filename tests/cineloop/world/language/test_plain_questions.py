import random

import pytest

from cineloop.world.language.plain_questions import MOTIONS, NONE, PLAIN, claim_turns, motion_of, open_turns, values
from cineloop.world.scenes.sampler import sample_scene
from cineloop.world.scenes.solo import sample_solo
from cineloop.world.vocabulary import IN_PLACE, MOMENTS, TRAVEL

SOLOS = [sample_solo("train", 3, index).facts() for index in range(80)]


def test_every_value_has_an_answer_that_no_other_value_has():
    for plain in PLAIN.values():
        assert len(set(plain.answers.values())) == len(plain.answers)
        assert len(set(plain.claims.values())) == len(plain.claims)
        assert set(plain.claims) <= set(plain.answers)


def test_every_action_of_one_figure_has_one_class_of_motion():
    assert {motion_of(action) for action in (*TRAVEL, *IN_PLACE, *MOMENTS, "stand")} == set(MOTIONS)
    with pytest.raises(ValueError, match="'chase'"):
        motion_of("chase")


def test_the_values_of_a_solo_are_its_facts():
    for facts in SOLOS:
        found, actor, event = values(facts), facts["actors"][0], facts["events"][0]
        assert (found["kind"], found["color"], found["size"], found["count"]) == (
            actor["kind"], actor["color"], actor["size"], "1",
        )  # fmt: skip
        assert found["place"] == facts["shots"][0]["place"]
        if event["direction"]:
            assert found["direction"] == event["direction"] and found["motion"] == "travel"
            assert found["speed"] == {"walk": "slow", "run": "fast"}.get(event["action"], event["speed"])
        else:
            assert found["direction"] == found["speed"] == NONE
        assert found.get("to_color") == (None if event["action"] == "vanish" else event["to_color"] or actor["color"])


def test_of_a_clip_with_several_figures_only_place_and_number_are_asked():
    found = [values(sample_scene("train", 1, index).facts()) for index in range(60)]
    several = [each for each in found if each and each["count"] != "1"]
    assert several and all(set(each) == {"place", "count"} for each in several)


def test_open_answers_are_those_of_the_values():
    for facts in SOLOS[:20]:
        turns = dict(open_turns(facts, random.Random(1)))
        found = values(facts)
        assert len(turns) == len(found)
        for factor, value in found.items():
            asked = [question for question in PLAIN[factor].wordings if question in turns]
            assert [turns[question] for question in asked] == [PLAIN[factor].answers[value]]


def test_claims_are_true_half_the_time_and_only_where_the_answer_is_yes():
    told = [(facts, turn) for facts in SOLOS for turn in claim_turns(facts, random.Random(str(facts)))]
    for facts, (claim, answer) in told:
        true = {PLAIN[factor].claims[v] for factor, v in values(facts).items() if v in PLAIN[factor].claims}
        assert (answer == "yes") == (claim in true), claim
    share = sum(answer == "yes" for _, (_, answer) in told) / len(told)
    assert 0.42 < share < 0.55
