"""A captioner with one text for the first request about a clip and one for the second; clips of two grey frames."""

from __future__ import annotations

import decoder_here
from cineloop.video.frames import Frames
from cineloop.video.sample import SampleSpec
from small_clips import grey
from v2t.backends import Output, VideoLM
from v2t.backends.abilities import Abilities


class TwoAnswers(VideoLM):
    """One text (or error) for the first request about a clip, one for the second."""

    name, revision, spec, frame_size, concurrency = "fake", "r1", SampleSpec(num_frames=2), (8, 8), 1
    abilities = Abilities()

    def __init__(self, first: str, second: str | Exception) -> None:
        self.texts, self.asked = (first, second), []

    def load(self) -> None:
        pass

    def answer(self, conversations, decoding):
        self.asked += conversations
        texts = [self.texts[len(conversation) > 1] for conversation in conversations]
        for text in texts:
            if isinstance(text, Exception):
                raise text
        return [Output(text=text, tokens=len(text.split())) for text in texts]


class BlackPool(decoder_here.Pool):
    """Two black frames, four seconds, of whatever it is given."""

    def decode(self, path, spec, size) -> Frames:
        return grey(num=2, fps=0.5)
