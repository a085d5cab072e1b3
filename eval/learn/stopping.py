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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from v2t_eval.core.statistics import TAIL, numbered, student, summed
from v2t_eval.learn.measures import REWARD, Measure, change
from v2t_eval.learn.settings import Guard

ALPHA, OF_GUARDS = 0.05, 0.01  # of stopping a learning that does no harm, and the part of it that guards spend
WATCHERS = ("judge", "referee")  # roles
_EVEN = 3  # looks by which half of it is spent
_DRAWS, _SEED = 4_000, 6


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


def spent(look: int) -> float:
    """How much of `ALPHA` the watchers spend up to a look, from 1."""
    return (ALPHA - OF_GUARDS) * look / (look + _EVEN)


def p_values_and_levels(
    sums: np.ndarray, spans: np.ndarray, tolerated: float | np.ndarray = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """P of "not fallen by more than tolerated" (K, V), and below which p each look stops (K,).

    Args:
        sums: (K, V, G, 2), of the changes of each prompt's clips, and how many there are.
        spans: (K, V), how far the values are apart. tolerated: see `falls`, or (V,).
    """
    num_looks, watchers, num, _ = sums.shape
    flat = sums.reshape(-1, num, 2)  # (K V, G, 2)
    size = flat[..., 1].sum(1) / np.maximum((flat[..., 1] > 0).sum(1), 1)  # clips of one prompt more
    weights = _weights(num)
    one_more = np.outer(size, weights[num])  # (K V, D)
    above = flat[..., 0] @ weights[:num] + spans.reshape(-1, 1) * one_more
    means = (above / (flat[..., 1] @ weights[:num] + one_more)).reshape(num_looks, watchers, _DRAWS)
    p = ((means >= -np.reshape(tolerated, (-1, 1))).sum(-1) + 1) / (_DRAWS + 1)
    return np.maximum(p, _student(sums, tolerated)), _levels(means)


def _levels(means: np.ndarray) -> np.ndarray:
    """Below which p each look stops (K,), from means under the same weights (K, V, D): so that what is `spent` is the
    share of the draws that are above the bound of any watcher at any look so far."""
    most = int(ALPHA * _DRAWS) + 1
    highest = np.argpartition(-means, most, axis=-1)[..., :most]
    highest = np.take_along_axis(highest, np.argsort(-np.take_along_axis(means, highest, -1), axis=-1), -1)
    ranks = np.ones(means.shape)  # from above; those beyond `most` do not matter
    np.put_along_axis(ranks, highest, (np.arange(most) + 1) / _DRAWS, axis=-1)
    least = ranks.min(1)  # (K, D)
    levels, alive = np.zeros(len(means)), np.ones(_DRAWS, dtype=bool)
    for look, rank in enumerate(least):
        left = int(spent(look + 1) * _DRAWS) - int((~alive).sum())
        levels[look] = np.partition(rank[alive], left)[left]  # so many of the draws that are left lie below
        alive &= rank >= levels[look]
    return levels


@lru_cache(maxsize=2)
def _weights(num: int) -> np.ndarray:
    """Dirichlet weights (G + 1, D); the last ones, which are Beta(1, G), are evenly spaced quantiles."""
    rng = np.random.default_rng(_SEED)
    more = 1 - ((rng.permutation(_DRAWS) + 0.5) / _DRAWS) ** (1 / num)
    rest = rng.standard_exponential((num, _DRAWS))
    return np.concatenate([rest / rest.sum(0) * (1 - more), more[None]])


def _student(sums: np.ndarray, tolerated: float | np.ndarray) -> np.ndarray:
    """Student's p (K, V), of a ratio over clusters; 1 where one prompt shows no spread."""
    from scipy.stats import t  # type: ignore[import-untyped]

    total, num = sums[..., 1].sum(-1), (sums[..., 1] > 0).sum(-1)
    value = sums[..., 0].sum(-1) / np.maximum(total, 1)
    pulls = (sums[..., 0] - value[..., None] * sums[..., 1]) / np.maximum(total, 1)[..., None]
    se = np.sqrt(num / np.maximum(num - 1, 1) * (pulls**2).sum(-1))
    p = t.cdf((value + tolerated) / np.maximum(se, 1e-300), np.maximum(num - 1, 1))
    return np.where(num > 1, p, 1.0)


def falls(history: Sequence[Measure], tolerated: Mapping[str, float]) -> dict[str, Fall]:
    """Of each watcher with values of clips, at the last measure against the start; `tolerated`: by name, how much it
    may fall."""
    start, *later = history
    names = [name for name, figure in start.figures.items() if figure.role in WATCHERS and figure.values]
    if not names or not later:
        return {}
    at, num = numbered(start.clusters.values())
    place = dict(zip(start.clusters, at.tolist(), strict=True))
    sums, spans = np.zeros((len(later), len(names), num, 2)), np.zeros((len(later), len(names)))
    for k, look in enumerate(later):
        for v, name in enumerate(names):
            now, then = look.figures[name].values, start.figures[name].values
            ids = [id for id in now if id in then]
            seen = [*(now[id] for id in ids), *(then[id] for id in ids)]
            spans[k, v] = max(seen, default=0.0) - min(seen, default=0.0)
            rows = np.array([[now[id] - then[id], 1.0] for id in ids]).reshape(-1, 2)
            sums[k, v] = summed(rows, np.array([place[id] for id in ids], dtype=np.int64), num)
    p, levels = p_values_and_levels(sums, spans, np.array([tolerated.get(name, 0.0) for name in names]))
    return {name: Fall(p=float(p[-1, v]), level=float(levels[-1])) for v, name in enumerate(names)}


def divergence(
    history: Sequence[Measure], guards: Sequence[Guard], tolerated: Mapping[str, float] | None = None
) -> Divergence | None:
    """Why to stop after the last measure, or None."""
    if len(history) < 2:
        return None
    start, now, look = history[0], history[-1], len(history) - 1
    rose = change(now, start, REWARD) if REWARD in now.figures else None
    if rose is not None and rose.value > 0:
        for name, fall in falls(history, tolerated or {}).items():
            fell = change(now, start, name)
            if fell is not None and fall.p < fall.level:
                text = f"{name} fell by {-fell.value:.3f} since the start, beyond chance (p {fall.p:.2g}, stops below"
                reason = f"{text} {fall.level:.2g}), while the reward rose by {rose.value:.3f}"
                return Divergence(measure=name, reason=reason, kept=_last_not_lower(history, name))
    for guard in guards:
        if guard.metric not in now.figures:
            continue
        value, first = now.figures[guard.metric].value, start.figures[guard.metric].value
        for limit, is_beyond in ((guard.least, value < (guard.least or 0) * first),
                                 (guard.most, value > (guard.most or 0) * first)):  # fmt: skip
            if limit is not None and is_beyond and _moved(start, now, guard.metric) < guard_level(look, len(guards)):
                reason = f"{guard.metric} is {value:.4g}, beyond {limit:g} times its {first:.4g} at the start"
                return Divergence(measure=guard.metric, reason=reason, kept=look - 1)
    return None


def guard_level(look: int, num_guards: int) -> float:
    """Below which p of "unchanged" one of so many guards stops that is beyond its limit."""
    return (spent(look) - spent(look - 1)) / (ALPHA - OF_GUARDS) * OF_GUARDS / num_guards


def moved_p(change: float, half: float, num: int) -> float:
    """P of "unchanged" of a figure's change, one-sided, from half of its 95 % interval and the number of prompts."""
    from scipy.stats import t

    if num < 2 or half <= 0:  # nothing is known of its spread, or it has none
        return 0.0
    return float(t.sf(abs(change) / half * student(num - 1, TAIL), num - 1))


def _moved(start: Measure, now: Measure, name: str) -> float:
    """The same of a guard: in pairs where it has values of clips, else as of independent sets."""
    both = now.figures[name], start.figures[name]
    moved = change(now, start, name)
    halves = [max(one.high - one.value, one.value - one.low) for one in (both if moved is None else (moved,))]
    return moved_p(both[0].value - both[1].value, math.hypot(*halves), len(set(now.clusters.values())))


def _last_not_lower(history: Sequence[Measure], name: str) -> int:
    """The last measure at which a watcher was not lower than at the start: proof takes longer than the fall."""
    for number in range(len(history) - 2, 0, -1):
        moved = change(history[number], history[0], name)
        if moved is not None and moved.value >= 0:
            return number
    return 0
