"""A captioner for runs on a cluster, named by this file's path: says the mean colour, dies of white clips, hangs on
magenta ones.

Options: `marks`, a folder in which each worker that dies leaves a file; `how`, "exit" or "raise" (for workers in
threads); `at_most`, how many die; `slow_s`, seconds of a batch; `hang_s`, of a batch with a magenta clip. While the
file exists that $HOLD_CAPTIONS names, the third batch is not begun.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

from cineloop.video.sample import SampleSpec
from v2t.backends import Output, VideoLM
from v2t.backends.abilities import Abilities


class Backend(VideoLM):
    name, spec, frame_size, concurrency = "colours", SampleSpec(num_frames=2), (16, 16), 1
    device, abilities = "cpu", Abilities()

    def __init__(
        self, model, device="auto", dtype="auto", marks="", how="exit", at_most=99, slow_s=0.0, hang_s=0.0
    ) -> None:
        self.marks, self.how, self.at_most, self.slow_s, self.hang_s = marks, how, at_most, slow_s, hang_s
        self.revision, self.num_batches = model, 0

    def answer(self, conversations, decoding):
        time.sleep(self.slow_s)
        self.num_batches += 1
        while self.num_batches == 3 and os.path.exists(os.environ.get("HOLD_CAPTIONS", "")):
            time.sleep(0.01)
        texts = []
        for conversation in conversations:
            if not conversation[0].videos:
                texts.append(f"summary of {len(conversation[0].text)}")
                continue
            means = [round(float(mean), 3) for mean in conversation[0].videos[0].pixels.mean(axis=(0, 1, 2))]
            if min(means) > 200 and len(list(Path(self.marks).iterdir())) < self.at_most:
                os.close(tempfile.mkstemp(dir=self.marks)[0])
                if self.how == "exit":
                    os._exit(9)
                from stand_in_engine import Death

                raise Death("white")
            if means[1] < 50 and min(means[0], means[2]) > 200:
                time.sleep(self.hang_s)
            texts.append(f"It is {means}.")
        return [Output(text=text, tokens=3) for text in texts]
