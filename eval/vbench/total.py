"""VBench's totals: sixteen dimensions on one scale, put together as quality, semantic and total.

In: the value of each dimension, 0 to 1 as the reference's own table has them (imaging_quality divided by 100). Out:
n = (x - least) / (most - least) for each; quality, the mean of seven (dynamic_degree weighs one half); semantic, the
mean of nine; total, (4 quality + semantic) / 5. `compat` takes a missing dimension as raw 0 and lets n leave 0 to 1, as
the reference does (defect D10); `fixed` refuses a missing one and clips n. The least and greatest values belong to the
reference's backbones: with others a total is not a leaderboard number. VBench measures temporal_style and
overall_consistency alike, on other prompts each; where both were measured on the same clips they are one number, which
`fixed` counts once. For image-to-video the weights are those of
VBench-I2V.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from math import sqrt
from typing import NamedTuple

from cineloop.errors import UsageError
from v2t_eval.core.metric import BaseMetric, CompositeMetric, Figure, MetricResult


class Scale(NamedTuple):
    """Of one dimension: the value that counts as 0, the one that counts as 1, and its weight in its half."""

    least: float
    most: float
    weight: float


QUALITY: dict[str, Scale] = {
    "subject_consistency": Scale(0.1462, 1.0, 1.0),
    "background_consistency": Scale(0.2615, 1.0, 1.0),
    "temporal_flickering": Scale(0.6293, 1.0, 1.0),
    "motion_smoothness": Scale(0.706, 0.9975, 1.0),
    "dynamic_degree": Scale(0.0, 1.0, 0.5),
    "aesthetic_quality": Scale(0.0, 1.0, 1.0),
    "imaging_quality": Scale(0.0, 1.0, 1.0),
}
SEMANTIC: dict[str, Scale] = {
    "object_class": Scale(0.0, 1.0, 1.0),
    "multiple_objects": Scale(0.0, 1.0, 1.0),
    "human_action": Scale(0.0, 1.0, 1.0),
    "color": Scale(0.0, 1.0, 1.0),
    "spatial_relationship": Scale(0.0, 1.0, 1.0),
    "scene": Scale(0.0, 0.8222, 1.0),
    "appearance_style": Scale(0.0009, 0.2855, 1.0),
    "temporal_style": Scale(0.0, 0.364, 1.0),
    "overall_consistency": Scale(0.0, 0.364, 1.0),
}
ALIKE = ("temporal_style", "overall_consistency")
QUALITY_SHARE, SEMANTIC_SHARE = 0.8, 0.2  # 4 : 1


class Total(NamedTuple):
    """Normalised values by dimension; the two halves and what they come to."""

    normalised: dict[str, float]
    quality: float
    semantic: float
    total: float


def total(raw: Mapping[str, float], mode: str = "fixed", semantic: Mapping[str, Scale] | None = None) -> Total:
    """Quality, semantic and total of the sixteen raw values, 0 to 1; `semantic` are other weights than `SEMANTIC`.

    Raises:
        UsageError: `fixed` and a dimension is missing; a name that is not a dimension; an unknown mode.
    """
    if mode not in ("fixed", "compat"):
        raise UsageError(f"mode must be fixed or compat, not {mode!r}")
    semantic = semantic or SEMANTIC
    scales = {**QUALITY, **semantic}
    if unknown := sorted(set(raw) - set(scales)):
        raise UsageError(f"no dimension is called {', '.join(unknown)}", hint=f"the dimensions: {', '.join(scales)}")
    missing = [name for name in scales if name not in raw]
    if missing and mode == "fixed":
        raise UsageError(
            f"a total needs all {len(scales)} dimensions; missing: {', '.join(missing)}",
            hint="measure them too, or mode=compat, which takes a missing dimension as 0 as VBench does",
        )
    normalised = {name: normal(float(raw.get(name, 0.0)), scale, mode == "fixed") for name, scale in scales.items()}
    halves = [
        sum(normalised[name] * scale.weight for name, scale in half.items()) / sum(s.weight for s in half.values())
        for half in (QUALITY, semantic)
    ]
    return Total(normalised, halves[0], halves[1], QUALITY_SHARE * halves[0] + SEMANTIC_SHARE * halves[1])


def vbench_total(results: Mapping[str, MetricResult], mode: str = "fixed") -> MetricResult:
    """The totals of measured dimensions as a result of its own.

    Figures: `total` (the headline), `quality`, `semantic`, and for each dimension `normalised.NAME` and `raw.NAME`. The
    intervals of the dimensions are propagated as if they were independent (below and above apart, weights squared). `n`
    and `coverage` count dimensions.

    Raises:
        UsageError: as `total`. A dimension that scored nothing counts as missing.
    """
    scales = {**QUALITY, **SEMANTIC}
    measured = {name: results[name] for name in scales if name in results and results[name].figures}
    clipped = mode == "fixed"
    once = clipped and _is_one_measurement(measured)
    half = {
        name: scale._replace(weight=0.5 if once and name in ALIKE else scale.weight) for name, scale in SEMANTIC.items()
    }
    raw = {name: result.value for name, result in measured.items()}
    summary = total(raw, mode, half)
    share = {name: part for part_of in _shares(half) for name, part in part_of.items()}
    normal = {name: _normal_figure(name, measured.get(name), scale, clipped) for name, scale in scales.items()}
    quality, semantic = (
        _combine(value, half, normal)
        for value, half in zip((summary.quality, summary.semantic), _shares(half, within=True), strict=True)
    )
    figures = {"total": _combine(summary.total, share, normal), "quality": quality, "semantic": semantic}
    figures |= {f"normalised.{name}": figure for name, figure in normal.items()}
    figures |= {f"raw.{name}": result.figures[result.headline] for name, result in measured.items()}
    missing = [name for name in scales if name not in measured]
    prints = {
        name: {key: value for key, value in result.fingerprint.items() if not key.endswith("library")}
        for name, result in measured.items()
    }
    digest = hashlib.sha256(json.dumps(prints, sort_keys=True).encode()).hexdigest()[:16]
    return MetricResult(
        name="vbench_total" if mode == "fixed" else f"vbench_total[mode={mode}]",
        headline="total",
        figures=figures,
        n=len(scales),
        coverage=len(measured) / len(scales),
        fingerprint={"definition": "vbench_total/2", "mode": mode, "dimensions": digest},
        counts={"missing_dimensions": len(missing)},
        notes=(
            *_notes(measured, missing, clipped),
            *((f"{' and '.join(ALIKE)} are one number here, counted once",) * once),
        ),
        value_range=(0.0, 1.0) if clipped else (-float("inf"), float("inf")),
    )


class VBenchTotal(CompositeMetric):
    """`vbench_total` wherever all sixteen dimensions were requested."""

    name = "vbench_total"
    parts = frozenset({*QUALITY, *SEMANTIC})

    @classmethod
    def compute(cls, metrics: Mapping[str, BaseMetric], results: Mapping[str, MetricResult]) -> MetricResult:
        if compat := [name for name, metric in metrics.items() if getattr(metric.settings, "mode", "") == "compat"]:
            raise UsageError(
                f"a total needs all dimensions in mode=fixed, got mode=compat for {', '.join(sorted(compat))}",
                hint="mode=fixed for all: only dimensions whose backbone can be had here know mode=compat",
            )
        return vbench_total(results)


def normal(value: float, scale: Scale, clipped: bool) -> float:
    """`value` between the least (0) and the greatest (1) of its scale."""
    share = (value - scale.least) / (scale.most - scale.least)
    return min(1.0, max(0.0, share)) if clipped else share


def _is_one_measurement(measured: Mapping[str, MetricResult]) -> bool:
    """Whether the dimensions that are measured alike have the same clips and prompts."""
    first, second = ([(i["id"], i["value"]) for i in measured[n].items] if n in measured else [] for n in ALIKE)
    return bool(first) and first == second


def _shares(semantic: Mapping[str, Scale], *, within: bool = False) -> tuple[dict[str, float], dict[str, float]]:
    """Weight of each dimension in the total, or `within` its half."""
    halves = []
    for half, whole in ((QUALITY, QUALITY_SHARE), (semantic, SEMANTIC_SHARE)):
        weight = sum(scale.weight for scale in half.values())
        halves.append({name: scale.weight / weight * (1.0 if within else whole) for name, scale in half.items()})
    return halves[0], halves[1]


def _normal_figure(name: str, result: MetricResult | None, scale: Scale, clipped: bool) -> Figure:
    if result is None:
        at = normal(0.0, scale, clipped)
        return Figure(value=at, low=at, high=at, n=0)
    figure = result.figures[result.headline]
    value, low, high = (normal(end, scale, clipped) for end in (figure.value, figure.low, figure.high))
    return Figure(value=value, low=low, high=high, n=figure.n)


def _combine(value: float, shares: Mapping[str, float], parts: Mapping[str, Figure]) -> Figure:
    below = sqrt(sum((share * (parts[name].value - parts[name].low)) ** 2 for name, share in shares.items()))
    above = sqrt(sum((share * (parts[name].high - parts[name].value)) ** 2 for name, share in shares.items()))
    return Figure(value=value, low=value - below, high=value + above, n=sum(1 for name in shares if parts[name].n))


def _notes(measured: Mapping[str, MetricResult], missing: list[str], clipped: bool) -> tuple[str, ...]:
    notes = ["scales and weights are VBench's, made for its own backbones: not a leaderboard number with others"]
    notes += [f"{name}: {note}" for name, result in measured.items() for note in result.notes if "backbone" in note]
    if missing:
        notes.append(f"missing, counted as 0 as VBench does: {', '.join(missing)}")
    if measured.get("dynamic_degree") and measured["dynamic_degree"].value == 0:
        notes.append("nothing moves in any clip: quality rewards that (a frozen picture would score about .82)")
    outside = [
        name
        for name, result in measured.items()
        if not 0 <= normal(result.value, {**QUALITY, **SEMANTIC}[name], False) <= 1
    ]
    if outside:
        what = "clipped" if clipped else "not clipped, as in VBench"
        notes.append(f"outside the reference's scale and {what}: {', '.join(outside)}")
    notes.append("intervals: those of the dimensions, as if these were independent")
    return tuple(notes)
