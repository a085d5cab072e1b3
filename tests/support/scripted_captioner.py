"""Captioners without a model, which say what a test has written for them."""

from __future__ import annotations

import math

from cineloop.video.sample import SampleSpec
from v2t.backends import Output, VideoLM
from v2t.backends.abilities import Abilities


class Scripted(VideoLM):
    """What captioners of tests share: nothing to load, four frames of any size, one batch after another."""

    name, revision, spec, frame_size, concurrency = "scripted", "1", SampleSpec(num_frames=4), None, 1
    abilities = Abilities()

    def load(self) -> None:
        """Nothing to load."""

    def encode_clip(self, frames):
        return frames


class ByDecoding(Scripted):
    """Answers clip i of `small_clips.numbered` by the i-th of some texts, one for each way of decoding: (greedy, with a
    penalty, drawn). A text that is an exception is raised. `calls`: (size of the batch, its decoding)."""

    name, frame_size = "by-decoding", (8, 8)

    def __init__(self, *texts) -> None:
        self.texts, self.calls = texts, []

    def answer(self, conversations, decoding):
        assert len({conversation[0].videos[0].pixels.shape for conversation in conversations}) == 1
        self.calls.append((len(conversations), decoding))
        turn = 2 if decoding.temperature else int(decoding.repetition_penalty > 1)
        texts = [self.texts[int(conversation[0].videos[0].fps)][turn] for conversation in conversations]
        for text in texts:
            if isinstance(text, Exception):
                raise text
        return [Output(text=text, tokens=len(text)) for text in texts]


class FirstLikely(Scripted):
    """Finds the first of any answers nine times as likely as all others together; `asked` are the questions."""

    name, has_likelihoods = "first-likely", True

    def __init__(self, words: str | tuple[str, ...] | None = "world") -> None:
        self.abilities, self.asked = Abilities(vocabulary=words), []

    def likelihoods(self, clip, question, answers, *, whole=False):
        self.asked.append(question)
        return [math.log(0.9 if number == 0 else 0.1 / len(answers)) for number in range(len(answers))]
