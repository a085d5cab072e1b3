"""A judge offers only answers that its calibration was audited for, and still clips answer by the frozen rule."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import pytest

from cineloop.world.language.plain_questions import PLAIN
from metric_results import judged_by
from scripted_captioner import Scripted
from small_clips import appearing, grey, sample
from v2t_eval.audit.calibrating import JudgeResponse, fit_calibration
from v2t_eval.audit.clips import world_clips
from v2t_eval.judge import calibration
from v2t_eval.judge.answer import Votes
from v2t_eval.judge.calibration import Calibration, Platt, Reliability
from v2t_eval.judge.grammar.wording import LISTS, listed_values, plain_claim, plain_question
from v2t_eval.judge.judge import Judge
from v2t_eval.judge.question import Question
from v2t_eval.metrics.question_score import evaluate
from v2t_eval.testing.clips import reasons_of

GOOD, BAD, FEW = (
    Reliability(n=40, right=40, kappa=1.0, low=0.9),
    Reliability(n=40, right=3, kappa=0.05, low=-0.2),
    Reliability(n=3, right=3, kappa=1.0, low=0.7),
)


class Favours(Scripted):
    """A captioner that finds one answer likelier than all others, and remembers what it was offered."""

    name, has_likelihoods = "favours", True

    def __init__(self, *favourites: str) -> None:
        self.favourites, self.offered = favourites, []

    def likelihoods(self, clip, question, answers, *, whole=False):
        self.offered.append(tuple(answers))
        return [math.log(0.9 if answer in self.favourites else 0.01) for answer in answers]


def audited(**motions: Reliability) -> Calibration:
    """A calibration by which all motions but the named ones are good, as closed answers and as claims."""
    answers, claims = PLAIN["motion"].answers, PLAIN["motion"].claims
    table = {answers[m]: motions.get(m, GOOD) for m in answers}
    return Calibration(
        judge="favours@1",
        maps={},
        answers={"motion": table, "yes_no motion": {claims[m]: motions.get(m, GOOD) for m in claims}},
    )


def test_an_answer_below_kappa_is_neither_offered_nor_asked_about_and_never_a_no():
    captioner = Favours("it moves along")
    judge = Judge(captioner, calibration=audited(shake=BAD, fall=FEW))
    asked = [plain_question("motion", m, m) for m in ("travel", "shake", "fall")]
    travel, shake, fall = judge.answer(sample(appearing(), "clip"), asked)
    assert travel.right and travel.text == "it moves along"
    assert {len(each) for each in captioner.offered} == {len(PLAIN["motion"].answers) - 2}
    assert not {"it shakes", "it falls down"} & set(captioner.offered[0])
    for answer in (shake, fall):
        assert (answer.status, answer.code, answer.right, answer.chance) == ("unaudited", "UNAUDITED", None, None)
    assert "kappa 0.05" in shake.message and "3 clips" in fall.message
    found = evaluate(judge, sample(appearing(), "clip"), asked)
    assert found.accuracy == 1.0 and found.right == {"travel": True}, "not asked: neither right nor wrong"
    (claim,) = judge.answer(sample(appearing(), "clip"), [plain_claim("motion", "shake")])
    assert claim.status == "unaudited"
    (other,) = Judge(captioner).answer(sample(appearing(), "clip"), [plain_question("motion", "shake")])
    assert other.status == "answered", "a judge without an audit is asked everything"


def test_a_clip_that_the_frozen_rule_calls_still_says_so_by_itself():
    captioner = Favours("it changes color", "yes", "to the left")
    judge = Judge(captioner, calibration=audited(still=BAD))
    asked = [plain_question("motion", "still", "a"), plain_question("motion", "spin", "b"),
             plain_claim("motion", "still", "c"), plain_claim("motion", "spin", "d"),
             plain_question("direction", "left", "e"), plain_question("speed", "none", "f"),
             plain_question("color", "red", "g")]  # fmt: skip
    found = {a.question.id: a for a in judge.answer(sample(grey(num=8, size=(32, 32), fps=8), "clip"), asked)}
    assert {id: found[id].right for id in "abcdef"} == {"a": True, "b": False, "c": True, "d": False, "e": False,
                                                          "f": True}  # fmt: skip
    assert {id: found[id].text for id in "abcde"} == {
        "a": "it stands still", "b": "it stands still", "c": "yes", "d": "no", "e": "nowhere"}  # fmt: skip
    assert all("every frame is the first one" in found[id].rule for id in "abcdef") and not found["g"].rule
    assert len(captioner.offered) == len(plain_question("color", "red").texts), "only the color was asked"
    (moves,) = judge.answer(sample(appearing(), "clip"), [plain_question("motion", "still")])
    assert moves.status == "unaudited" and not moves.rule
    assert judge.fingerprint()["stillness"]


def test_the_file_keeps_the_list_and_the_key_follows_it(tmp_path):
    made = audited(shake=BAD)
    made.save(tmp_path)
    assert calibration.load(tmp_path / calibration.FILE_NAME) == made
    assert made.key != audited().key
    assert not made.answers["motion"]["it shakes"].passes and not FEW.passes and GOOD.passes
    assert not Reliability(n=40, right=38, kappa=0.95, low=0.59).passes, "the lower end decides"
    assert Reliability(n=40, right=38, kappa=0.95, low=0.6).passes


def heard_of(number: int, truth: str, said: str) -> JudgeResponse:
    answers = tuple(PLAIN["motion"].answers.values())
    sure = {answer: 0.9 if answer == said else 0.1 / (len(answers) - 1) for answer in answers}
    question = plain_question("motion", next(k for k, v in PLAIN["motion"].answers.items() if v == truth))
    return JudgeResponse(clip=number, question=question, heard=Votes(votes=(sure,)))


def test_the_fit_lists_every_answer_and_drops_those_it_confuses():
    says = {m: a for m, a in PLAIN["motion"].answers.items()} | {"fall": "it moves along", "still": "it hops"}
    found = [heard_of(100 * n + k, PLAIN["motion"].answers[m], says[m])
             for n, m in enumerate(PLAIN["motion"].answers) for k in range(30)]  # fmt: skip
    table = fit_calibration(found, judge="j@1", note="").answers["motion"]
    assert set(table) == set(PLAIN["motion"].answers.values())
    failed = {answer for answer, each in table.items() if not each.passes}
    assert {"it falls down", "it stands still"} <= failed and not failed & {"it grows", "it disappears", "it spins"}
    falls = table["it falls down"]
    assert (falls.n, falls.right) == (30, 0) and falls.low <= falls.kappa <= falls.high < 0.6


def test_an_answer_that_no_clip_shows_is_listed_as_never_tried():
    found = [heard_of(k, "it grows" if k % 2 else "it hops", "it grows" if k % 2 else "it hops") for k in range(60)]
    table = fit_calibration(found, judge="j@1", note="").answers["motion"]
    assert table["it spins"].n == 0 and not table["it spins"].passes and table["it grows"].passes


@pytest.mark.slow
@pytest.mark.parametrize("split", ["seen", "unseen"])
def test_every_answer_of_every_list_is_planted_as_a_truth(split):
    found = world_clips(split, 3, 160)
    told = Counter((f, v) for each in found for f, v in listed_values(each.scene().facts()).items())
    for factor, plain in LISTS.items():
        for value in plain.answers:
            assert told[factor, value] >= 4, (factor, value)
    assert len({each.content for each in found}) == len(found) == 160
    assert world_clips(split, 3, 40) == found[:40]


def scored(name: str, captioner, calibration_: Calibration | None, prompt: str, *, frozen: bool = False):
    shown = grey(num=8, size=(32, 32), fps=8) if frozen else appearing()
    return judged_by(captioner, name, sample(shown, prompt=prompt), calibration=calibration_)


@pytest.mark.parametrize("name", ["question_score", "vqascore"])
def test_metrics_leave_out_and_count_what_the_judge_may_not_be_asked(name):
    captioner = Favours("on the beach", "a dog", "blue")
    known = scored(name, captioner, audited(), "A blue dog spins on the beach.")
    assert not known.counts.get("unaudited") and known.value < 0.9, "the spin is not seen"
    part = scored(name, captioner, audited(spin=BAD), "A blue dog spins on the beach.")
    assert part.counts["unaudited"] == 1 and part.value > known.value and part.coverage == 1
    none = audited(spin=BAD)
    table = {kind: dict.fromkeys(told, BAD) for kind, told in none.answers.items()}
    for factor in ("place", "kind", "color"):
        table[factor] = dict.fromkeys(PLAIN[factor].answers.values(), BAD)
    lost = scored(
        name, captioner, Calibration(judge="favours@1", maps={}, answers=table), "A blue dog spins on the beach."
    )
    assert lost.coverage == 0 and lost.failures[0]["code"] == "UNAUDITED" and not lost.figures


def test_the_decision_and_what_was_said_are_never_shown_as_a_contradiction():
    lifts = Calibration(judge="favours@1", maps={"all": Platt(offset=6.0), "yes_no all": Platt(offset=-6.0)})
    judge = Judge(Favours("a plane", "yes"), calibration=lifts)
    bus, plane, claim = judge.answer(
        sample(appearing(), "clip"),
        [plain_question("kind", "bus"), plain_question("kind", "plane"), plain_claim("kind", "bus")],
    )
    assert bus.right is False and bus.text == "a plane" and bus.chance == pytest.approx(1 - plane.chance)
    assert bus.summary() == f"a plane (chance of 'a bus' {bus.chance:.2f})"
    told = f"likeliest 'a plane', yet 'a bus' is held true: its calibrated chance is {bus.chance:.2f}, 1e-06 decides"
    assert bus.summary(1e-6) == told, "only a threshold below one half can hold true what is not the likeliest"
    assert claim.text == "yes" and claim.right is False
    assert "'yes' is not held true: its calibrated chance is" in claim.summary()
    assert plane.summary() == f"a plane (chance of 'a plane' {plane.chance:.2f})"
    result = scored("question_score", Favours("a plane", "red"), lifts, "A red bus moves to the left in the city.")
    (row,) = [each for each in result.items[0]["questions"] if each["wanted"] == "a bus"]
    assert row["right"] is False and row["answer"] == "a plane"


def test_of_answers_that_exclude_each_other_one_is_held_true_at_most():
    for lift in (0.0, 2.0, 6.0):
        lifts = Calibration(judge="favours@1", maps={"all": Platt(slope=0.3, offset=lift)})
        judge = Judge(Favours("it stands still"), calibration=lifts)
        found = judge.answer(
            sample(appearing(), "clip"), [plain_question("motion", motion) for motion in PLAIN["motion"].answers]
        )
        assert [each.question.answer for each in found if each.right] == ["it stands still"]
    tie = Judge(Favours("it stands still", "it shakes")).answer(
        sample(appearing(), "clip"), [plain_question("motion", motion) for motion in ("still", "shake")]
    )
    assert sum(bool(each.right) for each in tie) == 0, "neither of two equals has one half"
    two = Question(id="t", question="Which way?", answer="left", choices=("left", "right"))
    halves = Judge(Favours("left", "right")).answer(sample(appearing(), "clip"), [two, replace(two, answer="right")])
    assert [each.right for each in halves] == [True, False], "the first, which is the answer in words"


def test_a_test_of_a_clip_does_not_fail_by_what_was_not_asked():
    row = {"question": "A?", "wanted": "yes", "parents": []}
    rows = [{**row, "id": "a", "right": None, "status": "unaudited"},
            {**row, "id": "b", "right": True, "status": "answered", "parents": ["a"]}]  # fmt: skip
    assert reasons_of(rows, "j") == []
    refused = [{**rows[0], "status": "refused", "message": "no", "answer": None, "chance": None}]
    assert reasons_of(refused, "j")


def test_a_claim_is_not_asked_where_its_answer_is_not_told_from_the_others_of_its_list():
    """Kappa over claims is high where few false ones are about the motion that looks alike."""
    table = audited()
    answers = table.answers["motion"] | {PLAIN["motion"].answers["shake"]: BAD}
    judge = Judge(Favours("yes"), calibration=replace(table, answers=table.answers | {"motion": answers}))
    spin, shake = judge.answer(sample(appearing(), "clip"), [plain_claim("motion", each) for each in ("spin", "shake")])
    assert spin.status == "answered" and spin.right
    assert shake.status == "unaudited" and "kappa 0.05" in shake.message
