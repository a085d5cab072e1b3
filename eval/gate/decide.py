"""From two scorings and a policy to verdicts.

In: two `Side`s (the baseline's may be missing) and a `Policy`. Out: a `MetricVerdict` for each metric, the clips that
got worst, and one outcome with its reason. The arithmetic is in `eval.gate.statistics`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from eval.metric import MetricResult


@dataclass(frozen=True)
class Side:
    """One side of a comparison.

    Attributes:
        results: by the metric's title.
        clusters: the cluster of each clip by its id: clips of one prompt share one.
        prompts, paths: of each clip by its id, None where there is none.
        contents: what names the bytes of each clip (`Scored.content`). Where both sides hold the same bytes no
            difference is a fact; else equal values of a metric with two levels are only values that happened to agree.
    """

    results: Mapping[str, MetricResult]
    clusters: Mapping[str, str]
    prompts: Mapping[str, str | None] = field(default_factory=dict)
    paths: Mapping[str, str | None] = field(default_factory=dict)
    contents: Mapping[str, str | None] = field(default_factory=dict)
