"""Highlights: whether the highlights chosen by people get the greatest scores.

In: for each question about a video a score for each of its short parts (`saliency`), and people's ratings of each part
(`relevance`: a number, or one for each person). Out: as the evaluation of QVHighlights and Moment-DETR (Lei et al.
2021, arXiv:2107.09609) computes them: the mean average precision over questions and people, and HIT@1, whether any of
them finds the part of the greatest score telling. Telling is a relevance of `least` or more: of 0 to 4 there, 2 is
fair, 3 good, 4 very good. In mode `compat` a person who finds no part telling gives an average precision of 0, as
there, and parts of equal score are one step of the curve; in mode `fixed` that person is left out (a question without
any is a failure), and parts of equal score stand in the worst order, so that a constant gains nothing by it.
Moment retrieval by spans of time, and its mAP, is `spans`. Letters: P parts, W people.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from cineloop.errors import ItemError
from v2t_eval.core.measurement import Evidence, Observation
from v2t_eval.core.metric import BaseMetric, Summary, mean_of, share_of
from v2t_eval.core.sample import Sample


def average_precision(telling: np.ndarray, scores: np.ndarray) -> float:
    """Interpolated average precision, in [0, 1]: the mean of the best precision from each step of recall on, over the
    steps, where parts of equal score are one step. All parts telling is 1, none is 0.

    Args:
        telling: bool (P,).
        scores: (P,).
    """
    if telling.all() or not telling.any():
        return float(telling.all())
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))  # last part of each score, (S,)
    hits = np.cumsum(telling[order])[ends]  # (S,)
    precision = np.maximum.accumulate((hits / (ends + 1))[::-1])[::-1]
    return float(precision[np.diff(hits, prepend=0) > 0].mean())


def worst_average_precision(telling: np.ndarray, scores: np.ndarray) -> float:
    """Interpolated average precision with equal scores in the worst order, in [0, 1]; see `average_precision`."""
    rank = np.lexsort((telling, -scores))  # among equal scores those that are not telling come first
    falling = np.empty(len(scores))
    falling[rank] = -np.arange(len(scores))
    return average_precision(telling, falling)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """`least`: relevance from which a part is telling; `mode`: see the module's head."""

    least: float = 4.0
    mode: Literal["compat", "fixed"] = "compat"


class Metric(BaseMetric):
    name = "highlights"
    level = "text"
    needs = ("saliency", "relevance")
    detects = "the order in which scores put the parts of one video"
    misses = "the scores themselves (any rising function of them scores the same), and how two videos compare"
    Settings = Settings

    def measure(self, sample: Sample) -> Evidence:
        """`ap` for each person (None for one left out) and `hit`.

        Scores beyond the parts that people judged do not count, and parts without a score have 0, as there.

        Raises:
            ItemError: BAD_ROW, not numbers; NO_HIGHLIGHT in mode fixed, no rater finds a highlight.
        """
        scores, relevance = _numbers(sample, "saliency"), _numbers(sample, "relevance")
        if scores.ndim != 1 or relevance.ndim not in (1, 2) or not len(scores) or not relevance.size:
            raise ItemError(
                f"{sample.id}: expected a score for each part and a relevance (or one for each person), got arrays of "
                f"{scores.shape} and {relevance.shape}",
                code="BAD_ROW",
            )
        telling = relevance.reshape(len(relevance), -1) >= self.settings.least  # (P, W)
        fitted = np.zeros(len(telling))
        fitted[: len(scores)] = scores[: len(telling)]
        is_fixed = self.settings.mode == "fixed"
        if is_fixed and not telling.any():
            raise ItemError(f"{sample.id}: no part has a relevance of {self.settings.least}", code="NO_HIGHLIGHT")
        measure = worst_average_precision if is_fixed else average_precision
        precisions = [
            None if is_fixed and not person.any() else measure(person, fitted) for person in telling.T
        ]  # (W,)
        pool = fitted if is_fixed else scores
        top = np.flatnonzero(pool == pool.max())
        picked = top if is_fixed else top[:1]  # the first of several, as there
        hit = all(bool(telling[part].any()) if part < len(telling) else False for part in picked)
        return {"ap": precisions, "hit": hit, "num_scores": len(scores), "num_parts": len(telling)}

    def summarise(self, rows: Sequence[Observation], references: Sequence[Observation]) -> Summary:
        """Means over the questions; the headline is mAP. A person who was left out weighs nothing."""
        judged = [[value for value in row.evidence["ap"] if value is not None] for row in rows]
        precisions = [sum(values) / len(values) for values in judged]
        hits = [row.evidence["hit"] for row in rows]
        return Summary(
            headline="mAP",
            figures={
                "mAP": mean_of(rows, precisions),
                "HIT@1": share_of(rows, hits, detail={"right": int(sum(hits))}),
            },
            items=[
                {"id": row.id, "value": precision, "hit": row.evidence["hit"]}
                for row, precision in zip(rows, precisions, strict=True)
            ],
            counts={
                "scores and parts differ in number": sum(
                    row.evidence["num_scores"] != row.evidence["num_parts"] for row in rows
                ),
                "people without a highlight": sum(row.evidence["ap"].count(None) for row in rows),
            },
        )


def _numbers(sample: Sample, name: str) -> np.ndarray:
    values: Any = sample.require(name)
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ItemError(
            f"{sample.id}: {name} must be numbers, one list of them for each part", code="BAD_ROW"
        ) from error
    if not np.isfinite(array).all():
        raise ItemError(f"{sample.id}: {name} holds numbers that are not finite", code="BAD_ROW")
    return array
