"""The change of each metric from a baseline to a candidate, and the clips that changed most; decides nothing.

In: two `Scores` that may be compared (`v2t_eval.gate.comparable`). Out: a `MetricComparison` for a metric: its change
between bounds, or why there is none. The arithmetic is in `v2t_eval.gate.statistics`, docs/gate-statistics.md gives its
error rates.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from v2t_eval.core.metric import Figure, MetricResult
from v2t_eval.core.scores import Scored, Scores
from v2t_eval.gate import reasons
from v2t_eval.gate.policy import Rule
from v2t_eval.gate.statistics import (
    Change,
    beyond,
    finite_values,
    invisible_share,
    least_change,
    least_step,
    no_change,
    paired_change,
    sums_of,
    unpaired_change,
)
from v2t_eval.gate.verdict import ClipChange, Outcome

NUM_WORST = 10  # clips of each metric
ALPHA, POWER, MAX_LOST = 0.05, 0.8, 0.02  # where no policy says otherwise


@dataclass(frozen=True, kw_only=True)
class MetricComparison:
    """One metric on both sides.

    Attributes:
        mine, its: the candidate's result and the baseline's.
        change: candidate minus baseline; without one, `outcome` and `why` say what that makes of a rule.
        blocked: why nothing may be decided by it; "" where it may.
        ends: the worst and the best value that a prompt which the sample lacks may have.
        notes: further remarks for the reader.
    """

    name: str
    mine: MetricResult | None
    its: MetricResult | None
    change: Change | None = None
    blocked: str = ""
    ends: tuple[float, float] | None = None
    outcome: Outcome = "inconclusive"
    why: str = ""
    notes: tuple[str, ...] = ()

    @property
    def higher_is_better(self) -> bool | None:
        known = self.mine or self.its
        return True if known is None else known.higher_is_better

    @property
    def figures(self) -> tuple[Figure | None, Figure | None]:
        """The candidate's figure and the baseline's."""
        mine, its = (None if one is None else one.figures.get(one.headline) for one in (self.mine, self.its))
        return mine, its

    def detectable(self, *, accepted: float, alpha: float, power: float, num_tests: int) -> float | None:
        """The least harm that would be detected, see `v2t_eval.gate.statistics.least_change`."""
        if self.change is None or not self.change.se:
            return None
        return least_change(self.change, accepted=accepted, alpha=alpha, power=power, num_tests=max(num_tests, 1))


def compare(
    candidate: Scores,
    baseline: Scores | None,
    name: str,
    *,
    alpha: float = ALPHA,
    max_lost: float = MAX_LOST,
    rule: Rule | None = None,
) -> MetricComparison:
    """The change of the metric called `name`; no result of a metric, however odd, raises. Both bounds hold with
    1 - alpha each."""
    mine, its = candidate.by_name.get(name), baseline.by_name.get(name) if baseline else None
    found = MetricComparison(name=name, mine=mine, its=its)
    if mine is None or mine.headline not in mine.figures:
        return replace(found, why=f"the candidate has no {name}: no clip could be scored")
    found = replace(found, outcome="not_comparable")
    if baseline is None:
        return replace(found, why="there is no baseline to compare with")
    if its is None or its.headline not in its.figures:
        return replace(found, why=f"the baseline has no {name}")
    for what in ("headline", "higher_is_better", "value_range"):
        if getattr(mine, what) != getattr(its, what):
            return replace(found, why=f"{what} is {getattr(mine, what)} here and {getattr(its, what)} in the baseline")
    figure = mine.headline if mine.reduction == "mean" else mine.reduction
    found = replace(found, blocked=reasons.below_minimum(mine, its))
    if figure not in mine.figures or not (finite_values(mine.items) or finite_values(its.items)):
        return _of_sets(found, candidate, baseline, alpha, max_lost, rule)
    found = _of_pairs(found, candidate, baseline, alpha, rule)
    if figure != mine.headline:
        found = replace(found, notes=(f"compared by {figure}, which is a mean over clips", *found.notes))
    return found


def worst_clips(
    candidate: Scores, baseline: Scores | None, names: Iterable[str], *, limit: int = NUM_WORST
) -> list[ClipChange]:
    """At most `limit` clips of each of these metrics that got worse than the baseline's, worst first.

    Metrics have units of their own: their clips are put in one order by how often the metric's mean change without its
    sign each of them changed.
    """
    found: list[tuple[float, ClipChange]] = []
    if baseline is None:
        return []
    ours, theirs = candidate.by_id, baseline.by_id
    for name in names:
        mine, its = candidate.by_name.get(name), baseline.by_name.get(name)
        if mine is None or its is None or mine.higher_is_better is None:
            continue
        new, old = finite_values(mine.items), finite_values(its.items)
        shared = _shared_ids(ours, theirs, new, old)
        sign = -1.0 if mine.higher_is_better else 1.0
        size = math.fsum(abs(new[id] - old[id]) for id in shared) / max(len(shared), 1)
        worse = sorted(((sign * (new[id] - old[id]), id) for id in shared), key=lambda pair: (-pair[0], pair[1]))
        for amount, id in worse[:limit]:
            if amount > 0:
                here, there = ours.get(id), theirs.get(id)
                change = ClipChange(
                    id=id, metric=name, prompt=here.prompt if here else None, baseline=old[id], candidate=new[id],
                    worse=amount, baseline_path=there.path if there else None,
                    candidate_path=here.path if here else None,
                )  # fmt: skip
                found.append((-amount / size, change))
    return [change for _, change in sorted(found, key=lambda pair: (pair[0], pair[1].id, pair[1].metric))]


def ends(
    result: MetricResult, sides: Iterable[Sequence[float]], clusters: Sequence[Hashable], rule: Rule | None
) -> tuple[float, float]:
    """The worst value and the best one that a prompt which the sample lacks may have: as the rule says, or the ends of
    the metric's range; where that is open, `v2t_eval.gate.statistics.beyond` the prompts of either side.

    Args:
        sides: values of the clips, one list a side.
        clusters: of each clip.
    """
    low, high = result.value_range
    if not (math.isfinite(low) and math.isfinite(high)):
        sums = [sums_of(values, clusters) for values in sides]
        means = [each[:, 0] / each[:, 1] for each in sums]
        low = low if math.isfinite(low) else min(-float(beyond(-each)) for each in means)
        high = high if math.isfinite(high) else max(float(beyond(each)) for each in means)
    worst, best = (low, high) if result.higher_is_better is not False else (high, low)
    if rule is not None:
        worst = worst if rule.worst is None else rule.worst
        best = best if rule.best is None else rule.best
    return worst, best


def _of_pairs(
    found: MetricComparison, candidate: Scores, baseline: Scores, alpha: float, rule: Rule | None
) -> MetricComparison:
    mine, its = found.mine, found.its
    if mine is None or its is None:
        return found
    new, old, ours, theirs = finite_values(mine.items), finite_values(its.items), candidate.by_id, baseline.by_id
    ids = _shared_ids(ours, theirs, new, old)
    if not ids:
        return replace(found, why="no clip has a value on both sides")
    first, second = [new[id] for id in ids], [old[id] for id in ids]
    clips = [(ours.get(id), theirs.get(id)) for id in ids]
    clusters = [(a and a.cluster) or (b and b.cluster) or id for id, (a, b) in zip(ids, clips, strict=True)]
    differences = [a - b for a, b in zip(first, second, strict=True)]
    worst, best = ends(mine, (first, second), clusters, rule)
    # Where both sides hold the same bytes no difference is a fact; else values of two levels agree by chance.
    same = all(a and b and a.content is not None and a.content == b.content for a, b in clips)
    if (same or len({*first, *second}) > 2) and not any(differences):
        change = no_change(len(ids), len(set(clusters)))
    else:
        change = paired_change(
            differences, clusters, span=abs(best - worst), alpha=alpha, step=least_step([*first, *second]),
            higher_is_better=mine.higher_is_better, accepted=rule.accepts if rule else 0.0,
        )  # fmt: skip
    notes = [f"every value is {first[0]:g} on both sides"] if len({*first, *second}) == 1 else []
    if len(ids) < len(new) or len(ids) < len(old):
        notes.append(reasons.unpaired_clips(len(ids), len(new), len(old)))
    if spread := reasons.spread(differences, second, clusters):
        notes.append(spread)
    if rule is not None and rule.margin is not None and change.low < change.high:
        share = invisible_share(change.num_clusters, alpha)
        notes.append(reasons.invisible_prompts(change.num_clusters, share, best, worst, alpha))
    return replace(found, change=change, ends=(worst, best), notes=tuple(notes))


def _of_sets(
    found: MetricComparison, candidate: Scores, baseline: Scores, alpha: float, max_lost: float, rule: Rule | None
) -> MetricComparison:
    new, old = found.figures
    if new is None or old is None:
        return found
    if abs(new.n - old.n) > max_lost * max(new.n, old.n):
        return replace(found, why=f"it is a figure of a whole set: {new.n} cases here, {old.n} in the baseline")
    sides = ((candidate, new), (baseline, old))
    num = min(len({clip.cluster for clip in side.clips}) or figure.n for side, figure in sides)
    try:
        change = unpaired_change(
            new, old, num, higher_is_better=found.higher_is_better, alpha=alpha, accepted=rule.accepts if rule else 0.0
        )
    except ValueError:
        why = "a figure of a whole set without an interval: its spread is unknown"
        return replace(found, outcome="inconclusive", why=why)
    note = "unpaired: a figure of the whole set, compared as of independent sets"
    return replace(found, change=change, notes=(note,))


def _shared_ids(
    ours: Mapping[str, Scored], theirs: Mapping[str, Scored], new: Mapping[str, float], old: Mapping[str, float]
) -> list[str]:
    """Clips with a value on both sides, sorted; a clip whose prompt has changed is another clip."""
    found = []
    for id in sorted(set(new) & set(old)):
        here, there = (side[id].prompt if id in side else None for side in (ours, theirs))
        if here is None or there is None or here == there:
            found.append(id)
    return found
