"""A captioner that answers about videos by a function of their mean spread over pixels, one number a video."""

from __future__ import annotations

from collections.abc import Callable

from cineloop.video.sample import SampleSpec
from v2t.backends import Output, VideoLM
from v2t.backends.abilities import Abilities


class PairReader(VideoLM):
    """`says` makes the reply of one number a video; `heard` keeps the messages."""

    name, revision, spec, frame_size, concurrency = "pairs", "1", SampleSpec(num_frames=4), None, 1

    def __init__(self, says: Callable[..., str], abilities: Abilities | None = None) -> None:
        self.says, self.heard = says, []
        self.abilities = abilities or Abilities()

    def load(self) -> None:
        pass

    def answer(self, conversations, decoding):
        outputs = []
        for (message,) in conversations:
            self.heard.append(message)
            text = self.says(*(float(video.pixels.mean() + video.pixels.std()) for video in message.videos))
            outputs.append(Output(text=text, tokens=1))
        return outputs
