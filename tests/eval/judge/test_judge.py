"""The judge, with captioners that say what they are told."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cineloop.errors import ItemError, UsageError
from cineloop.video.sample import SampleSpec
from scripted_captioner import Scripted
from small_clips import grey, sample
from v2t.backends import Output
from v2t_eval.core.sample import Sample
from v2t_eval.judge import asker
from v2t_eval.judge.asker import NO, YES, ballots
from v2t_eval.judge.calibration import Calibration, Platt
from v2t_eval.judge.judge import Judge
from v2t_eval.judge.question import Question, from_row
from v2t_eval.judge.replies import read_choice, read_number, yes_or_no
from v2t_eval.metrics.question_score import evaluate

WHICH = Question(id="w", question="Which way?", answer="left", choices=("left", "right"))
DOG = Question(id="d", question="Is there a dog?")


def black(prompt: str | None = None, **row) -> Sample:
    return sample(grey(num=6, size=(32, 32), fps=8), prompt=prompt, row=row)


class Says(Scripted):
    """A captioner that replies from a list, or as a table of likelihoods says."""

    name = "says"

    def __init__(self, *replies: str | ItemError) -> None:
        self.replies, self.heard = list(replies), []

    def answer(self, conversations, decoding):
        found = []
        for (message,) in conversations:
            self.heard.append((message.text, len(message.videos[0])))
            reply = self.replies[(len(self.heard) - 1) % len(self.replies)]
            if isinstance(reply, ItemError):
                raise reply
            found.append(Output(text=reply, tokens=1))
        return found


class Weighs(Says):
    """A captioner that tells likelihoods: the same for each question, or by question and answer."""

    has_likelihoods = True

    def __init__(self, **chances: float | ItemError) -> None:
        super().__init__("?")
        self.chances, self.watched, self.asked = chances, 0, []

    def encode_clip(self, frames):
        self.watched += 1
        return frames

    def likelihoods(self, clip, question, answers, *, whole=False):
        self.asked.append(question)
        found = [self.chances.get(f"{question} {answer}", self.chances.get(answer)) for answer in answers]
        if isinstance(found[0], ItemError):
            raise found[0]
        return [math.log(chance) if chance else -math.inf for chance in found]


class Batches(Weighs):
    """As `Weighs`, for many questions at once."""

    rounds = 0

    def batch_likelihoods(self, clip, asks):
        self.rounds += 1
        return [self.likelihoods(clip, question, answers, whole=whole) for question, answers, whole in asks]


def test_probability_of_yes_from_likelihoods():
    captioner = Weighs(yes=0.3, Yes=0.1, no=0.1, No=0.0625)
    judge, one = Judge(captioner), black("a dog")
    assert (YES, NO) == (("yes", "Yes"), ("no", "No"))
    (answer,) = judge.answer(one, [DOG])
    assert answer.chance == answer.raw == pytest.approx(0.4 / 0.5625) and answer.text == "yes" and answer.right
    (no,) = judge.answer(one, [Question(id="n", question="Is there a cat?", answer="No.")])
    assert no.chance == pytest.approx(1 - 0.4 / 0.5625) and no.right is False
    assert captioner.watched == 1, "a clip is encoded once for all questions"
    assert "likelihood" in judge.fingerprint()["answers"] and judge.fingerprint()["judge"] == "says@1"


def test_probability_of_yes_from_votes_over_wordings():
    captioner = Says("Yes.", "no", "**Yes**, there is one")
    (answer,) = Judge(captioner).answer(black(), [DOG])
    assert answer.chance == pytest.approx(2 / 3) and (answer.asked, answer.lost) == (3, 0)
    assert answer.spread == pytest.approx(np.std([1, 0, 1]))
    assert [text for text, _ in captioner.heard] == [ballot.text for ballot in ballots(DOG, 3)]
    assert {num for _, num in captioner.heard} == {4}, "as many frames as the captioner asks for"
    (lost,) = Judge(Says("Yes", "a dog runs", "It is hard to say")).answer(black(), [DOG])
    assert (lost.chance, lost.asked, lost.lost, lost.status) == (1.0, 3, 2, "answered")
    with pytest.raises(UsageError, match="does not return the likelihood"):
        Judge(captioner).log_likelihoods(black(), "?", ("yes",))


def test_the_number_of_votes_is_part_of_the_fingerprint(monkeypatch):
    captioner = Says("yes")
    before = Judge(captioner).fingerprint()
    monkeypatch.setattr(asker, "VOTES", 5)
    Judge(captioner).answer(black(), [Question(id="q", question="A?", wordings=("B?",))])
    assert len(captioner.heard) == len(set(captioner.heard)) == 5
    assert Judge(captioner).fingerprint() != before


def test_wordings_are_meant_and_their_spread_is_kept():
    question = Question(id="w", question="Which way?", wordings=("Where to?",), answer="left", choices=WHICH.choices)
    captioner = Weighs(
        **{"Which way? left": 0.3, "Which way? right": 0.1, "Where to? left": 0.1, "Where to? right": 0.3}
    )
    (answer,) = Judge(captioner).answer(black(), [question])
    assert answer.raw == pytest.approx(0.5) and answer.spread == pytest.approx(0.25) and answer.asked == 2
    assert answer.chances == pytest.approx({"left": 0.5, "right": 0.5})


def test_a_choice_is_told_by_its_share_or_picked_by_a_reply():
    (answer,) = Judge(Weighs(left=0.3, right=0.1)).answer(black(), [WHICH])
    assert answer.chances == pytest.approx({"left": 0.75, "right": 0.25}) and answer.text == "left"
    (right,) = Judge(Says("to the right")).answer(black(), [WHICH])
    assert (right.text, right.chance, right.right) == ("right", 0.0, False)
    for reply, code, status in (
        ("hm", "UNPARSABLE", "unparsable"),
        ("I'm sorry, I cannot see it.", "REFUSED", "refused"),
    ):
        (none,) = Judge(Says(reply)).answer(black(), [WHICH])
        assert (none.code, none.status, none.lost, none.asked, none.right) == (code, status, 2, 2, None)


def test_a_habit_of_naming_the_first_choice_is_averaged_away(monkeypatch):
    class First(Says):
        def answer(self, conversations, decoding):
            return [Output(text="(A)", tokens=1) for _ in conversations]

    four = Question(id="q", question="What?", answer="a dog", choices=("a dog", "a cat", "a car", "a bus"))
    orders = [ballot.choices for ballot in ballots(four, 12)]
    assert len(orders) == len(set(orders)) == 12 and all(order[::-1] in orders for order in orders)
    assert len(set(ballots(Question(id="w", question="A?", wordings=("B?",), answer="a", choices=("a", "b")), 9))) == 4
    monkeypatch.setattr(asker, "VOTES", 12)
    (answer,) = Judge(First()).answer(black(), [four])
    assert answer.raw < 0.6 and answer.chances["a bus"] > 0, "each stands first now and then"
    monkeypatch.setattr(asker, "VOTES", 2)
    (even,) = Judge(First()).answer(black(), [WHICH])
    assert even.chances == {"left": 0.5, "right": 0.5} and even.spread == 0.5


@pytest.mark.parametrize(
    ("replies", "code", "status"),
    [
        (["a dog runs"], "UNPARSABLE", "unparsable"),
        (["I'm sorry, I cannot help with that."], "REFUSED", "refused"),
        (["hm", "I'm sorry, I cannot help with that."], "REFUSED", "refused"),
        ([""], "UNPARSABLE", "unparsable"),
        ([ItemError("refused", code="PROMPT_REFUSED")], "PROMPT_REFUSED", "refused"),
        ([ItemError("ill", code="SERVER_ERROR")], "SERVER_ERROR", "failed"),
    ],
)
def test_no_answer_is_never_a_no(replies, code, status):
    (answer,) = Judge(Says(*replies)).answer(black(), [DOG])
    assert (answer.code, answer.status, answer.chance, answer.right) == (code, status, None, None)
    assert answer.lost == answer.asked == 3


def test_numbers_and_open_answers_are_read_from_replies():
    many = Question(id="n", question="How many dogs are there?", answer="two")
    (answer,) = Judge(Says("There are 2 dogs.", "Two", "three")).answer(black(), [many])
    assert (answer.text, answer.right) == ("two", True) and answer.chance == pytest.approx(2 / 3)
    (none,) = Judge(Says("some")).answer(black(), [many])
    assert none.status == "unparsable"
    what = Question(id="o", question="What is it?", answer="a red car")
    (answer,) = Judge(Says("The red car.")).answer(black(), [what])
    assert (answer.text, answer.chance, answer.right) == ("The red car.", None, True)
    cases = {"2": 2, "There are 12.": 12, "two or three": None, "1.5 s": None, "none": 0, "": None, "one dog": 1}
    assert {reply: read_number(reply) for reply in cases} == cases


def test_replies_are_read_at_their_beginning():
    replies = {"Yes": True, "no.": False, "  **No**": False, "yesterday": None, "nothing": None, "It is: yes": None}
    assert {reply: yes_or_no(reply) for reply in replies} == replies


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        ("<think>Is there a dog? No... yes, there.</think>Yes", True),
        ("The dog is red. Yes, it is.\n</think>\n\nNo.", False),
        ("<think>yes, I see a dog, and", None),
        ("The answer is yes", True),
        ("**Answer:** No", False),
        ("\\boxed{Yes}", True),
        ("At first I see no dog.\n\nThe answer is no. Wait, it comes in late. The final answer is: yes.", True),
        ("There is something brown on the left.\n\nYes", True),
        ("Yes/No", None),
        ("yes or no", None),
        ("It could be yes and it could be no.", None),
        ("Yes, there is no doubt.", True),
    ],
)
def test_a_judge_that_thinks_is_heard_at_its_last_verdict(reply, verdict):
    assert yes_or_no(reply) is verdict
    (answer,) = Judge(Says(reply)).answer(black(), [DOG])
    assert answer.text == {True: "yes", False: "no", None: None}[verdict]
    assert (answer.status == "unparsable") == (verdict is None)


def test_thoughts_are_read_in_no_reply():
    assert read_choice("<think>Maybe (B) left? or (A) right</think>(A)", ("right", "left")) == 0
    assert read_choice("<think>(B) left, I think, since", ("right", "left")) is None
    assert read_number("<think>1, 2, 3 of them</think>There are 3.") == 3
    what = Question(id="o", question="What is it?", answer="a red car")
    (answer,) = Judge(Says("<think>I cannot tell... a car</think>The red car.")).answer(black(), [what])
    assert answer.text == "The red car." and answer.right
    (none,) = Judge(Says("<think>a red car")).answer(black(), [what])
    assert none.status == "unparsable"


def test_the_length_of_a_reply_is_the_models():
    class Reasons(Says):
        reply_tokens = 900

        def answer(self, conversations, decoding):
            self.most = decoding.max_new_tokens
            return super().answer(conversations, decoding)

    captioner = Reasons("yes")
    Judge(captioner).answer(black(), [DOG])
    assert captioner.most == 900 and "900 tokens" in Judge(captioner).fingerprint()["answers"]


def test_a_refused_question_costs_one_request_whatever_goes_with_it(monkeypatch):
    class Serves(Says):
        concurrency = 16

        def answer(self, conversations, decoding):
            assert len(conversations) == 1, "a server is sent one request at a time, from several threads"
            (message,) = conversations[0]
            self.heard.append(message.text)
            if "bad" in message.text:
                raise ItemError("refused", code="REFUSED")
            return [Output(text="yes", tokens=1)]

    captioner = Serves()
    asked = [Question(id=str(n), question=f"Is number {n} {'bad' if n == 5 else 'good'}?") for n in range(16)]
    monkeypatch.setattr(asker, "VOTES", 1)
    found = Judge(captioner).answer(black(), asked)
    assert [answer.status for answer in found].count("answered") == 15 and found[5].status == "refused"
    assert len(captioner.heard) == 16, "each request is sent once"


def test_all_at_once_is_as_one_by_one_and_one_error_costs_one_answer():
    chances = {
        "yes": 0.6,
        "Yes": 0,
        "no": 0.2,
        "No": 0,
        "left": 0.3,
        "right": 0.2,
        "Bad? yes": ItemError("x", code="REFUSED"),
    }
    questions = [DOG, WHICH, Question(id="b", question="Bad?")]
    batches = Batches(**chances)
    together = Judge(batches).answer(black(), questions)
    assert batches.rounds == 1
    alone = [Judge(Weighs(**chances)).answer(black(), [question])[0] for question in questions]
    assert together == alone and [a.status for a in together] == ["answered", "answered", "refused"]


def test_the_same_question_with_another_wanted_answer_is_asked_once():
    captioner = Weighs(left=0.3, right=0.1)
    judge, one = Judge(captioner), black()
    other = Question(id="o", question="Which way?", answer="right", choices=WHICH.choices)
    assert [a.raw for a in judge.answer(one, [WHICH, other])] == pytest.approx([0.75, 0.25])
    judge.answer(one, [WHICH])
    assert len(captioner.asked) == 1


def test_calibration_is_applied_and_raw_is_kept():
    calibration = Calibration(
        judge="says@1", maps={"all": Platt(slope=1.0, offset=-2.0), "yes_no all": Platt(offset=1.0)}
    )
    captioner = Weighs(left=0.75, right=0.25, yes=0.5, Yes=0, no=0.5, No=0)
    judge = Judge(captioner, calibration=calibration)
    no = Question(id="n", question="Is there a dog?", answer="no")
    which, yes, not_so = judge.answer(black(), [WHICH, DOG, no])
    assert which.raw == pytest.approx(0.75) and which.chance == pytest.approx(1 / (1 + math.exp(2 - math.log(3))))
    assert which.text == "left" and which.right is False
    assert yes.chance == pytest.approx(1 / (1 + math.exp(-1))) and not_so.chance == pytest.approx(1 - yes.chance)
    assert judge.fingerprint()["calibration"] != Judge(captioner).fingerprint()["calibration"] == "none"
    with pytest.raises(UsageError, match="calibration was fitted for"):
        Judge(captioner, calibration=Calibration(judge="says@2", maps={}))


def test_dsg_counts_parents_first():
    rows = [{"id": "2", "question": "Two?", "parents": ["1"]}, {"id": "1", "question": "One?"},
            {"id": "4", "question": "Four?", "parents": ["3"]}, {"id": "3", "question": "Three?"},
            {"id": "5", "question": "Five?", "parents": ["2"]}]  # fmt: skip
    chances = {"yes": 0.9, "Yes": 0, "no": 0.1, "No": 0, "One? yes": 0.01, "Three? yes": ItemError("x", code="REFUSED")}
    captioner = Weighs(**chances)
    whole = evaluate(Judge(captioner), black(), from_row(rows, "s"))
    assert whole.right == {"1": False, "2": True, "4": True, "5": True}
    assert whole.counts == {"1": False, "2": False, "4": True, "5": False}, "an unanswered parent takes nothing"
    assert (whole.accuracy, whole.dsg) == (0.75, 0.25) and len(whole.answers) == 5


@pytest.mark.parametrize("sampler", ["uniform", "motion", "keyframe", "segment", "fps"])
def test_a_judge_sees_what_its_captioner_asks_for(sampler):
    captioner = Says("yes")
    captioner.spec = SampleSpec(sampler=sampler, num_frames=3, fps=4.0)
    assert 1 <= len(Judge(captioner).view(black())) <= 6
