"""When learning has turned into pleasing the judge: by measures that are not in the reward.

In: the measures so far, the first of them of the model as it was. Out: why to stop, or None. The rules, each against
the start and on the same prompts and seeds:
- a judge or the referee has fallen beyond chance, by more than is tolerated, while the reward is higher;
- a guard is beyond its limit, and its change since the start is beyond chance.

Chance: the changes of a watcher (a judge, the referee) at a look (a measure after the start) are paired by clip and
clustered by prompt. Their mean is below zero where it is so under Dirichlet weights of the prompts and of one more,
which gained as much as the values seen are apart (the bound of Gaffke 2005, as in `v2t_eval.core.bounds`: it holds
for skew, ties and right-or-wrong), and by Student's test. 4 % are spent over all watchers and looks, however many looks
follow (Lan and DeMets 1983, by look and not by information: more rounds may be asked for later), 1 % over the guards.
What a look may spend is not divided by the number of watchers: they share their prompts, so one draw of weights is one
error for all of them. How often it errs and what it finds: docs/learning.md. Letters: K looks, V watchers, G prompts,
D draws.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from v2t_eval.core.changes import ClipPairs, changes
from v2t_eval.core.scores import Scores
from v2t_eval.core.sequential import p_values_and_levels, spent_until
from v2t_eval.core.statistics import TAIL, student, sum_by_cluster
from v2t_eval.learn.measures import REWARD
from v2t_eval.learn.settings import GuardLimit

ALPHA, OF_GUARDS = 0.05, 0.01  # of stopping a learning that does no harm, and the part of it that guards spend
WATCHERS = ("judge", "referee")  # roles


@dataclass(frozen=True, kw_only=True)
class Fall:
    """How sure it is that a watcher has fallen: it stops where `p`, of "not by more than tolerated", is below
    `level`."""

    p: float
    level: float


@dataclass(frozen=True, kw_only=True)
class Divergence:
    """The measure that diverged from the reward, and how; `kept`: which measure's model to return to."""

    measure: str
    reason: str
    kept: int = 0


def alpha_until(look: int) -> float:
    """How much of `ALPHA` the watchers spend up to a look, from 1."""
    return spent_until(ALPHA - OF_GUARDS, look)


def falls(history: Sequence[Scores], roles: Mapping[str, str], tolerated: Mapping[str, float]) -> dict[str, Fall]:
    """Of each watcher with values of clips, at the last measure against the start.

    Args:
        roles: of each metric. tolerated: by name, how much it may fall.
    """
    start, *later = history
    names = [name for name, role in roles.items() if role in WATCHERS and _pairs(start, start, name) is not None]
    if not names or not later:
        return {}
    clusters: dict[Hashable, None] = {clip.cluster: None for clip in start.clips}
    places, num = {cluster: place for place, cluster in enumerate(clusters)}, len(clusters)
    sums, spans = np.zeros((len(later), len(names), num, 2)), np.zeros((len(later), len(names)))
    for k, look in enumerate(later):
        for v, name in enumerate(names):
            pairs = _pairs(start, look, name)
            if pairs is not None:
                both = [*pairs.candidate, *pairs.baseline]
                spans[k, v] = max(both) - min(both)
                rows = np.stack([_gains(pairs, look, name), np.ones(len(pairs.ids))], axis=1)
                sums[k, v] = sum_by_cluster(rows, np.array([places[cluster] for cluster in pairs.clusters]), num)
    accepted = np.array([tolerated.get(name, 0.0) for name in names])
    p, levels = p_values_and_levels(sums, spans, accepted, alpha=ALPHA - OF_GUARDS)
    return {name: Fall(p=float(p[-1][v]), level=float(levels[-1])) for v, name in enumerate(names)}


def gain(start: Scores, now: Scores, name: str) -> float | None:
    """How much better a metric is, in the mean over the clips that have it both times; None where there are none."""
    pairs = _pairs(start, now, name)
    return None if pairs is None else _sign(now, name) * pairs.mean


def _pairs(start: Scores, now: Scores, name: str) -> ClipPairs | None:
    return changes(start, now, [name])[name].pairs


def _gains(pairs: ClipPairs, scores: Scores, name: str) -> np.ndarray:
    return _sign(scores, name) * np.array(pairs.differences)


def _sign(scores: Scores, name: str) -> float:
    return -1.0 if scores.by_name[name].higher_is_better is False else 1.0


def divergence(
    history: Sequence[Scores], roles: Mapping[str, str], limits: Sequence[GuardLimit],
    tolerated: Mapping[str, float] | None = None,
) -> Divergence | None:  # fmt: skip
    """Why to stop after the last measure, or None; `limits` of the guards."""
    if len(history) < 2:
        return None
    start, now, look = history[0], history[-1], len(history) - 1
    rise = gain(start, now, REWARD)
    if rise is not None and rise > 0:
        for name, fall in falls(history, roles, tolerated or {}).items():
            change = gain(start, now, name)
            if change is not None and fall.p < fall.level:
                text = f"{name} fell by {-change:.3f} since the start, beyond chance (p {fall.p:.2g}, stops below"
                reason = f"{text} {fall.level:.2g}), while the reward rose by {rise:.3f}"
                return Divergence(measure=name, reason=reason, kept=_last_not_lower(history, name))
    for guard in limits:
        if guard.metric not in now.by_name:
            continue
        value, first = now.by_name[guard.metric].value, start.by_name[guard.metric].value
        for limit, is_beyond in ((guard.least, value < (guard.least or 0) * first),
                                 (guard.most, value > (guard.most or 0) * first)):  # fmt: skip
            if (
                limit is not None
                and is_beyond
                and _guard_change(start, now, guard.metric) < guard_level(look, len(limits))
            ):
                reason = f"{guard.metric} is {value:.4g}, beyond {limit:g} times its {first:.4g} at the start"
                return Divergence(measure=guard.metric, reason=reason, kept=look - 1)
    return None


def guard_level(look: int, num_guards: int) -> float:
    """Below which p of "unchanged" one of so many guards stops that is beyond its limit."""
    return (alpha_until(look) - alpha_until(look - 1)) / (ALPHA - OF_GUARDS) * OF_GUARDS / num_guards


def moved_p(change: float, half: float, num: int) -> float:
    """P of "unchanged" of a figure's change, one-sided, from half of its 95 % interval and the number of prompts."""
    from scipy.stats import t

    if num < 2 or half <= 0:  # nothing is known of its spread, or it has none
        return 0.0
    return float(t.sf(abs(change) / half * student(num - 1, TAIL), num - 1))


def _guard_change(start: Scores, now: Scores, name: str) -> float:
    """The same of a guard: in pairs where it has values of clips, else as of independent sets."""
    results, pairs = (now.by_name[name], start.by_name[name]), _pairs(start, now, name)
    figures = [result.figures[result.headline] for result in results]
    halves = [max(one.high - one.value, one.value - one.low) for one in figures]
    if pairs is not None:
        halves = [max(pairs.interval.high - pairs.mean, pairs.mean - pairs.interval.low)]
    return moved_p(figures[0].value - figures[1].value, math.hypot(*halves), len({clip.cluster for clip in now.clips}))


def _last_not_lower(history: Sequence[Scores], name: str) -> int:
    """The last measure at which a watcher was not lower than at the start: proof takes longer than the fall."""
    for number in range(len(history) - 2, 0, -1):
        change = gain(history[0], history[number], name)
        if change is not None and change >= 0:
            return number
    return 0
