"""Change of each metric from a baseline to a candidate, paired by clip: numbers only.

In: two `Scores`. Out: `MetricChange` for each metric: the pairs of clips, the change between its bounds with its p, or
the code of what is in the way. Nothing is decided here and there are no sentences; every comparison of two scorings
(the gate, `compare`, a learning) begins with these. The bounds are in `v2t_eval.core.bounds`.
Letters: n pairs, G clusters, d difference.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from typing import Literal, Protocol

import numpy as np

from cineloop.intervals import Interval
from v2t_eval.core.bounds import (
    Change,
    beyond,
    cluster_sums,
    least_distance,
    no_change,
    paired_change,
    unpaired_change,
)
from v2t_eval.core.metric import Figure, MetricResult
from v2t_eval.core.scores import ItemScores, Scores
from v2t_eval.core.statistics import mean_interval

ALPHA, MAX_LOST = 0.05, 0.02  # where no policy says otherwise
NUM_WORST = 10  # clips of each metric
_GREATEST = 1e100  # a value beyond, or one that is not a number, is missing

# NO_FIGURE, NO_BASELINE_FIGURE: a side without the figure; NO_BASELINE: there are no scores to compare with;
# OTHER_HEADLINE, OTHER_DIRECTION, OTHER_RANGE: the sides state different ones; NO_PAIRS: no clip has a value on both;
# OTHER_NUMBER: figures of whole sets of different sizes; NO_INTERVAL: such figures without a known spread
Obstacle = Literal[
    "NO_FIGURE", "NO_BASELINE", "NO_BASELINE_FIGURE", "OTHER_HEADLINE", "OTHER_DIRECTION", "OTHER_RANGE", "NO_PAIRS",
    "OTHER_NUMBER", "NO_INTERVAL",
]  # fmt: skip
STATED: dict[Obstacle, str] = {  # what both sides must state alike
    "OTHER_HEADLINE": "headline", "OTHER_DIRECTION": "higher_is_better", "OTHER_RANGE": "value_range",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ClipPairs:
    """Values of the n clips that both sides have, in the order of ids. `same_bytes`: every clip is the same
    file. `num_candidate`, `num_baseline`: clips that have a value on that side.
    `paths`: of the candidate's clip and the baseline's."""

    ids: tuple[str, ...]
    candidate: tuple[float, ...]
    baseline: tuple[float, ...]
    clusters: tuple[Hashable, ...]
    num_candidate: int
    num_baseline: int
    same_bytes: bool = False
    prompts: tuple[str | None, ...] = ()
    paths: tuple[tuple[str | None, str | None], ...] = ()

    @cached_property
    def differences(self) -> list[float]:
        return [now - then for now, then in zip(self.candidate, self.baseline, strict=True)]

    @property
    def mean(self) -> float:
        return fmean(self.differences)

    @property
    def interval(self) -> Interval:
        """Interval of 95 % of the mean by its own spread, see `v2t_eval.core.statistics.mean_interval`."""
        return mean_interval(self.differences, self.clusters)

    @property
    def sums(self) -> np.ndarray:
        """Sum and number of the differences of each cluster, (G, 2)."""
        return cluster_sums(self.differences, self.clusters)

    @property
    def level(self) -> float | None:
        """The value that all clips have on both sides; None where values differ."""
        return self.candidate[0] if len({*self.candidate, *self.baseline}) == 1 else None


class MetricPrior(Protocol):
    """What is known of a metric before anything is measured, as a gate's rule states it: the margin, if it has one, the
    harm that `p` allows, the values beyond which no clip lies (None: see `MetricChange.ends`), and the most that a
    prompt which the sample lacks can gain (None: from one of these to the other)."""

    @property
    def margin(self) -> float | None: ...
    @property
    def accepts(self) -> float: ...
    @property
    def worst(self) -> float | None: ...
    @property
    def best(self) -> float | None: ...
    @property
    def gain(self) -> float | None: ...


@dataclass(frozen=True, kw_only=True)
class MetricChange:
    """One metric on both sides.

    Attributes:
        ours, theirs: the candidate's result and the baseline's.
        pairs: the clips that have a value on both sides; None where there are none.
        obstacle: why there is no change.
        of_sets: the change, of a figure of whole sets.
        expected: see `MetricPrior`. alpha: of the bounds.
    """

    name: str
    ours: MetricResult | None
    theirs: MetricResult | None
    pairs: ClipPairs | None = None
    obstacle: Obstacle | None = None
    of_sets: Change | None = None
    expected: MetricPrior | None = None
    alpha: float = ALPHA

    @property
    def higher_is_better(self) -> bool | None:
        known = self.ours or self.theirs
        return True if known is None else known.higher_is_better

    @property
    def figures(self) -> tuple[Figure | None, Figure | None]:
        """The candidate's figure and the baseline's."""
        ours, theirs = (
            None if one is None else one.figures.get(one.headline) for one in (self.ours, self.theirs)
        )  # fmt: skip
        return ours, theirs

    @cached_property
    def change(self) -> Change | None:
        """Candidate minus baseline; None where something is in the way."""
        if self.of_sets is not None or self.obstacle is not None or self.pairs is None or self.ends is None:
            return self.of_sets
        pairs, (worst, best) = self.pairs, self.ends
        values = [*pairs.candidate, *pairs.baseline]
        # Where both sides hold the same bytes no difference is a fact; else values of two levels agree by chance.
        if (pairs.same_bytes or len(set(values)) > 2) and not any(pairs.differences):
            return no_change(len(pairs.ids), len(set(pairs.clusters)))
        return paired_change(
            pairs.differences, pairs.clusters, span=abs(best - worst), alpha=self.alpha,
            granularity=least_distance(values), higher_is_better=self.higher_is_better,
            accepted=self.expected.accepts if self.expected else 0.0,
            gain=self.expected.gain if self.expected else None,
        )  # fmt: skip

    @cached_property
    def ends(self) -> tuple[float, float] | None:
        """The worst and the best value that a prompt which the sample lacks may have; None without pairs to compare."""
        if self.ours is None or self.pairs is None or self.obstacle is not None or self.of_sets is not None:
            return None
        return ends(self.ours, (self.pairs.candidate, self.pairs.baseline), self.pairs.clusters, self.expected)


@dataclass(frozen=True, kw_only=True)
class ClipChange:
    """One clip under one metric. `worse` is how much worse it got, above zero for worse, in the metric's units;
    None where there is nothing to compare with. Paths are relative to the folders the verdict names."""

    id: str
    metric: str
    prompt: str | None = None
    baseline: float | None = None
    candidate: float | None = None
    worse: float | None = None
    baseline_path: str | None = None
    candidate_path: str | None = None


def changes(
    baseline: Scores | None,
    scores: Scores,
    names: Iterable[str] | None = None,
    *,
    expected: Mapping[str, MetricPrior] | None = None,
    alpha: float = ALPHA,
    max_lost: float = MAX_LOST,
) -> dict[str, MetricChange]:
    """The change of each metric, by name; no result of a metric, however odd, raises.

    Args:
        names: of the metrics, in this order; None for all that both sides have.
        expected: what is known of a metric, by name.
        alpha: both bounds hold with 1 - alpha each.
        max_lost: share of the cases by which figures of two whole sets may differ.
    """
    clips = scores.by_id, {} if baseline is None else baseline.by_id
    sides = scores.by_name, {} if baseline is None else baseline.by_name
    by_name: dict[str, MetricChange] = {}
    for name in [name for name in sides[0] if name in sides[1]] if names is None else names:
        ours, theirs = (results.get(name) for results in sides)
        pairs, of_sets = _pairs(ours, theirs, *clips), None
        obstacle: Obstacle | None = "NO_BASELINE" if baseline is None else None
        if ours is None or ours.headline not in ours.figures:
            obstacle = "NO_FIGURE"
        elif theirs is not None and baseline is not None:
            obstacle = _statement_that_differs(ours, theirs)
            if not obstacle and not _is_mean(ours, theirs):
                accepted = expected[name].accepts if expected and name in expected else 0.0
                of_sets, obstacle = _of_sets(scores, baseline, ours, theirs, alpha, max_lost, accepted)
            elif not obstacle and pairs is None:
                obstacle = "NO_PAIRS"
        elif obstacle is None:
            obstacle = "NO_BASELINE_FIGURE"
        by_name[name] = MetricChange(
            name=name, ours=ours, theirs=theirs, pairs=pairs, obstacle=obstacle, of_sets=of_sets, alpha=alpha,
            expected=(expected or {}).get(name),
        )  # fmt: skip
    return by_name


def worst_clips(by_name: Mapping[str, MetricChange], *, limit: int = NUM_WORST, best: bool = False) -> list[ClipChange]:
    """At most `limit` clips of each of these metrics that got worse than the baseline's, worst first; `best`: that got
    better, best first.

    Metrics have units of their own: their clips are put in one order by how often the metric's mean change without its
    sign each of them changed.
    """
    ranked: list[tuple[float, ClipChange]] = []
    for name, one in by_name.items():
        if one.pairs is None or one.higher_is_better is None:
            continue
        pairs, sign = one.pairs, -1.0 if one.higher_is_better is not best else 1.0
        size = math.fsum(map(abs, pairs.differences)) / len(pairs.ids)
        worse = sorted(range(len(pairs.ids)), key=lambda n: (-sign * pairs.differences[n], pairs.ids[n]))
        for n in worse[:limit]:
            amount = sign * pairs.differences[n]
            if amount > 0:
                clip = ClipChange(
                    id=pairs.ids[n], metric=name, prompt=pairs.prompts[n], baseline=pairs.baseline[n],
                    candidate=pairs.candidate[n], worse=amount, baseline_path=pairs.paths[n][1],
                    candidate_path=pairs.paths[n][0],
                )  # fmt: skip
                ranked.append((-amount / size, clip))
    return [clip for _, clip in sorted(ranked, key=lambda pair: (pair[0], pair[1].id, pair[1].metric))]


def _is_mean(ours: MetricResult, theirs: MetricResult) -> bool:
    """Whether the metric is, or can be compared by, a mean over clips."""
    figure = ours.headline if ours.reduction == "mean" else ours.reduction
    return figure in ours.figures and bool(finite_values(ours.items) or finite_values(theirs.items))


def _statement_that_differs(ours: MetricResult, theirs: MetricResult) -> Obstacle | None:
    if theirs.headline not in theirs.figures:
        return "NO_BASELINE_FIGURE"
    return next((code for code, what in STATED.items() if getattr(ours, what) != getattr(theirs, what)), None)


def _pairs(
    ours: MetricResult | None,
    theirs: MetricResult | None,
    here: Mapping[str, ItemScores],
    there: Mapping[str, ItemScores],
) -> ClipPairs | None:
    """Clips with a value on both sides; a clip whose prompt has changed is another clip."""
    new, old = ({} if one is None else finite_values(one.items) for one in (ours, theirs))
    sides = {id: (here.get(id), there.get(id)) for id in sorted(set(new) & set(old))}
    sides = {id: (a, b) for id, (a, b) in sides.items()
             if a is None or b is None or a.prompt is None or b.prompt is None or a.prompt == b.prompt}  # fmt: skip
    if not sides:
        return None
    return ClipPairs(
        ids=tuple(sides),
        candidate=tuple(new[id] for id in sides),
        baseline=tuple(old[id] for id in sides),
        clusters=tuple((a and a.cluster) or (b and b.cluster) or id for id, (a, b) in sides.items()),
        num_candidate=len(new),
        num_baseline=len(old),
        same_bytes=all(a and b and a.content is not None and a.content == b.content for a, b in sides.values()),
        prompts=tuple(a.prompt if a else None for a, _ in sides.values()),
        paths=tuple((a.path if a else None, b.path if b else None) for a, b in sides.values()),
    )


def _of_sets(
    scores: Scores, baseline: Scores, ours: MetricResult, theirs: MetricResult, alpha: float, max_lost: float,
    accepted: float,
) -> tuple[Change | None, Obstacle | None]:  # fmt: skip
    """The change of a figure of whole sets, or what is in its way."""
    new, old = (one.figures[one.headline] for one in (ours, theirs))
    if abs(new.n - old.n) > max_lost * max(new.n, old.n):
        return None, "OTHER_NUMBER"
    num = min(len({clip.cluster for clip in side.clips}) or one.n for side, one in ((scores, new), (baseline, old)))
    try:
        return unpaired_change(new, old, num, higher_is_better=ours.higher_is_better, alpha=alpha,
                               accepted=accepted), None  # fmt: skip
    except ValueError:
        return None, "NO_INTERVAL"


def ends(
    result: MetricResult,
    sides: Iterable[Sequence[float]],
    clusters: Sequence[Hashable],
    expected: MetricPrior | None,
) -> tuple[float, float]:
    """The worst value and the best one that a prompt which the sample lacks may have: as is expected, or the ends of
    the metric's range; where that is open, `v2t_eval.core.bounds.beyond` the prompts of either side.

    Args:
        sides: values of the clips, one list a side.
        clusters: of each clip.
    """
    low, high = result.value_range
    if not (math.isfinite(low) and math.isfinite(high)):
        sums = [cluster_sums(values, clusters) for values in sides]
        means = [each[:, 0] / each[:, 1] for each in sums]
        low = low if math.isfinite(low) else min(-float(beyond(-each)) for each in means)
        high = high if math.isfinite(high) else max(float(beyond(each)) for each in means)
    worst, best = (low, high) if result.higher_is_better is not False else (high, low)
    if expected is not None:
        worst = worst if expected.worst is None else expected.worst
        best = best if expected.best is None else expected.best
    return worst, best


def finite_values(items: Sequence[Mapping[str, object]]) -> dict[str, float]:
    """The value of each item that has a number, by id; NaN and out-of-range values count as missing."""
    numbers: dict[str, float] = {}
    for item in items:
        value = item.get("value")
        if isinstance(value, int | float) and abs(value) < _GREATEST:
            numbers[str(item.get("id"))] = float(value)
    return numbers
