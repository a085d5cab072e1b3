"""Chance-corrected scores: the position of a score between its floor and its ceiling.

In: the table of pairs of one family: each caption with its own prompt, and with other prompts, of the generator and of
the ceiling. Out: `FamilyCalibration`: chance-corrected scores (s - floor) / (ceiling - floor), the same of captions of
other prompts (its interval must contain 0), and AUROC of matched against mismatched pairs, each with a 95 % interval by
the jackknife over prompts: leaving a prompt out removes all its clips, and all pairs with it on either side, from
floor, generator and ceiling at once. A figure that is undefined without one of the prompts (no room between floor and
ceiling) depends on that prompt; it has no interval and is not given. Letters: G prompts, n scores.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from cineloop.intervals import Interval
from v2t_eval.core.statistics import Estimate, UndefinedError, aurocs_without_each, estimate_without_each, unless_flat

_SCORES, _SHARES, _ANY = Interval(-math.inf, 1.0), Interval(0.0, 1.0), Interval(-math.inf, math.inf)
_LEAST_ROOM = 1e-6  # between floor and ceiling, below which the ratio is undefined


SampleKey = tuple[str, str, str]  # side, id of the trip, prompt


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A prompt and a caption, or a clip, of its own or of another prompt: one row of the table.

    Attributes:
        prompt, other: numbers of the prompt, and of that whose caption or clip it is; equal where they belong together.
        half: of the mismatched pairs: 0 makes the floor, 1 tests it.
        side: generator or ceiling. what: caption or clip.
        sample: key of the sample in which it is scored.
        value: its score in the family that is looked at.
    """

    prompt: int
    other: int
    half: int = 0
    side: str = "generator"
    what: str = "caption"
    sample: SampleKey = ("", "", "")
    value: float = math.nan


@dataclass(frozen=True, kw_only=True)
class FamilyCalibration:
    """One family of scores.

    Attributes:
        floor: mean of the generator's captions with other prompts. generator, ceiling: mean with their own.
        corrected: (generator - floor) / (ceiling - floor); without a ceiling, of (1 - floor).
        deranged: the same of captions of other prompts that are not part of the floor; its interval must contain 0.
        ceiling_corrected: (ceiling - its own floor) / (1 - its own floor).
        auroc, ceiling_auroc: probability that a caption with its own prompt scores above one with another.
        prompts: how many prompts are compared; those that lack a score on either side are left out.
    """

    floor: Estimate | None = None
    generator: Estimate | None = None
    ceiling: Estimate | None = None
    corrected: Estimate | None = None
    deranged: Estimate | None = None
    ceiling_corrected: Estimate | None = None
    auroc: Estimate | None = None
    ceiling_auroc: Estimate | None = None
    prompts: int = 0
    notes: tuple[str, ...] = field(default=())


def others(num: int, most: int, same: Callable[[int, int], bool], seed: int = 0) -> list[list[int]]:
    """For each of `num` prompts up to `most` others whose captions it is compared with, never its own and none that is
    the `same`. All prompts and all captions occur equally often: each round is a derangement."""
    order = list(range(num))
    random.Random(f"derangements|{seed}").shuffle(order)
    place = {prompt: at for at, prompt in enumerate(order)}
    compared: list[list[int]] = [[] for _ in range(num)]
    for shift in range(1, num):
        if all(len(each) >= most for each in compared):
            break
        for prompt in range(num):
            other = order[(place[prompt] + shift) % num]
            if len(compared[prompt]) < most and not same(prompt, other):
                compared[prompt].append(other)
    return compared


def calibrate(table: Sequence[Pair]) -> FamilyCalibration:
    """The figures of one family; scores lie within 0 (or below) and 1, the best there can be."""
    (matched, mismatched), (ceiling_matched, ceiling_mismatched) = (
        [[pair for pair in table if pair.side == side and (pair.prompt == pair.other) == own] for own in (True, False)]
        for side in ("generator", "ceiling")
    )
    known = {pair.prompt for pair in matched}
    prompts = sorted(known & {pair.prompt for pair in ceiling_matched} if ceiling_matched else known)
    if not prompts:
        return FamilyCalibration(notes=("no prompt has a score on both sides",) if ceiling_matched else ())
    number = {prompt: at for at, prompt in enumerate(prompts)}
    own = _Scores(matched, number)
    halves = [_Scores([pair for pair in mismatched if pair.half == half], number) for half in (0, 1)]
    wrong = _Scores(mismatched, number)
    top = _Scores(ceiling_matched, number)
    top_floor = _Scores([pair for pair in ceiling_mismatched if pair.half == 0], number)
    top_wrong = _Scores(ceiling_mismatched, number)

    notes: list[str] = []

    def estimate(
        name: str, values: Callable[[], np.ndarray], *needs: _Scores, ends: Interval = _SCORES
    ) -> Estimate | None:
        if any(not len(scores) for scores in needs):
            return None
        try:
            return _estimate(values(), ends)
        except UndefinedError as error:
            if error.lost:
                few = f"it is undefined without one of {error.lost} of {len(prompts)} prompts"
                notes.append(f"{name} cannot be given: {few}")
            return None

    best = top.means() if len(top) else np.ones(len(prompts) + 1)

    def between(scores: _Scores) -> Callable[[], np.ndarray]:
        return lambda: _ratio(scores.means() - halves[0].means(), best - halves[0].means())

    return FamilyCalibration(
        floor=estimate("floor", halves[0].means, halves[0]),
        generator=estimate("generator", own.means, own),
        ceiling=estimate("ceiling", top.means, top),
        corrected=estimate("corrected", between(own), own, halves[0], ends=_ANY),
        deranged=estimate("deranged", between(halves[1]), halves[1], halves[0], ends=_ANY),
        ceiling_corrected=estimate("ceiling_corrected", lambda: _above(top, top_floor), top, top_floor),
        auroc=estimate("auroc", lambda: _aurocs(own, wrong), own, wrong, ends=_SHARES),
        ceiling_auroc=estimate("ceiling_auroc", lambda: _aurocs(top, top_wrong), top, top_wrong, ends=_SHARES),
        prompts=len(prompts),
        notes=tuple(notes),
    )


class _Scores:
    """Scores with the prompts they depend on, as arrays (n,). What is asked of them is an array (G + 1,): of all, then
    without each prompt, so that it takes no more memory than the scores."""

    def __init__(self, pairs: Sequence[Pair], number: dict[int, int]) -> None:
        kept = [pair for pair in pairs if pair.prompt in number and pair.other in number]
        self.values = np.array([pair.value for pair in kept], dtype=np.float64)
        self.first = np.array([number[pair.prompt] for pair in kept], dtype=np.int64)
        self.second = np.array([number[pair.other] for pair in kept], dtype=np.int64)
        self.num_prompts = len(number)

    def __len__(self) -> int:
        return len(self.values)

    def with_prompts(self) -> tuple[np.ndarray, np.ndarray]:
        """The number of each score and of a prompt that it depends on, (m,) each: one prompt of its own, or two."""
        mixed = np.flatnonzero(self.first != self.second)
        return np.concatenate([np.arange(len(self)), mixed]), np.concatenate([self.first, self.second[mixed]])

    def sums(self, of: np.ndarray) -> np.ndarray:
        """(G + 1,): sums of something of each score (n,)."""
        at, prompts = self.with_prompts()
        return of.sum() - np.concatenate([[0.0], np.bincount(prompts, of[at], self.num_prompts)])

    def means(self) -> np.ndarray:
        """(G + 1,)"""
        return _ratio(self.sums(self.values), self.sums(np.ones(len(self))))


def _aurocs(own: _Scores, wrong: _Scores) -> np.ndarray:
    """(G + 1,): share of pairs in which the matched score is above the mismatched one, ties one half."""
    return aurocs_without_each(own.values, wrong.values, own.with_prompts(), wrong.with_prompts(), own.num_prompts)


def _above(scores: _Scores, floor: _Scores) -> np.ndarray:
    """How far scores are above their floor, of the way to 1, (G + 1,)."""
    return _ratio(scores.means() - floor.means(), 1 - floor.means())


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """First over second; NaN where the denominator is near 0."""
    return np.divide(above, below, out=np.full(len(above), np.nan), where=np.abs(below) > _LEAST_ROOM)


def _estimate(values: np.ndarray, ends: Interval) -> Estimate:
    """The figure of all prompts and without each (G + 1,) with its interval, clipped to its range."""
    num = len(values) - 1
    value, interval = estimate_without_each(float(values[0]), values[1:], ends)
    if num == 1:
        interval = Interval(value, value)
    if interval.high - interval.low < 1e-9 and 0 <= value <= 1:  # zero observed spread does not prove zero variance
        interval = unless_flat(interval, value, num)
    return Estimate(value=value, low=interval.low, high=interval.high, n=num)
