"""What an engine's margins ask beside the metrics of its suite: the other direction, and single clips that stray.

In: scores and limits. Out: results of metrics. Equivalence is two one-sided tests: a metric of what a clip shows is
asked whether it got worse and, under its name with `ABOVE`, whether it got better; both are no engine's business. A
mean says little of one clip in twenty that is broken: `STRAYS` is the share of clips beyond the limits of a clip.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np

from v2t_eval.core.changes import finite_values
from v2t_eval.core.measurement import Observation, as_text
from v2t_eval.core.metric import Figure, MetricResult, mean_of
from v2t_eval.core.scores import ItemScores, Scores

STRAYS = "stray_clips"
LIMIT = "limit of a clip"  # a figure of a baseline's metric: the harm from which one clip is beyond the engine's own
ABOVE = " (above)"
_CONTENT, _CONFIDENCE = 0.99, 0.95


def limit_of(harms: np.ndarray, accepted: float) -> float:
    """The harm from which one clip is beyond the engine's own: the accepted one, and either the upper tolerance limit
    that holds 99 % of the clips with a confidence of 95 % if they are near to normal (Natrella 1963, by the noncentral
    t), or the greatest of them, whichever is more."""
    spread = _tolerance_factor(harms.size) * float(harms.std(ddof=1))
    return accepted + max(float(harms.max()), float(harms.mean()) + spread)


@lru_cache(maxsize=64)
def _tolerance_factor(num: int) -> float:
    from scipy.stats import nct, norm  # type: ignore[import-untyped]

    return float(nct.ppf(_CONFIDENCE, num - 1, norm.ppf(_CONTENT) * math.sqrt(num))) / math.sqrt(num)


def result_of(
    like: MetricResult, values: Mapping[str, float], clips: Sequence[ItemScores], **more: Figure
) -> MetricResult:
    """`like` with these values of clips, by id, and the mean of them as its headline."""
    clusters = {clip.id: clip.cluster for clip in clips}
    rows = [Observation(id=id, cluster=clusters[id], evidence={"value": values[id]}) for id in sorted(values)]
    figures = {like.headline: mean_of(rows, [values[row.id] for row in rows], like.value_range)} if rows else {}
    return replace(like, figures=figures | more, items=[{"id": row.id, "value": values[row.id]} for row in rows],
                   n=len(rows), coverage=1.0, failures=[])  # fmt: skip


def reversed_result(result: MetricResult) -> MetricResult:
    """The result asked the other way round, which has no limit of a clip."""
    figures = {name: figure for name, figure in result.figures.items() if name != LIMIT}
    name = f"{result.name}{ABOVE}"
    return replace(result, name=name, figures=figures, higher_is_better=not result.higher_is_better)


def stray_result(flags: Mapping[str, float], limits: Mapping[str, float], clips: Sequence[ItemScores]) -> MetricResult:
    """The share of strays. `flags`: of each clip 1 or 0, or its share of runs; `limits`: by metric."""
    settings = as_text({name: f"{limit:.6g}" for name, limit in limits.items()})
    empty = MetricResult(
        name=STRAYS, headline=STRAYS, figures={}, n=0, coverage=1.0, higher_is_better=False, value_range=(0.0, 1.0),
        fingerprint={"definition": f"{STRAYS}/1", "settings": settings}, reduction="mean",
    )  # fmt: skip
    return result_of(empty, flags, clips)


def limits_of(baseline: Scores, *, all_metrics: bool = False) -> dict[str, float]:
    """The limit of a clip by metric, of distances alone or of all metrics that decide."""
    names = {result.name for result in baseline.results}
    return {
        name: result.figures[LIMIT].value
        for name, result in baseline.by_name.items()
        if LIMIT in result.figures and (all_metrics or f"{name}{ABOVE}" not in names)
    }


def beyond_limits(scores: Scores, baseline: Scores, limits: Mapping[str, float]) -> dict[str, list[str]]:
    """By which metrics each clip is beyond its limit, by id, of clips that have a value on both sides."""
    beyond: dict[str, list[str]] = {}
    for name, limit in limits.items():
        before = baseline.by_name[name]
        sign, usual = -1.0 if before.higher_is_better else 1.0, finite_values(before.items)
        values = finite_values(scores.by_name[name].items) if name in scores.by_name else {}
        for id in values.keys() & usual.keys():
            listed = beyond.setdefault(id, [])
            if sign * (values[id] - usual[id]) > limit:
                listed.append(name)
    return beyond


def derived_scores(scores: Scores, baseline: Scores) -> Scores:
    """The candidate's scores with all that the baseline's rules ask beside its metrics."""
    asked = {result.name for result in baseline.results}
    results = [*scores.results]
    results += [reversed_result(result) for result in scores.results if f"{result.name}{ABOVE}" in asked]
    if STRAYS in asked:
        limits = limits_of(baseline)
        flags = {id: float(bool(names)) for id, names in beyond_limits(scores, baseline, limits).items()}
        results.append(stray_result(flags, limits, scores.clips))
    return replace(scores, results=results)
