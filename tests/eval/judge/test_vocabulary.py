"""A judge is asked nothing in words that it was not trained on, and a clip of such a prompt has no value."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from cineloop.errors import ItemError
from cineloop.world.language.phrases import unknown_words, vocabulary
from cineloop.world.language.questions import questions
from cineloop.world.scenes.sampler import sample_scene
from cineloop.world.scenes.solo import sample_solo
from foreign_prompts import FOREIGN
from metric_results import judged_by
from scripted_captioner import FirstLikely
from small_clips import appearing, noise, sample, write
from v2t_eval.core.metric import load_metric
from v2t_eval.judge.calibration import Calibration, Reliability
from v2t_eval.judge.grammar.wording import LISTS, of_text
from v2t_eval.judge.judge import Judge
from v2t_eval.judge.question import Question, from_row
from v2t_eval.testing.clips import STARTER, ClipEvaluator


def scored(name: str, prompt: str | None, words="world", **more):
    captioner = FirstLikely(words)
    return judged_by(captioner, name, sample(appearing(), "clip", prompt=prompt, **more)), captioner


@pytest.mark.parametrize("name", ["question_score", "vqascore"])
@pytest.mark.parametrize("prompt", FOREIGN)
def test_a_prompt_with_a_word_that_the_judge_does_not_know_has_no_value(name, prompt):
    found, captioner = scored(name, prompt)
    assert not found.figures and found.coverage == 0 and not captioner.asked
    (failure,) = found.failures
    assert failure["code"] == "UNAUDITED" and "the judge first-likely does not know '" in failure["message"]
    assert found.counts["unaudited"] == found.counts["outside"] == 1
    (note,) = (note for note in found.notes if "UNAUDITED" in note)
    assert "1 of 1 clips have no value" in note


@pytest.mark.parametrize("name", ["question_score", "vqascore"])
def test_a_prompt_in_words_of_the_world_is_judged_as_before(name):
    found, captioner = scored(name, "A red dog rolls to the left on the beach.")
    assert found.coverage == 1 and captioner.asked and not found.counts["outside"]
    assert not any("UNAUDITED" in note or "vocabulary" in note for note in found.notes)


@pytest.mark.parametrize("name", ["question_score", "vqascore"])
def test_of_a_judge_without_a_vocabulary_the_report_says_that_its_error_is_unknown(name):
    found, captioner = scored(name, FOREIGN[0], words=None)
    assert found.coverage == 1 and captioner.asked
    assert any("declares no vocabulary" in note and "unknown" in note for note in found.notes)


def test_a_folder_may_declare_words_of_its_own():
    words = tuple("a is the there giraffe piano plays playing".split())
    found, captioner = scored("question_score", "A giraffe plays the piano.", words=words)
    assert found.coverage == 1 and "Is there a giraffe?" in captioner.asked
    other, _ = scored("question_score", "A giraffe plays the lute.", words=words)
    assert other.failures[0]["message"].startswith("clip: the judge first-likely does not know 'lute'")


def test_questions_of_a_row_are_held_to_the_same_words():
    row = {"questions": [{"question": "Is there a dog?"}, {"question": "Is there a giraffe?"}]}
    found, captioner = scored("question_score", None, row=row)
    assert found.failures[0]["code"] == "UNAUDITED" and "'giraffe'" in found.failures[0]["message"]
    assert not captioner.asked
    known, captioner = scored("question_score", "A giraffe.", row={"questions": row["questions"][:1]})
    assert known.coverage == 1 and captioner.asked == ["Is there a dog?"], "the prompt is not what is asked"


@pytest.mark.parametrize(
    ("row", "word"),
    [
        ({"question": "What is the figure?", "answer": "a giraffe", "choices": ["a dog", "a giraffe"]}, "giraffe"),
        ({"question": "What is the figure?", "answer": "a dog", "choices": ["a dog", "a giraffe"]}, "giraffe"),
        ({"question": "Is there a dog?", "wordings": ["Do you spot a dog?"]}, "spot"),
        ({"question": "How many dogs are there?", "answer": "seven"}, "seven"),
        ({"question": "Are there exactly 9 dogs?"}, "9"),
        ({"question": "Is there no dog?"}, "no"),
        ({"question": "Есть ли собака?"}, "есть"),
        ({"question": "这里有狗吗?"}, "这里有狗吗"),
        ({"question": "Is there a 🦒?"}, "🦒"),
    ],
)
def test_every_word_of_a_question_and_its_answers_counts(row, word):
    captioner = FirstLikely()
    (answer,) = Judge(captioner).answer(sample(appearing(), "clip"), from_row([row], "clip"))
    assert (answer.status, answer.code, answer.right) == ("unaudited", "UNAUDITED", None)
    assert repr(word) in answer.message and not captioner.asked


@pytest.mark.slow
def test_all_that_the_world_asks_is_in_its_vocabulary():
    asked = {question for plain in LISTS.values() for question in (*plain.wordings, *plain.claims.values())}
    rows = [{"question": text} for text in asked]
    rows += [
        {"question": plain.wordings[0], "answer": answer, "choices": list(plain.answers.values())}
        for plain in LISTS.values()
        for answer in plain.answers.values()
    ]
    for index in range(300):
        for draw in (sample_scene, sample_solo):
            made = questions(draw("train", 3, index).facts(), random.Random(index))
            rows += [{"question": each["question"]} for each in made]
    judge = Judge(FirstLikely())
    unknown = {why for number, row in enumerate(rows) if (why := judge.why_unknown(from_row([row], str(number))[0]))}
    assert not unknown
    assert len(vocabulary()) < 500, "it is the world's, not a dictionary"


def test_words_of_any_script_are_read_as_words():
    assert unknown_words("Does the dog's café roll at 2.5 seconds? 狗 🦒") == ("café", "狗", "🦒")
    assert not of_text("A red dog rolls 玩滑板.") or Judge(FirstLikely()).why_unread("A red dog rolls 玩滑板.")


def test_words_of_the_world_that_state_nothing_there_are_refused_too():
    judge = Judge(FirstLikely())
    assert "not as they stand here" in judge.why_unread("A red dog rolls camera.")
    assert "reads nothing" in judge.why_unread("the")
    assert judge.why_unread("A red dog rolls to the left.") == ""


def test_more_unaudited_answers_than_others_give_no_value():
    bad = Reliability(n=40, right=3, kappa=0.05, low=0.0)
    good = Reliability(n=40, right=40, kappa=1.0, low=0.9)

    def judge(*kinds: str) -> Judge:
        tables = {kind: dict.fromkeys(LISTS[kind].answers.values(), bad if kind in kinds else good) for kind in LISTS}
        return Judge(FirstLikely(), calibration=Calibration(judge="first-likely@1", maps={}, answers=tables))

    asked = of_text("A red dog grows on the beach.", closed=True)
    assert len(asked) == 4
    assert len(judge("color", "kind").askable(sample(appearing(), "clip"), asked)) == 2
    with pytest.raises(ItemError, match="not shown to know 3 of the 4 answers") as error:
        judge("color", "kind", "motion").askable(sample(appearing(), "clip"), asked)
    assert error.value.code == "UNAUDITED"


@pytest.mark.parametrize(
    ("name", "prompt", "asks"),
    [
        ("object_class", "A giraffe on the beach.", "giraffe"),
        ("scene", "A dog in an alley.", "alley"),
        ("human_action", "A person is playing piano.", "piano"),
        ("multiple_objects", "A dog and a giraffe.", "giraffe"),
        ("color", "A red giraffe.", "giraffe"),
        ("spatial_relationship", "A dog on the left of a giraffe.", "giraffe"),
    ],
)
def test_dimensions_that_ask_a_judge_follow_the_same_rule(name, prompt, asks):
    metric = load_metric(name)(detector="v2t")
    metric.judge = Judge(FirstLikely())
    metric.update([sample(appearing(), "clip", prompt=prompt)])
    found = metric.compute()
    assert found.failures[0]["code"] == "UNAUDITED" and asks in found.failures[0]["message"]
    assert found.counts["outside"] == 1 and any("UNAUDITED" in note for note in found.notes)


def test_both_metrics_count_a_clip_without_a_prompt_as_one_without_a_value():
    found = {}
    for name in ("question_score", "vqascore"):
        metric = load_metric(name)()
        metric.judge = Judge(FirstLikely())
        prompts = ["A dog rolls."] * 2 + [None] * 3
        metric.update(
            [replace(sample(appearing(), "clip", prompt=prompt), id=str(n)) for n, prompt in enumerate(prompts)]
        )
        result = metric.compute()
        found[name] = (result.coverage, result.n, [failure["code"] for failure in result.failures])
    assert found["question_score"] == found["vqascore"] == (0.4, 5, ["NO_PROMPT"] * 3)


@pytest.mark.slow
def test_a_verdict_on_one_clip_is_outside_by_the_same_rule(monkeypatch, tmp_path):
    write(noise(num=8, fps=8), tmp_path / "clip.mp4")
    monkeypatch.setattr("v2t_eval.semantics.dimension.open_judge", lambda name, device: Judge(FirstLikely()))
    evaluator = ClipEvaluator()
    try:
        for more in ({"prompt": FOREIGN[0]}, {"questions": ["Is there a giraffe?"]},
                     {"prompt": FOREIGN[0], "at_least": {"question_score": 0.5}}):  # fmt: skip
            verdict = evaluator.verdict(tmp_path / "clip.mp4", judge=STARTER, **more)
            assert verdict.outcome == "outside" and "does not know 'giraffe'" in verdict.outside
        assert evaluator.verdict(tmp_path / "clip.mp4", questions=["Is there a dog?"]).outcome == "pass"
    finally:
        evaluator.close()


def test_an_answer_of_yes_to_an_unknown_word_was_right_before_the_rule():
    """The stand-in does affirm it, so that the tests above can fail."""
    (answer,) = Judge(FirstLikely(None)).answer(
        sample(appearing(), "clip"), [Question(id="g", question="Is there a giraffe?")]
    )
    assert answer.right and answer.chance > 0.8
