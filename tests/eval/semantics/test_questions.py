"""Dimensions, VQAScore and question scores by a judge that says what it is told."""

from __future__ import annotations

import math

import pytest

from cineloop.errors import ItemError, NothingMatchedError, UsageError
from metric_results import judged_by, result_of_prompts, values
from scripted_captioner import Scripted
from small_clips import noise
from v2t.backends import Output
from v2t_eval.core.metric import MetricResult, load_metric
from v2t_eval.core.sample import Sample, SampleClip
from v2t_eval.judge.grammar.wording import DESCRIBE
from v2t_eval.judge.judge import Judge

CLIP = SampleClip.from_frames(noise(num=17, size=(64, 64), fps=8))


class Table(Scripted):
    """A captioner that finds yes as likely as a table says, or replies in words."""

    name = "table"

    def __init__(self, chances: dict[str, float | str]) -> None:
        self.chances, self.asked = chances, []

    def answer(self, conversations, decoding):
        question = conversations[0][0].text
        self.asked.append(question)
        return [Output(text=str(next(v for k, v in self.chances.items() if k in question)), tokens=1)]


class Likely(Table):
    """As `Table`, telling likelihoods."""

    has_likelihoods = True

    def likelihoods(self, clip, question, answers, *, whole=False):
        self.asked.append(question)
        chance = self.chances[question]
        if isinstance(chance, str):
            raise ItemError("refused", code=chance)
        if "yes" not in answers:  # the wanted choice with this chance, and all others alike
            assert whole == (question != DESCRIBE)
            wanted = ("in the forest", "A red dog", "in a park", "it moves along")
            return [math.log(chance if a in wanted else (1 - chance) / (len(answers) - 1)) for a in answers]
        share = {"yes": chance, "Yes": 0.0, "no": 1 - chance, "No": 0.0}
        return [math.log(share[a]) if share[a] else -math.inf for a in answers]


def judged(name: str, captioner: Table, prompt: str, row: dict | None = None, **settings) -> MetricResult:
    return judged_by(captioner, name, Sample(id="0", clip=CLIP, prompt=prompt, row=row or {}), **settings)


@pytest.mark.parametrize(
    ("name", "prompt", "questions"),
    [
        ("object_class", "a dog", ["Is there a dog?"]),
        ("multiple_objects", "a dog and two cars", ["Is there a dog?", "Are there exactly two cars?"]),
        ("color", "a red dog", ["Is the dog red?"]),
        ("spatial_relationship", "a dog on the right of a car", ["Is the car to the left of the dog?"]),
        ("scene", "a dog in the forest", ["Where does this happen?"]),
        ("scene", "a dog in a supermarket", ["Is the scene a supermarket?"]),
        ("human_action", "A red dog walks to the left.", ["What does the figure do?", "What is the figure doing?"]),
        ("human_action", "Two red dogs walk to the left.", ["Do the dogs walk?"]),
        ("human_action", "a person is riding a bike", ["Is the person riding a bike?"]),
    ],
)
def test_a_judge_is_asked_what_the_detector_would_look_for(name, prompt, questions):
    captioner = Likely(dict.fromkeys(questions, 0.8))
    result = judged(name, captioner, prompt, detector="v2t")
    assert captioner.asked == questions
    wordings = 2 if "figure" in questions[0] else 1  # of one question
    assert values(result) == [pytest.approx(0.8 ** (len(questions) / wordings))]
    assert "table@1" in result.notes[0]


def test_refusals_are_counted_and_no_zero():
    for word, code in (("REFUSED", "refused"), ("UNPARSABLE", "unparsable")):
        metric = load_metric("color")(detector="v2t")
        metric.judge = Judge(Likely({"Is the dog red?": 0.75, "Is the dog blue?": word}))
        result = result_of_prompts(metric, CLIP, "a red dog", "a blue dog")
        assert (result.coverage, result.counts[code]) == (0.5, 1) and result.value == pytest.approx(0.75)


def test_vqascore_is_the_likelihood_of_yes():
    captioner = Likely({'Does this figure show "a red dog"? Please answer yes or no.': 0.3})
    result = judged("vqascore", captioner, "a red dog", wording="figure")
    assert values(result) == [pytest.approx(0.3)] and "figure" in result.fingerprint["wording"]
    votes = judged("vqascore", Table({"Answer yes or no:": "yes", "": "no"}), "a red dog", wording="figure")
    assert values(votes) == [pytest.approx(1 / 3)] and "wordings" in votes.fingerprint["answers"]


def test_vqascore_in_compat_is_the_likelihood_of_yes_in_capitals_alone():
    class Both(Likely):
        has_likelihoods = True

        def likelihoods(self, clip, question, answers, *, whole=False):
            self.asked.append(question)
            return [math.log({"yes": 0.2, "Yes": 0.6}[answer]) for answer in answers]

    result = judged("vqascore", Both({}), "a red dog", mode="compat")
    assert values(result) == [pytest.approx(0.6)] and "Please answer yes or no" in result.fingerprint["wording"]
    assert values(judged("vqascore", Both({}), "a red dog", wording="figure")) == [pytest.approx(0.8)]
    with pytest.raises(UsageError, match="has none"):
        judged("vqascore", Table({"": "yes"}), "a red dog", mode="compat")
    with pytest.raises(UsageError, match="wording=figure or auto"):
        load_metric("vqascore")(mode="compat", wording="world")


def test_vqascore_in_the_worlds_own_words_is_a_geometric_mean():
    chances = {DESCRIBE: 0.9, "Is the dog red?": 0.4, "Where does this happen?": 0.5}
    result = judged("vqascore", Likely(chances), "a red dog in the forest")
    assert values(result) == [pytest.approx((0.9 * 0.4 * 0.5) ** (1 / 3))]
    assert result.items[0]["questions"] == pytest.approx(chances)
    with pytest.raises(NothingMatchedError, match="applies to none"):
        judged("vqascore", Likely({}), "?!")


def test_question_score_gives_tifa_and_dsg():
    """Case A15 of the sheet through the metric: accuracy .8, DSG .4."""
    chances = {"1?": 0.9, "2?": 0.2, "3?": 0.9, "4?": 0.9, "5?": 0.9}
    parents = {"3?": ["2?"], "4?": ["1?"], "5?": ["3?"]}
    rows = [{"id": q, "question": q, "parents": parents.get(q, [])} for q in sorted(chances, reverse=True)]
    result = judged("question_score", Likely(chances), "x", row={"questions": rows})
    assert result.headline == "dsg" and result.value == pytest.approx(0.4, abs=1e-6)
    compat = judged("question_score", Likely(chances), "x", row={"questions": rows}, mode="compat")
    assert compat.value == pytest.approx(0.6, abs=1e-6) and compat.name == "question_score[mode=compat]"
    assert result.figures["accuracy"].value == pytest.approx(0.8, abs=1e-6)


def test_question_score_counts_what_was_not_answered():
    chances: dict[str, float | str] = {"1?": 0.9, "2?": "REFUSED", "3?": "UNPARSABLE", "4?": 0.1}
    rows = [{"id": q, "question": q, "answer": "no" if q == "4?" else "yes"} for q in chances]
    result = judged("question_score", Likely(chances), "x", row={"questions": rows})
    assert result.value == 1.0 and result.figures["answered"].value == 0.5
    assert (result.counts["refused"], result.counts["unparsable"], result.counts["questions"]) == (1, 1, 4)
    none = judged("question_score", Likely({"1?": "REFUSED"}), "x", row={"questions": rows[:1]})
    assert none.failures[0]["code"] == "REFUSED" and none.coverage == 0 and not none.figures


def test_question_score_counts_votes_that_were_lost():
    captioner = Table({"Answer yes or no:": "Hm.", "": "yes"})
    result = judged("question_score", captioner, "x", row={"questions": [{"question": "Is there a dog?"}]})
    assert result.value == 1.0 and (result.counts["lost_votes"], result.counts["questions"]) == (1, 1)
    assert result.items[0]["questions"][0]["lost"] == 1


def test_question_score_compares_other_answers_word_by_word():
    rows = [
        {"question": "How many dogs are there?", "answer": "two"},
        {"question": "What color is it?", "answer": "red"},
    ]
    captioner = Table({"How many": "Two.", "What color": "blue"})
    assert judged("question_score", captioner, "x", row={"questions": rows}).value == 0.5


def test_question_score_picks_among_choices():
    rows = [{"question": "Where is it?", "answer": "in a park", "choices": ["in a forest", "in a park"]}]
    for chance, right in ((0.4, 0), (0.6, 1)):
        captioner = Likely({"Where is it?": chance})
        assert judged("question_score", captioner, "x", row={"questions": rows}).value == right
    assert judged("question_score", Table({"": "(B) in a park"}), "x", row={"questions": rows}).value == 1
    assert (
        judged("question_score", Table({"": "Hm."}), "x", row={"questions": rows}).failures[0]["code"] == "UNPARSABLE"
    )


def test_question_score_makes_its_questions_of_the_prompt():
    chances: dict[str, float | str] = {DESCRIBE: 0.01, "Is the dog red?": 0.9, "Where does this happen?": 0.9}
    captioner = Likely(chances | {"Is there a dog?": 0.1, "Does this happen in the forest?": 0.2})
    result = judged("question_score", captioner, "a red dog in the forest")
    assert result.value == pytest.approx(1 / 3), "no dog, so it is not red either"
    assert result.figures["accuracy"].value == pytest.approx(2 / 3)
    assert result.items[0]["questions"][-1]["answer"] == "in the forest"
    plain = judged("question_score", captioner, "a red dog in the forest", wording="yes_no")
    assert plain.figures["accuracy"].value == pytest.approx(1 / 3)
    assert plain.fingerprint["wording"] == "yes_no" and result.fingerprint["wording"] == "world"
    with pytest.raises(NothingMatchedError, match="applies to none"):
        judged("question_score", captioner, "?!")
