"""A judge that is shown two clips of one prompt and asked which of them fits it better, in both orders.

In: a sample with a `reference_video`, a prompt, a captioner that takes two videos or one of both side by side. Out:
`PairVerdict`. Models prefer a place (Zheng et al. 2023, arXiv:2306.05685, section 3.3: the first one, mostly), so every
pair is asked twice with the places exchanged: where the two answers contradict each other it is a tie. How
often they do, and which place they then prefer, is reported (`v2t_eval.metrics.preference`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from cineloop.errors import UsageError
from cineloop.video.frames import Frames
from v2t.backends import Decoding, GenerateRequest, user_turn
from v2t.backends.batching import Batcher
from v2t_eval.core.sample import Sample
from v2t_eval.judge.answer import unreadable
from v2t_eval.judge.judge import Judge
from v2t_eval.judge.question import Question
from v2t_eval.judge.replies import read_choice

Shown = Literal["videos", "beside"]
FIRST, SECOND, NEITHER = 0, 1, 2  # of the choices below
CHOICES: dict[Shown, tuple[str, str, str]] = {
    "videos": ("the first video", "the second video", "both fit equally well"),
    "beside": ("the video on the left", "the video on the right", "both fit equally well"),
}
TEXTS: dict[Shown, str] = {
    "videos": "The two videos were made for this text: {prompt}\nWhich of them shows the text better? Choose one: "
    "(A) the first video (B) the second video (C) both fit equally well.",
    "beside": "Two videos, one on the left and one on the right, were made for this text: {prompt}\nWhich of them "
    "shows the text better? Choose one: (A) the video on the left (B) the video on the right "
    "(C) both fit equally well.",
}
_GAP = 0.04  # of the height: white between two videos side by side


@dataclass(frozen=True, kw_only=True)
class PairVerdict:
    """Both answers about a pair: FIRST, SECOND or NEITHER of what was shown, with the clip shown first, and with its
    reference shown first."""

    clip_first: int
    reference_first: int

    @property
    def value(self) -> float:
        """1 where both answers prefer the clip, or one does and the other prefers neither; 0 likewise for the
        reference; else one half."""
        lead = self._lead(self.clip_first) - self._lead(self.reference_first)
        return 0.5 if self.is_contradiction else 0.5 + 0.5 * float(np.sign(lead))

    @property
    def is_contradiction(self) -> bool:
        """Whether both prefer the same place, and so each another clip."""
        return self.clip_first == self.reference_first != NEITHER

    @property
    def named_first(self) -> tuple[int, int]:
        """How many answers prefer a video, and how many of them the one in the first place."""
        both = (self.clip_first, self.reference_first)
        return sum(each != NEITHER for each in both), both.count(FIRST)

    @staticmethod
    def _lead(answer: int) -> int:
        return {FIRST: 1, SECOND: -1, NEITHER: 0}[answer]


class PairJudge:
    """Asks a judge's captioner about pairs.

    Raises:
        UsageError: the captioner declares a vocabulary without the words of the question: the bundled one, which
            watches one clip and answers the cartoon world's questions.
    """

    def __init__(self, judge: Judge, shown: Shown = "videos") -> None:
        self.judge, self.shown = judge, shown
        self._batcher = Batcher(judge.captioner)
        if why := judge.why_unknown(Question(id="pair", question=TEXTS[shown].format(prompt=""))):
            raise UsageError(
                f"{why}: it cannot be asked to compare two clips",
                hint="compare by its answers about each clip (v2t-eval rank --by question_score), or judge=v2t:MODEL",
            )

    def compare(self, sample: Sample) -> PairVerdict:
        """Both answers about a clip and its reference video.

        Raises:
            ItemError: REFUSED or UNPARSABLE, an answer cannot be read; or what the captioner raises.
        """
        other = replace(sample, id=f"{sample.id} (reference)", clip=sample.reference_video, memo={})
        _ = sample.reference_frames  # an absent one is an error with a code
        clip, reference = self.judge.view(sample), self.judge.view(other)
        prompt = str(sample.require("prompt"))
        self.judge.load()
        return PairVerdict(
            clip_first=self._ask(prompt, clip, reference), reference_first=self._ask(prompt, reference, clip)
        )

    def _ask(self, prompt: str, first: Frames, second: Frames) -> int:
        text, choices = TEXTS[self.shown].format(prompt=prompt.strip()), CHOICES[self.shown]
        videos = (first, second) if self.shown == "videos" else (beside(first, second),)
        decoding = Decoding(max_new_tokens=self.judge.captioner.reply_tokens)
        reply = self._batcher.generate(GenerateRequest(messages=user_turn(text, *videos), decoding=decoding)).text
        answer = read_choice(reply, choices)
        if answer is None:
            raise unreadable(reply, "which of two videos", self.judge.name)
        return answer


def beside(left: Frames, right: Frames) -> Frames:
    """One video of two: brought to the height of the lower one and as many frames as the longer one has, the last frame
    of the shorter one repeated; times are the longer one's."""
    import cv2

    height = min(left.pixels.shape[1], right.pixels.shape[1])
    longer = left if len(left.pixels) >= len(right.pixels) else right
    parts = []
    for frames in (left, right):
        at = np.minimum(np.arange(len(longer.pixels)), len(frames.pixels) - 1)
        rows, columns = frames.pixels.shape[1:3]
        width = max(1, round(columns * height / rows))
        pictures = [cv2.resize(frames.pixels[t], (width, height), interpolation=cv2.INTER_AREA) for t in at]
        parts.append(np.stack(pictures))  # (T, H, W, 3)
    gap = np.full((len(longer.pixels), height, max(1, round(_GAP * height)), 3), 255, np.uint8)
    return replace(longer, pixels=np.concatenate([parts[0], gap, parts[1]], axis=2))
