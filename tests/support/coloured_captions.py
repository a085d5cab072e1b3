"""For programs that tests start and kill: captions read off the pixels, decoding here, death at a counted line."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import Any

from cineloop.video.sample import SampleSpec
from v2t.backends import Output, VideoLM
from v2t.backends.abilities import Abilities

COLOURS = ("red", "green", "blue")
ENV = os.environ | {"PYTHONPATH": os.pathsep.join([os.path.dirname(__file__), os.environ.get("PYTHONPATH", "")])}


class ColourCaptioner(VideoLM):
    """Names the colour of a clip, so that a caption on the wrong clip shows; a batch takes `batch_s` seconds."""

    name, revision, spec, frame_size, concurrency = "colour", "1", SampleSpec(num_frames=2), (16, 16), 1
    abilities = Abilities()

    def __init__(self, batch_s: float) -> None:
        self.batch_s = batch_s

    def load(self) -> None:
        pass

    def answer(self, conversations, decoding):
        batch = [conversation[0].videos[0] for conversation in conversations]
        time.sleep(self.batch_s)
        means = [frames.pixels.mean(axis=(0, 1, 2)) for frames in batch]
        return [Output(text=f"It is {COLOURS[int(mean.argmax())]}.", tokens=3) for mean in means]


def die_at_line(left: int, watched: Callable[[Any], bool]) -> None:
    """Kill this process at a counted line of the watched code objects: a clock seldom hits the microseconds between
    two writes, counting hits them all alike."""

    def on_line(frame, event, arg):
        nonlocal left
        left -= event == "line"
        if left < 0:
            os.kill(os.getpid(), 9)
        return on_line

    sys.settrace(lambda frame, event, arg: on_line if watched(frame.f_code) else None)
