"""What a caption gives back of a prompt: facts, questions answered from the caption, and the four cells."""

from __future__ import annotations

import random

import pytest

from cineloop.world.language.words import caption
from cineloop.world.scenes.sampler import sample_scene
from cineloop.world.scenes.solo import prompt, sample_solo
from v2t_eval.roundtrip.result import QuestionCase, count
from v2t_eval.roundtrip.scoring import means_same
from v2t_eval.semantics.prompt_questions import from_caption, is_plain, needs_reader, questions, share, wanted_answer
from v2t_eval.text.prompt_facts import match_facts

BALL = "A red ball rolls slowly to the right on the beach."


def caption_value(asked, told):
    return {fact.kind: (fact.value, fact.caption_value) for fact in match_facts(asked, told).facts}


def test_a_prompt_gives_itself_back_whole():
    for index in range(40):
        facts = sample_solo("seen", 1, index).facts()
        asked = prompt(facts, random.Random(index))
        held = match_facts(asked, caption(facts, "detailed", random.Random(index + 1)))
        assert (held.recall, held.precision, held.f1) == (1, 1, 1), asked


def test_stories_of_several_figures_give_themselves_back():
    for index in range(40):
        facts = sample_scene("seen", 1, index).facts()
        words = random.Random(index)
        asked, told = caption(facts, "short", words), caption(facts, "detailed", words)
        assert match_facts(asked, told).recall > 0.9, (asked, told)
        assert match_facts(asked, asked).f1 == 1, asked


@pytest.mark.parametrize(
    ("asked", "told", "recall", "made_up"),
    [
        ("A red ball rolls.", "A large red ball rolls quickly to the left in the snow.", 1.0, 0),  # all that is open
        ("A red ball.", "A red ball rolls to the left.", 1.0, 0),  # what it does is open, too
        (BALL, "A blue ball rolls slowly to the right on the beach.", 6 / 7, 0),
        (BALL, "A red ball rolls slowly to the right on the beach. A green cat sleeps.", 1.0, 1),
        (BALL, "A red ball rolls slowly to the right on the beach and then jumps.", 1.0, 1),
        (BALL, "In the snow, a red ball rolls slowly to the right.", 6 / 7, 0),
        (BALL, "", 0.0, 0),
    ],
)
def test_only_what_is_asked_counts(asked, told, recall, made_up):
    held = match_facts(asked, told)
    assert (held.recall, held.made_up) == (pytest.approx(recall), made_up)


def test_walking_and_running_are_one_deed_at_two_paces():
    assert caption_value("A red dog runs.", "A red dog walks.")["action"] == ("walk or run", "walk or run")
    assert caption_value("A red dog runs.", "A red dog walks.")["speed"] == ("fast", "slow")
    assert "speed" not in caption_value("A red dog moves to the left.", "A red dog runs to the left.")
    assert caption_value("A red dog moves quickly.", "A red dog runs.")["speed"] == ("fast", "fast")


def test_order_and_who_does_what_to_whom_are_facts():
    asked = "A red dog jumps and then spins."
    assert caption_value(asked, "A red dog spins and then jumps.")["order"] == ("as asked", "otherwise")
    assert caption_value(asked, "A red dog jumps.")["order"] == ("as asked", None)
    chase = "A red dog chases a blue cat."
    assert caption_value(chase, chase)["target"] == ("as asked", "as asked")


def test_plain_english_is_not_read():
    assert match_facts("A barista pours latte art in a cafe.", "A red dog runs.") is None
    assert needs_reader("A barista pours latte art in a cafe.")


def test_questions_of_one_figure_presuppose_nothing():
    asked = questions(BALL)
    assert is_plain(asked)
    assert {one.kind: one.value for one in asked} == {
        "place": "beach", "kind": "ball", "color": "red", "count": "1", "motion": "travel", "direction": "right",
        "speed": "slow",
    }  # fmt: skip
    assert all(one.question.answer in one.question.choices for one in asked)
    assert not any("ball" in one.question.question for one in asked)


@pytest.mark.parametrize("index", range(25))
def test_a_true_caption_answers_every_question(index):
    for scene in (sample_solo("seen", 2, index), sample_scene("seen", 2, index)):
        facts, words = scene.facts(), random.Random(index)
        asked = caption(facts, "short", words)
        told = from_caption(asked, asked)
        assert told == tuple(wanted_answer(one) for one in questions(asked)), asked


def test_a_wrong_caption_answers_otherwise():
    told = dict(zip((one.kind for one in questions(BALL)), from_caption(BALL, "A red cat jumps."), strict=True))
    assert told["kind"] == "cat"
    assert (told["color"], told["motion"], told["place"], told["direction"]) == ("red", "hop", None, None)


def test_number_changes_no_question():
    asked = "Two red dogs chase a blue cat."
    assert not is_plain(questions(asked))
    found = zip(questions(asked), from_caption(asked, "A red dog chases a blue cat."), strict=True)
    told = {one.question.question: reply for one, reply in found}
    assert told["Are there any dogs?"] == "yes"
    assert told["Are there exactly two dogs?"] == "no"


def test_kinds_of_questions_are_told_by_their_words():
    asked = "Two large red dogs chase a blue cat slowly to the left in the forest."
    kinds = {one.question.question: one.kind for one in questions(asked)}
    assert kinds["Are there any dogs?"] == "kind"
    assert kinds["Are there exactly two dogs?"] == "count"
    assert kinds["Are the dogs red?"] == "color"
    assert kinds["Are the dogs large?"] == "size"
    assert kinds["Does this happen in the forest?"] == "place"
    assert kinds["Do the dogs chase the cat?"] == "action"


def test_a_prompt_that_a_caption_of_another_may_answer_is_the_same():
    assert means_same("A red ball rolls.", "A large red ball rolls to the left on the beach.")
    assert not means_same("A large red ball rolls to the left on the beach.", "A red ball rolls.")
    assert means_same("A barista  pours milk.", "a barista pours milk.")
    assert not means_same("A barista pours milk.", "A dog runs.")


def test_a_question_without_an_answer_is_no_case():
    asked = questions(BALL)
    assert share(asked, [None] * len(asked)) is None
    assert share(asked, [True, None, False, *[None] * (len(asked) - 3)]) == 0.5


def test_planted_cells_come_out():
    plan = [(True, True)] * 5 + [(True, False)] * 3 + [(False, True)] * 2 + [(False, False)] * 4 + [(None, True)] * 2
    cases = [
        QuestionCase(cluster=str(number), kind="color" if number % 2 else "kind", clip=clip, caption=told)
        for number, (clip, told) in enumerate([*plan, (True, None)])
    ]
    whole, *by_kind = count(cases, "judge", "generator")
    assert (whole.kind, whole.n, whole.unanswered) == ("all", 14, 3)
    assert {name: round(told.value * 14) for name, told in whole.shares.items()} == {
        "kept": 5, "lost_by_captioner": 3, "made_up_by_captioner": 2, "lost_by_generator": 4,
    }  # fmt: skip
    assert sum(told.value for told in whole.shares.values()) == pytest.approx(1)
    assert [one.kind for one in by_kind] == ["kind", "color"]
    assert sum(one.n for one in by_kind) == 14
    assert all(told.low < told.value < told.high for told in whole.shares.values())


def test_questions_of_one_prompt_are_no_independent_cases():
    def width(clusters):
        cases = [QuestionCase(cluster=c, kind="k", clip=True, caption=int(c) % 2 == 0) for c in clusters]
        told = count(cases, "judge", "generator")[0].shares["kept"]
        return told.high - told.low

    assert width([str(n // 5) for n in range(40)]) > 1.5 * width([str(n) for n in range(40)])


def test_nothing_answered_has_no_shares():
    (whole, _) = count([QuestionCase(cluster="a", kind="k", clip=None, caption=True)], "judge", "generator")
    assert (whole.n, whole.unanswered, whole.shares) == (0, 1, {})
    assert count([], "judge", "generator") == []
