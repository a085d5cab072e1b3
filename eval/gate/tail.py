"""Tail test: more fallen prompts than the seeds explain, which a mean over all prompts hides.

In: values of the same clips on both sides and their prompts. Out: a `Tail` with an exact p-value. Hypothesis: for every
prompt, the candidate's clips plus the accepted harm and the baseline's clips are draws of one distribution; so each way
to split a prompt's 2S values into two halves is as likely as the observed one. The limit T is the fall that these
splits exceed for so few prompts in all that two of them are unlikely; it depends on the values alone and not on their
side, so the number of prompts that fell by more than T is a sum of independent, known chances (Poisson binomial).
Where clips of one seed are alike on both sides, the test errs to the safe side.
It decides nothing: a few broken prompts may be less than the harm that the rule accepts. Letters: P prompts, S seeds.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

import numpy as np

_MOST_SPLITS = 924  # all of six seeds a side; of more seeds so many at random


@dataclass(frozen=True, kw_only=True)
class Tail:
    """`fallen` prompts of `num` that were tested fell by more than `limit`, farthest first; `p` of so many or more."""

    fallen: tuple[Hashable, ...]
    num: int
    limit: float
    p: float


def tail_test(
    candidate: Sequence[float] | np.ndarray,
    baseline: Sequence[float] | np.ndarray,
    prompts: Sequence[Hashable],
    *,
    accepted: float,
    alpha: float,
) -> Tail | None:
    """The test over prompts with two clips or more on each side; None where there are fewer than two such prompts.
    Higher values are better; `accepted`: fall of every clip that is acceptable.
    """
    from scipy.special import gammaincinv  # type: ignore[import-untyped]

    groups: dict[Hashable, list[int]] = {}
    for place, prompt in enumerate(prompts):
        groups.setdefault(prompt, []).append(place)
    tested = {prompt: places for prompt, places in groups.items() if len(places) > 1}
    if len(tested) < 2:
        return None
    new, old = np.asarray(candidate, dtype=np.float64) + accepted, np.asarray(baseline, dtype=np.float64)
    falls = [_falls(np.concatenate([new[places], old[places]])) for places in tested.values()]
    limit = _limit(falls, float(gammaincinv(2, alpha)))  # P(two or more of a Poisson number) = alpha
    observed = {prompt: float(each[0]) for prompt, each in zip(tested, falls, strict=True)}
    fallen = sorted((prompt for prompt in tested if observed[prompt] > limit), key=lambda prompt: -observed[prompt])
    p = _at_least(len(fallen), [float((each > limit).mean()) for each in falls])
    return Tail(fallen=tuple(fallen), num=len(tested), limit=limit + accepted, p=p)


def _falls(values: np.ndarray) -> np.ndarray:
    """The fall of the mean in each split of (2S,) values into halves; the observed split, the first half against the
    second, comes first."""
    size = len(values) // 2
    falls: np.ndarray = np.round((values.sum() - 2 * values[_splits(size)].sum(1)) / size, 12)
    return falls


@lru_cache(maxsize=16)
def _splits(size: int) -> np.ndarray:
    """Places of the first half in each split, int (splits, S)."""
    if size <= 6:
        return np.array(list(combinations(range(2 * size), size)))
    rng = np.random.default_rng(size)
    drawn = [rng.permutation(2 * size)[:size] for _ in range(_MOST_SPLITS - 1)]
    return np.array([np.arange(size), *drawn])


def _limit(falls: Sequence[np.ndarray], expected: float) -> float:
    """The least fall, not below zero, that in all at most `expected` prompts exceed by chance."""
    values = np.concatenate(falls)
    chances = np.concatenate([np.full(len(each), 1 / len(each)) for each in falls])
    levels, places = np.unique(values, return_inverse=True)
    weight = np.bincount(places, chances)
    beyond = weight.sum() - np.cumsum(weight)  # expected prompts above each level
    return max(0.0, float(levels[np.argmax(beyond <= expected + 1e-9)]))


def _at_least(count: int, chances: Sequence[float]) -> float:
    """P of `count` or more of independent events."""
    odds = np.array([1.0])  # of 0, 1, 2 … events
    for chance in chances:
        odds = np.convolve(odds, (1 - chance, chance))
    return min(1.0, float(odds[count:].sum()))
