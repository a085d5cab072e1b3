"""Event F1: recall and precision of the events in a detailed caption (AutoDQ).

In: a caption and a reference (the first of several) or a prompt. Out: as AutoDQ for DREAM-1K (Wang et al. 2024,
Tarsier, arXiv:2407.00634): a judge takes the events from both texts and says which events of the one the other entails.
Recall is the share of the reference's events that the caption entails, precision the share of the caption's events that
the reference entails, neutral and contradicted ones being none; each is averaged over the clips of a source (`source`
of the row), then over the sources, and F1 is that of the two means. In mode `compat` a text without events counts as
1.0, as there; in mode `fixed` such a text gives no recall (or precision) and is counted apart, so that a caption in
which nothing happens is not precise. A text the judge cannot read is a failure. Letters: S sources, R resamples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from cineloop.errors import ItemError
from v2t_eval.core.measurement import Evidence, Observation
from v2t_eval.core.metric import BaseMetric, Figure, Summary, figure_of_sums
from v2t_eval.core.sample import Sample
from v2t_eval.core.statistics import f1
from v2t_eval.text.events import EventJudge, open_judge


@dataclass(frozen=True, kw_only=True)
class Settings:
    """`judge`: see `v2t_eval.text.events`. `against`: what the caption is compared with. `mode`: see the module's
    head."""

    judge: str = "world"
    against: Literal["references", "prompt"] = "references"
    mode: Literal["compat", "fixed"] = "compat"

    def __post_init__(self) -> None:
        if not self.judge:
            raise ValueError("judge must be world, openai:URL[#model], or a folder or hub id of a language model")


class Metric(BaseMetric):
    name = "event_f1"
    level = "text"
    version = 2
    needs = ("caption",)
    uses = ("references", "prompt", "source")
    reduction = "set"
    detects = "what happens: left out, made up, or wrongly stated; direction and who does it, as far as the judge does"
    misses = "the order of events, their times, appearance, place, the camera; and what the judge misses"
    requires = "a judge: world for the cartoon world, openai:URL[#model], or a language model's folder or hub id"
    Settings = Settings

    @property
    def judge(self) -> EventJudge:
        """The judge, loaded once in this process."""
        return open_judge(self.settings.judge)

    def prepare(self) -> None:
        _ = self.judge

    def describe(self) -> dict[str, str]:
        return self.judge.describe()

    def measure(self, sample: Sample) -> Evidence:
        """Events of both texts and the verdict on each.

        Raises:
            ItemError: NO_REFERENCES or NO_PROMPT; JUDGE_UNREADABLE and others, the judge cannot decide.
        """
        events = sample.require(self.settings.against)
        caption, true = sample.require("caption"), events if isinstance(events, str) else events[0]
        source = sample.get("source")
        if not isinstance(source, str | None):
            raise ItemError(f"{sample.id}: source must be a text, got {source!r}", code="BAD_ROW")
        judge = self.judge
        expected, stated = judge.events(true), judge.events(caption)
        return {
            "source": source or "all",
            "expected": [list(pair) for pair in zip(expected, judge.entails(expected, caption), strict=True)],
            "stated": [list(pair) for pair in zip(stated, judge.entails(stated, true), strict=True)],
            "unused": 0 if isinstance(events, str) else len(events) - 1,
        }

    def summarise(self, rows: Sequence[Observation], references: Sequence[Observation]) -> Summary:
        """F1, recall and precision over sources, and of each source; the headline is F1 over sources."""
        shares = [(self._share(row.evidence["expected"]), self._share(row.evidence["stated"])) for row in rows]
        sources = sorted({row.evidence["source"] for row in rows})
        sums = np.zeros((len(rows), len(sources), 4))  # sum and number of recalls, sum and number of precisions
        for number, (row, (recall, precision)) in enumerate(zip(rows, shares, strict=True)):
            for place, share in ((0, recall), (2, precision)):
                if share is not None:
                    sums[number, sources.index(row.evidence["source"]), place : place + 2] = share, 1
        figures = {name: _figure(rows, sums, kind) for kind, name in enumerate(("f1", "recall", "precision"))}
        if len(sources) > 1:
            for number, source in enumerate(sources):
                inside = [place for place, row in enumerate(rows) if row.evidence["source"] == source]
                own = sums[inside][:, number : number + 1]
                figures[f"f1 of {source}"] = _figure([rows[place] for place in inside], own, 0)
        verdicts = [verdict for row in rows for key in ("expected", "stated") for _, verdict in row.evidence[key]]
        unused = sum(row.evidence["unused"] > 0 for row in rows)
        return Summary(
            headline="f1",
            figures=figures,
            items=[
                {
                    "id": row.id,
                    "value": None if None in pair else f1(*pair),
                    "recall": pair[0],
                    "precision": pair[1],
                    **{key: row.evidence[key] for key in ("source", "expected", "stated")},
                }
                for row, pair in zip(rows, shares, strict=True)
            ],
            counts={
                "references without events": sum(not row.evidence["expected"] for row in rows),
                "captions without events": sum(not row.evidence["stated"] for row in rows),
                **{verdict: verdicts.count(verdict) for verdict in ("neutral", "contradiction")},
            },
            notes=(f"{unused} clips have several references: the first is used",) if unused else (),
        )

    def _share(self, judged: list[list[str]]) -> float | None:
        if not judged:
            return 1.0 if self.settings.mode == "compat" else None
        return sum(verdict == "entailment" for _, verdict in judged) / len(judged)


def _figure(rows: Sequence[Observation], sums: np.ndarray, kind: int) -> Figure:
    """Kind 0 is F1, 1 recall, 2 precision, of sums (n, S, 4)."""

    def statistic(totals: np.ndarray) -> np.ndarray:
        by_shot = totals.reshape(len(totals), -1, 2, 2)  # (R, S, recall or precision, sum or number)
        there = by_shot[..., 1] > 1e-9
        means = np.where(there, by_shot[..., 0] / np.where(there, by_shot[..., 1], 1), 0)  # (R, S, 2)
        recall, precision = (means.sum(1) / np.maximum(there.sum(1), 1)).T  # (R,)
        both = np.where(recall + precision > 0, recall + precision, 1)
        return (2 * recall * precision / both, recall, precision)[kind]

    flat = sums.reshape(len(sums), -1)  # (n, 4S)
    return figure_of_sums(rows, flat, statistic)
