"""For tests of scoring: tiny clips, and metrics that are plain or fail in every way. Spawned processes import it."""

from __future__ import annotations

import os
import signal
import time

import numpy as np

from cineloop.errors import ItemError, MissingDependencyError
from cineloop.video.encode import encode
from v2t_eval.core.metric import BaseMetric, Figure, Summary, items_of


def write_clip(path, level, num=4):
    """A clip of 32 x 32 in which a bar changes its colour."""
    pixels = np.full((num, 32, 32, 3), level, np.uint8)
    pixels[:, 8:16, :, 0] = np.arange(num)[:, None, None] * 9 % 256
    encode(pixels, path, fps=8)


class Bright(BaseMetric):
    """Mean level of the pixels, with a vector for every frame."""

    name, needs, version = "bright", ("frames",), 1

    def measure(self, sample):
        rows = sample.once("rows", lambda: sample.frames.pixels.mean((1, 2, 3)) / 255)
        return {"value": float(rows.mean()), "rows": rows.astype(np.float32), "frames": len(rows)}

    def summarise(self, rows, references):
        return Summary(headline=self.name, figures={self.name: self.mean(rows)}, items=items_of(rows))


class Words(BaseMetric):
    """Share of short words."""

    name, level, needs = "words", "text", ("prompt",)

    def measure(self, sample):
        words = sample.prompt.split()
        return {"value": sum(len(word) < 4 for word in words) / len(words)}

    def summarise(self, rows, references):
        return Summary(headline=self.name, figures={self.name: self.mean(rows)}, items=items_of(rows))


class Gap(Bright):
    """How far two sets are apart."""

    name, level, needs = "gap", "set", ("frames", "reference_clips")

    def summarise(self, rows, references):
        one, other = (np.mean([row.evidence["value"] for row in each]) for each in (rows, references))
        value = float(abs(one - other))
        return Summary(headline="gap", figures={"gap": Figure(value=value, low=value, high=value, n=len(rows))})


class Faulty(Bright):
    """Fails in every way, by the name of the clip."""

    name = "faulty"

    def measure(self, sample):
        if "nan" in sample.id:
            return {"value": float("nan")}
        if "breaks" in sample.id:
            return {"value": 1 / 0}
        if "short" in sample.id:
            raise ItemError("two frames are needed", code="TOO_SHORT")
        if "unasked" in sample.id:
            raise ItemError("nothing of the kind is asked for", code="NOTHING_ASKED")
        if "killed" in sample.id:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().measure(sample)


class AllFail(Bright):
    """Fails on everything."""

    name = "all_fail"

    def measure(self, sample):
        raise ItemError("never", code="NEVER")


class Absent(Bright):
    """Cannot be loaded."""

    name = "absent"

    def prepare(self):
        raise MissingDependencyError("the weights are not here", hint="get them")


class Unsummed(Bright):
    """Has no figures."""

    name = "unsummed"

    def summarise(self, rows, references):
        raise RuntimeError("no sum")


class Slow(Bright):
    """Takes $SLOW_S seconds for a clip."""

    name = "slow"

    def measure(self, sample):
        time.sleep(float(os.environ.get("SLOW_S", "0")))
        return super().measure(sample)


class Interrupts(Bright):
    """Presses Ctrl-C."""

    name = "interrupts"

    def measure(self, sample):
        if "1" in sample.id:
            os.kill(os.getpid(), signal.SIGINT)
        return super().measure(sample)
