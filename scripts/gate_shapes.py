"""Shapes of data for scripts/measure_gate.py: what a candidate's scores may do, and how often the gate then errs.

In: a generator of random numbers, runs, prompts, harm. Out: the change of each prompt, candidate minus baseline, of
mean -harm, and the baseline's values where the shape has some of its own.
Letters: R runs, G prompts, S clips of a prompt.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np

MEAN, FALL, RISE = 0.8, 0.8, 0.2  # of the baseline in shapes that say nothing of it; it ends at 0 and 1
Drawn = tuple[np.ndarray, np.ndarray | None]  # sums (R, G, 2); baseline's mean of each prompt (R, G), None for MEAN
Draw = Callable[[np.random.Generator, int, int, float], Drawn]  # R, G, harm


@dataclass(frozen=True)
class Shape:
    """Changes of mean -harm, candidate minus baseline. `most`: greatest harm; `is_open`: values have no best end."""

    draw: Draw
    most: float = 0.95 * FALL
    is_open: bool = False


# --- shapes of the changes: mean -harm, candidate minus baseline


def plain(values: np.ndarray) -> Drawn:
    """One clip a prompt: (R, G) -> (R, G, 2)."""
    return one_each(np.clip(values, -FALL, RISE + FALL)), None


def one_each(values: np.ndarray) -> np.ndarray:
    """Sums of one clip a prompt."""
    return np.stack([values, np.ones_like(values)], axis=2)


def seeds(values: np.ndarray, there: np.ndarray) -> Drawn:
    """Several clips a prompt: values and whether they are there, (R, G, S) -> (R, G, 2)."""
    there[..., 0] |= ~there.any(2)
    return np.stack([(values * there).sum(2), there.sum(2)], axis=2), None


def lognormal_values(rng: np.random.Generator, runs: int, num: int) -> np.ndarray:
    """Lognormal, mean 0, standard deviation 0.1: most a little below, few far above."""
    return 0.1 * (rng.lognormal(0, 1, (runs, num)) - math.exp(0.5)) / math.sqrt((math.e - 1) * math.e)


def right_wrong(rng: np.random.Generator, runs: int, num: int, harm: float) -> Drawn:
    """Right or wrong on both sides: 3 % of the prompts change for the better, 3 % + harm for the worse."""
    draws = rng.random((runs, num))
    return one_each(np.where(draws < 0.03 + harm, -1.0, np.where(draws > 0.97, 1.0, 0.0))), None


def ties(rng: np.random.Generator, runs: int, num: int, harm: float) -> Drawn:
    """Most prompts do not change at all: 80 %, or fewer where a fifth could not carry the harm."""
    share = max(0.2, harm / 0.3)
    return plain(np.where(rng.random((runs, num)) < share, rng.normal(-harm / share, 0.22, (runs, num)), 0.0))


def concentrated_harm(rng: np.random.Generator, runs: int, num: int, harm: float) -> Drawn:
    """All harm in 3 % of the prompts, or in as few as can carry it; the others hardly change."""
    share = max(0.03, harm / FALL)
    values = rng.normal(0, 0.02, (runs, num))
    return plain(np.where(rng.random((runs, num)) < share, -harm / share if harm else values, values))


def both(rng: np.random.Generator, runs: int, num: int, harm: float) -> Drawn:
    """Half of the harm in every prompt, half in as few as can carry it."""
    values = rng.normal(-harm / 2, 0.05, (runs, num))
    return plain(np.where(rng.random((runs, num)) < harm / 2 / FALL, -FALL, values))


# --- shapes with a baseline of their own: a broken prompt loses all of its value


def only_falls(mean: float, rng: np.random.Generator, runs: int, num: int, harm: float) -> Drawn:
    """Right or wrong; nothing changes but that some right prompts become wrong."""
    base = (rng.random((runs, num)) < mean).astype(float)
    return one_each(-base * (rng.random((runs, num)) < harm / mean)), base


def two_values(
    low: float, high: float, share: float, rng: np.random.Generator, runs: int, num: int, harm: float
) -> Drawn:
    """A share of the prompts is good, more where they could not carry the harm; some of these are lost."""
    share = max(share, harm / high / 0.95)
    is_good = rng.random((runs, num)) < share
    base = np.where(is_good, high, low)
    lost = is_good & (rng.random((runs, num)) < harm / high / share)
    return one_each(np.where(lost, -base, rng.normal(0, 0.01, base.shape))), base


def few_gain(rng: np.random.Generator, runs: int, num: int, harm: float) -> Drawn:
    """Two of G prompts gain everything, on average; all others lose a little."""
    share = 2 / num
    gains = rng.random((runs, num)) < share
    base = np.where(gains, 0.0, 0.7)
    little = rng.normal(-(harm + share) / (1 - share), 0.02, base.shape)
    return one_each(np.where(gains, 1.0, np.maximum(little, -0.7))), base


def best_collapse(spread: float, rng: np.random.Generator, runs: int, num: int, harm: float) -> Drawn:
    """Lognormal of mean 1, not bounded; the greatest values that carry the harm are lost, the others hardly change."""
    from scipy.stats import norm

    base = rng.lognormal(-(spread**2) / 2, spread, (runs, num))
    limit = math.exp(spread * (spread - norm.ppf(harm)) - spread**2 / 2) if harm else math.inf
    return one_each(np.where(base > limit, -base, base * rng.normal(0, 0.02, base.shape))), base


def ties_at_the_end(rng: np.random.Generator, runs: int, num: int, harm: float) -> Drawn:
    """Four in five prompts are perfect; the others are drawn anew; broken ones are lost."""
    perfect = rng.random((runs, num)) < 0.8
    base, after = (np.where(perfect, 1.0, rng.random((runs, num))) for _ in range(2))
    return one_each(after * (rng.random((runs, num)) >= harm / 0.9) - base), base


def levels(rng: np.random.Generator, runs: int, num: int, harm: float) -> Drawn:
    """Four levels with floor and ceiling: each side rounds the prompt's quality and an error of its own."""
    own = rng.normal(0.65, 0.3, (runs, num))
    base, after = (np.clip(np.round(3 * (own + rng.normal(0, 0.1, own.shape))) / 3, 0, 1) for _ in range(2))
    return one_each(after * (rng.random(own.shape) >= harm / level_mean()) - base), base


@lru_cache(maxsize=1)
def level_mean() -> float:
    """Mean of `levels`."""
    from scipy.stats import norm

    return float(norm.sf((np.arange(3) + 0.5) / 3, 0.65, math.hypot(0.3, 0.1)).mean())


def alike(correlation: float, rng: np.random.Generator, runs: int, num: int, harm: float) -> Drawn:
    """Four clips a prompt, right or wrong, with this correlation between the seeds of one; broken prompts are lost."""
    both_ways = (1 / correlation - 1) / 2
    own = rng.beta(both_ways, both_ways, (runs, num, 1))
    base, after = (rng.random((runs, num, 4)) < own for _ in range(2))
    after &= rng.random((runs, num, 1)) >= harm / 0.5
    sums = after.sum(2) - base.sum(2).astype(float)
    return np.stack([sums, np.full_like(sums, 4)], axis=2), base.mean(2)


SHAPES: dict[str, Shape] = {
    "normal": Shape(lambda r, runs, n, h: plain(r.normal(-h, 0.1, (runs, n)))),
    "heavy tails (t, 3)": Shape(lambda r, runs, n, h: plain(0.1 * r.standard_t(3, (runs, n)) / math.sqrt(3) - h)),
    "few much worse": Shape(lambda r, runs, n, h: plain(-lognormal_values(r, runs, n) - h)),
    "few much better": Shape(lambda r, runs, n, h: plain(lognormal_values(r, runs, n) - h)),
    "right or wrong": Shape(right_wrong),
    "80 % ties": Shape(ties),
    "few prompts carry all": Shape(concentrated_harm),
    "half carried by few": Shape(both),
    "4 seeds, prompts differ": Shape(
        lambda r, runs, n, h: seeds(
            r.normal(-h, 0.08, (runs, n, 1)) + r.normal(0, 0.12, (runs, n, 4)), np.ones((runs, n, 4), dtype=bool)
        )
    ),
    "4 seeds, a fifth missing": Shape(
        lambda r, runs, n, h: seeds(
            r.normal(-h, 0.08, (runs, n, 1)) + r.normal(0, 0.12, (runs, n, 4)), r.random((runs, n, 4)) < 0.8
        )
    ),
    **{f"right or wrong, mean {mean}, only falls": Shape(partial(only_falls, mean), mean) for mean in (0.2, 0.5, 0.8)},
    "half at .05, half at .95": Shape(partial(two_values, 0.05, 0.95, 0.5)),
    "one in ten good, these collapse": Shape(partial(two_values, 0.1, 0.9, 0.1)),
    "few gain all, most lose a little": Shape(few_gain, 0.5),
    "not bounded, lognormal .5, best collapse": Shape(partial(best_collapse, 0.5), 0.95, is_open=True),
    "not bounded, lognormal 1, best collapse": Shape(partial(best_collapse, 1.0), 0.95, is_open=True),
    "80 % perfect": Shape(ties_at_the_end),
    "4 levels, floor and ceiling": Shape(levels, 0.6),
    "4 seeds, correlation .3": Shape(partial(alike, 0.3), 0.45),
    "4 seeds, correlation .8": Shape(partial(alike, 0.8), 0.45),
}  # fmt: skip
