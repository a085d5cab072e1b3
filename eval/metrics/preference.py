"""Preference: of two clips of one prompt, the one that a judge prefers, asked in both orders.

In: frames, a prompt and a `reference_video`, the other clip. Out: the share of pairs in which the clip is preferred, a
tie one half; answers that contradict each other when the places are exchanged are a tie (`v2t_eval.judge.pair`).
`consistent`: the share of pairs without such a contradiction; `first_place`: of the answers that prefer a video, the
share that names the first one shown: one half without a position bias. `v2t-eval rank A/ B/ --judge v2t:MODEL` asks it
of every two generators.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from v2t_eval.core import models
from v2t_eval.core.measurement import Evidence, Observation
from v2t_eval.core.metric import BaseMetric, Summary, share_of
from v2t_eval.core.sample import Sample
from v2t_eval.judge.judge import model_of, open_judge
from v2t_eval.judge.pair import CHOICES, TEXTS, PairJudge, Shown
from v2t_eval.semantics.dimension import count_no_answers


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Attributes:
    judge: v2t:MODEL, any model of `v2t --model` that takes two videos, or one of both side by side.
    shown: "videos", both in one message; "beside", one video with both side by side.
    """

    judge: str = "v2t"
    shown: Shown = "videos"


class Metric(BaseMetric):
    name = "preference"
    needs = ("frames", "prompt", "reference_video")
    detects = "which of two clips a judge prefers for the prompt"
    misses = "how good either is; whatever the judge does not see"
    requires = "a judge that takes two videos: judge=v2t:MODEL; the bundled one watches one clip"
    named = ("judge",)
    Settings = Settings

    def __init__(self, **settings: object) -> None:
        super().__init__(**settings)
        model_of(self.settings.judge)  # an unknown name is refused before any clip is read
        self._pairs: PairJudge | None = None

    def prepare(self) -> None:
        self.pairs.judge.load()

    @property
    def pairs(self) -> PairJudge:
        """The judge, opened at its first use."""
        if self._pairs is None:
            judge = open_judge(self.settings.judge, device=models.chosen_device())
            self._pairs = PairJudge(judge, self.settings.shown)
        return self._pairs

    def describe(self) -> dict[str, str]:
        about = self.pairs.judge.about()
        asked = TEXTS[self.settings.shown].format(prompt="...")
        return {"judge": about["judge"], "frames": about["frames"], "dtype": about["dtype"], "asked": asked}

    def measure(self, sample: Sample) -> Evidence:
        """`value`, what each order's answer was, and how many of them name a video, and the first one shown."""
        verdict = self.pairs.compare(sample)
        named, first = verdict.named_first
        choices = CHOICES[self.settings.shown]
        return {
            "value": verdict.value,
            "answers": [choices[verdict.clip_first], choices[verdict.reference_first]],
            "consistent": float(not verdict.is_contradiction),
            "named": named,
            "first": first,
        }

    def summarise(self, rows: Sequence[Observation], references: Sequence[Observation]) -> Summary:
        figures = {
            self.name: self.mean(rows),
            "consistent": share_of(rows, [row.evidence["consistent"] for row in rows]),
        }
        named = [row for row in rows if row.evidence["named"]]
        if named:
            figures["first_place"] = share_of(
                named, [row.evidence["first"] for row in named], [row.evidence["named"] for row in named]
            )
        items = [{"id": row.id, "value": row.evidence["value"], "answers": row.evidence["answers"]} for row in rows]
        ties = sum(row.evidence["value"] == 0.5 for row in rows)
        return Summary(
            headline=self.name,
            figures=figures,
            items=items,
            counts=count_no_answers(self._failures) | {"ties": ties},
            notes=(f"judge {self.describe()['judge']}, every pair in both orders",),
        )
