"""Kinds of composition: which questions of a prompt test which kind; prompts of files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cineloop.errors import UsageError
from v2t_eval.judge.grammar.wording import of_text
from v2t_eval.judge.question import Question
from v2t_eval.semantics.composition import (
    ACTION,
    CONSISTENT,
    DYNAMIC,
    INTERACTION,
    KINDS,
    MOTION,
    NUMERACY,
    SPATIAL,
    kinds_of,
    prompt_kinds,
    with_answers,
    with_parents,
)


def asked(prompt: str, given: str | None = None) -> dict[str, list[str]]:
    questions = of_text(prompt)
    text = {question.id: question.question for question in questions}
    return {kind: [text[id] for id in ids] for kind, ids in kinds_of(questions, given).items()}


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("A red ball is to the left of a blue box.",
         {CONSISTENT: ["Is the ball red?", "Is the box blue?"], SPATIAL: ["Is the ball to the left of the box?"]}),
        ("A red ball turns blue on the beach.", {DYNAMIC: ["Does the ball turn blue?"]}),
        ("A balloon grows in the desert.", {DYNAMIC: ["Does the balloon grow?"]}),
        ("A cat jumps while a dog runs to the left.",
         {MOTION: ["Does the dog run to the left?"], ACTION: ["Does the cat jump?", "Does the dog run?"]}),
        ("A red dog chases a blue cat.",
         {CONSISTENT: ["Is the dog red?", "Is the cat blue?"], INTERACTION: ["Does the dog chase the cat?"]}),
        ("Three dogs and two cats in the park",
         {NUMERACY: ["Are there exactly three dogs?", "Are there exactly two cats?"]}),
        ("A dog chases a cat across the yard", {INTERACTION: ["Is the dog chasing a cat?"]}),
        ("A dog walks.", {}),
        ("A red dog turns around in the city.", {}),
    ],
)  # fmt: skip
def test_questions_are_of_their_kind(prompt: str, expected: dict[str, list[str]]) -> None:
    assert asked(prompt) == expected


def test_a_known_kind_is_the_only_one() -> None:
    prompt = "A red dog chases a blue cat."
    assert list(asked(prompt, INTERACTION)) == [INTERACTION] and asked(prompt, NUMERACY) == {}
    assert asked("A red dog walks.", CONSISTENT) == {CONSISTENT: ["Is the dog red?"]}, "one thing is enough then"


def test_a_language_models_questions_are_sorted_too() -> None:
    questions = [
        Question(id="1", question="Is there a leaf?", about="kind"),
        Question(id="2", question="Does the leaf change from green to red?", parents=("1",), about="action"),
    ]
    assert kinds_of(questions) == {DYNAMIC: ("2",)}


def test_parents_come_along() -> None:
    questions = of_text("A red ball is to the left of a blue box.")
    kept = with_parents(questions, kinds_of(questions)[SPATIAL])
    assert [one.question for one in kept] == [
        "Is there a ball?",
        "Is there a box?",
        "Is the ball to the left of the box?",
    ]


def test_closed_forms_ask_the_same() -> None:
    def of(prompt: str) -> dict[str, str]:
        return {one.question: one.answer for one in with_answers(of_text(prompt)) if one.choices}

    assert of("A red ball turns blue while two small cats run to the left.") == {
        "What color is the ball at the end?": "blue", "How big are the cats?": "small",
        "Which way do the cats run?": "to the left",
    }  # fmt: skip
    assert all(one.answer in one.choices for one in with_answers(of_text("A small dog runs up.")) if one.choices)
    assert with_answers(of_text("A dog turns around.")) == of_text("A dog turns around.")


def test_prompts_of_files_have_the_kind_of_their_file(tmp_path: Path) -> None:
    (tmp_path / "1_consistent_attr.txt").write_text("A red dog and a blue cat\n\nA green car\n", encoding="utf-8")
    rows = [{"prompt": "A cat walks left", "object_1": "cat", "d_1": "left"}]
    (tmp_path / "motion_binding.json").write_text(json.dumps(rows), encoding="utf-8")
    (tmp_path / "README.md").write_text("# no prompts", encoding="utf-8")
    kinds = prompt_kinds(str(tmp_path))
    assert kinds == {"A red dog and a blue cat": CONSISTENT, "A green car": CONSISTENT, "A cat walks left": MOTION}
    stems = ("1_consistent_attr", "2_dynamic_attr", "3_spatial_relationship", "4_motion_binding", "5_action_binding",
             "6_interaction", "7_numeracy")  # fmt: skip
    whole = tmp_path / "whole"
    whole.mkdir()
    for stem in stems:
        (whole / f"{stem}.txt").write_text(f"prompt of {stem}\n", encoding="utf-8")
    assert tuple(prompt_kinds(str(whole)).values()) == KINDS
    with pytest.raises(UsageError, match="no prompts of a kind"):
        prompt_kinds(str(tmp_path / "nowhere"))
