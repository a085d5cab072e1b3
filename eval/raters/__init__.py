"""Raters: models that people's ratings trained to give a clip marks. One file a family, a class `Rater` in each.

    videoreward:FOLDER       VideoReward of VideoAlign (arXiv:2501.13918): Qwen2-VL with a head on three tokens
    videoscore2:ID_OR_FOLDER VideoScore2 (arXiv:2509.22799): Qwen2.5-VL that writes reasons and three marks

In: frames and the prompt. Out: a `Rating`. Weights are safetensors, code that comes with them is never run:
VisionReward (arXiv:2412.21059) is a CogVLM2 with its own code, so it cannot be had here. Both families are tested on
random weights of the true classes against the published arithmetic; on the published weights they were never run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from cineloop.plugin import load
from cineloop.video.frames import Frames
from v2t_eval.core import models


@dataclass(frozen=True, kw_only=True)
class Rating:
    """Marks by dimension, `overall` of them, and the model's reasons where it wrote some."""

    marks: dict[str, float]
    overall: float
    reasons: str = ""


class RaterLike(Protocol):
    """What a file of this folder defines as `class Rater`, made of what stands after the colon, and the mode.

    Attributes:
        name: as it was opened. dimensions: the marks' names.
    """

    name: str
    dimensions: tuple[str, ...]

    def fingerprint(self) -> dict[str, str]:
        """What decides the marks: model, weights, preprocessing, formula."""

    def rate(self, frames: Frames, prompt: str) -> Rating:
        """The marks of a clip.

        Raises:
            ItemError: TOO_SHORT; UNREAD, the model gave no mark; PROMPT_REFUSED, the prompt holds a control token.
        """


def open_rater(name: str, mode: str) -> RaterLike:
    """The rater called `name`, loaded at its first use and then cached.

    Raises:
        UsageError: no such family. MissingDependencyError: its weights are not available, or not in its form.
    """
    family, _, where = name.partition(":")
    made = load("v2t_eval.raters", family, "Rater").Rater
    rater: RaterLike = models.open_model(("rater", name, mode), lambda: made(where, mode))
    return rater
