"""The judge, with captioners that say what they are told."""

from __future__ import annotations

import math

import numpy as np
import pytest

from eval.sample import Clip, Sample
from v2t.base.errors import ItemError, UsageError
from v2t.captioners import CaptionOutput
from v2t.judge.judge import NO, WORDINGS, YES, Judge
from v2t.judge.replies import yes_or_no
from v2t.video.frames import Frames
from v2t.video.sample import SampleSpec


def sample(prompt: str | None = None, **row) -> Sample:
    pixels = np.zeros((6, 32, 32, 3), np.uint8)
    return Sample(id="s", clip=Clip.from_frames(Frames.from_pixels(pixels, fps=8)), prompt=prompt, row=row)


class Says:
    """A captioner that replies from a list, or as a table of likelihoods says."""

    name, revision, spec, frame_size, concurrency = "says", "1", SampleSpec(num_frames=4), None, 1

    def __init__(self, *replies: str | ItemError) -> None:
        self.replies, self.heard = list(replies), []

    def load(self) -> None:
        """Nothing to load."""

    def answer(self, conversations, decoding):
        (message,) = conversations[0]
        self.heard.append((message.text, len(message.videos[0])))
        reply = self.replies[(len(self.heard) - 1) % len(self.replies)]
        if isinstance(reply, ItemError):
            raise reply
        return [CaptionOutput(text=reply, tokens=1)]


class Weighs(Says):
    """A captioner that tells likelihoods."""

    def __init__(self, **chances: float) -> None:
        super().__init__("?")
        self.chances, self.watched = chances, 0

    def watch(self, frames):
        self.watched += 1
        return frames

    def likelihoods(self, watched, question, answers, *, whole=False):
        return [math.log(self.chances[answer]) for answer in answers]


def test_probability_of_yes_from_likelihoods():
    captioner = Weighs(yes=0.3, Yes=0.1, no=0.1, No=0.0625)
    judge, one = Judge(captioner), sample("a dog")
    assert (YES, NO) == (("yes", "Yes"), ("no", "No"))
    assert judge.probability(one, "Is there a dog?") == pytest.approx(0.4 / 0.5625)
    judge.probability(one, "Is there a cat?")
    assert captioner.watched == 1, "a clip is encoded once for all questions"
    assert "likelihood" in judge.fingerprint()["answers"] and judge.fingerprint()["judge"] == "says@1"


def test_probability_of_yes_from_votes_over_wordings():
    captioner = Says("Yes.", "no", "**Yes**, there is one")
    judge = Judge(captioner)
    assert judge.probability(sample(), "Is there a dog?") == pytest.approx(2 / 3)
    assert [text for text, _ in captioner.heard] == [wording.format("Is there a dog?") for wording in WORDINGS]
    assert {num for _, num in captioner.heard} == {4}, "as many frames as the captioner asks for"
    assert Judge(Says("Yes", "a dog runs", "It is hard to say")).probability(sample(), "?") == 1.0
    with pytest.raises(UsageError, match="does not tell"):
        judge.log_likelihoods(sample(), "?", ("yes",))


def test_a_choice_is_told_by_its_share_or_picked_by_a_reply():
    judge = Judge(Weighs(left=0.3, right=0.1))
    assert judge.choice(sample(), "Which way?", ["left", "right"]) == pytest.approx([0.75, 0.25])
    assert Judge(Says("to the right")).choice(sample(), "Which way?", ["left", "right"]) == [0.0, 1.0]
    for reply, code in (("hm", "UNPARSABLE"), ("I'm sorry, I cannot see the video.", "REFUSED")):
        with pytest.raises(ItemError) as problem:
            Judge(Says(reply)).choice(sample(), "Which way?", ["left", "right"])
        assert problem.value.code == code


@pytest.mark.parametrize(
    ("replies", "code"),
    [
        (["a dog runs"], "UNPARSABLE"),
        (["I'm sorry, I cannot help with that."], "REFUSED"),
        ([""], "UNPARSABLE"),
        ([ItemError("refused", code="PROMPT_REFUSED")], "PROMPT_REFUSED"),
    ],
)
def test_no_answer_is_never_a_no(replies, code):
    with pytest.raises(ItemError) as problem:
        Judge(Says(*replies)).probability(sample(), "Is there a dog?")
    assert problem.value.code == code


def test_replies_are_read_at_their_beginning():
    replies = {"Yes": True, "no.": False, "  **No**": False, "yesterday": None, "nothing": None, "It is: yes": None}
    assert {reply: yes_or_no(reply) for reply in replies} == replies


@pytest.mark.parametrize("sampler", ["uniform", "motion", "keyframe", "segment", "fps"])
def test_a_judge_sees_what_its_captioner_asks_for(sampler):
    captioner = Says("yes")
    captioner.spec = SampleSpec(sampler=sampler, num_frames=3, fps=4.0)
    assert 1 <= len(Judge(captioner).view(sample())) <= 6
