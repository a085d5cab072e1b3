"""Scores whose judged values are corrected clip by clip, for a gate whose suite says `corrected: true`.

In: the `Scores` of one side, an `Audit`. Out: `Scores` in which the value of a clip under a judged metric is the one
whose mean is the corrected share: it may lie beyond 0 and 1, and so does the metric's range. The same rates correct
both sides, so their error is one of scale: a change of nothing stays nothing, and any other may be too small or too
large by `scale_error`, which narrows the margin (`v2t_eval.gate.policy.Policy.allowing`). A metric that cannot be
corrected loses its figures, and the gate decides nothing by it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np

from cineloop.files import text_key
from v2t_eval.audit.record import Audit, Confusion
from v2t_eval.core.metric import Figure, MetricResult
from v2t_eval.core.scores import Scores
from v2t_eval.correction.rates import ErrorRates
from v2t_eval.correction.scoring import (
    NOT_CORRECTED,
    JudgedClip,
    UncorrectableError,
    confusion_for,
    corrected_shares,
    figures_of,
    judged_clips,
)

MAX_SCALE_ERROR = 1.25  # beyond, margin and accepted harm come too near to each other
IS_CORRECTED = "corrected"  # in a fingerprint


def scores_for_gate(scores: Scores, decides: Collection[str], audit: Audit | None, name: str, why: str = "") -> Scores:
    """The scores with the judged ones of the metrics `decides` corrected; see the module's head.

    Args:
        name: the audit's set of clips that these are like; `why` there is none.
    """
    clusters = {clip.id: clip.cluster for clip in scores.clips}
    results = []
    for result in scores.results:
        is_judged = "judge" in result.fingerprint and IS_CORRECTED not in result.fingerprint and result.figures
        if result.name not in decides or not is_judged:
            results.append(result)
            continue
        clips = judged_clips(result, clusters)
        try:
            if not clips:
                raise UncorrectableError("these scores lack the judge's answers: score the clips", code="NO_CLAIMS")
            results.append(_corrected_result(result, clips, confusion_for(result, clips, audit, name, why), name))
        except UncorrectableError as error:
            note = f"{NOT_CORRECTED} ({error.code}): {error.message}"
            results.append(replace(result, figures={}, notes=(*result.notes, note)))
    return replace(scores, results=results)


def _corrected_result(
    result: MetricResult, clips: list[JudgedClip], rows: tuple[Confusion, ...], name: str
) -> MetricResult:
    figure = figures_of(result)[0]
    share, rates = corrected_shares(result, clips, rows)[figure]
    scale = rates.scale_error**share.depth
    if scale > MAX_SCALE_ERROR:
        text = f"the audit leaves differences open by a factor of {scale:.2f}, {MAX_SCALE_ERROR:g} at most: more clips"
        raise UncorrectableError(text, code="ROUGH_AUDIT")
    value, low, high = share.clipped
    values = dict(zip((clip.id for clip in clips), share.values.tolist(), strict=True))
    key = text_key(repr(sorted(map(repr, rows))).encode())[:12]
    return replace(
        result, figures={result.headline: Figure(value=value, low=low, high=high, n=len(clips))},
        items=[{**item, "value": values.get(item["id"])} for item in result.items],
        value_range=_ends(rates, share.depth), reduction="mean", scale_error=scale,
        fingerprint=result.fingerprint | {IS_CORRECTED: f"by an audit's {name} clips, counts {key}"},
    )  # fmt: skip


def _ends(rates: ErrorRates, depth: int) -> tuple[float, float]:
    """The least and the greatest value of a clip: of products of up to `depth` terms."""
    contrast = rates.hits - rates.alarms
    low, high = float((-rates.alarms / contrast).min()), float(((1 - rates.alarms) / contrast).max())
    ends = [low**n * high ** (num - n) for num in range(1, depth + 1) for n in range(num + 1)]
    return float(np.min(ends)), float(np.max(ends))
