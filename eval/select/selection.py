"""Best of n: of the clips made for one prompt, keep those with the highest score, and estimate the gain.

In: `Scores` of clips, several for each prompt, by a metric that chooses and optionally one that checks. Out: rank and
choice of every clip; for n = 1, 2, 4 … the expected value of the chosen clip, under the metric that chooses and under
the one that checks. The expectation is exact: over all subsets of n of the clips of a prompt, ties shared equally.
Letters: N clips of a prompt, n of them drawn, G prompts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from statistics import fmean

from cineloop.errors import UsageError
from cineloop.intervals import Interval
from v2t_eval.core.scores import ItemScores, Scores
from v2t_eval.core.statistics import mean_interval


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One clip among those of its prompt, with its value and rank by the metric that chooses (None without one, with
    `error`, its code and message), and its value by the one that checks.
    """

    clip: ItemScores
    value: float | None
    check: float | None = None
    rank: int | None = None
    kept: bool = False
    error: dict[str, str] | None = None

    @property
    def prompt(self) -> str:
        """What the clips of one group share; a clip without a prompt is a group of its own."""
        return self.clip.prompt or self.clip.id


@dataclass(frozen=True, kw_only=True)
class Gain:
    """The expected value of the best of n clips: a mean over `num_prompts` prompts with its 95 % interval."""

    n: int
    value: float
    low: float
    high: float
    num_prompts: int


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Every clip in the order of prompts and ranks. `mistakes`: (chosen clip, better one) of each prompt whose best
    clip by the metric `by` is not its best by `check`.
    """

    by: str
    check: str | None
    candidates: tuple[Candidate, ...]
    gains: dict[str, tuple[Gain, ...]]
    mistakes: tuple[tuple[Candidate, Candidate], ...]

    @property
    def kept(self) -> tuple[Candidate, ...]:
        return tuple(one for one in self.candidates if one.kept)

    @property
    def prompts_without(self) -> tuple[str, ...]:
        """Prompts of which no clip has a value, so that nothing was chosen."""
        chosen = {one.prompt for one in self.kept}
        return tuple(dict.fromkeys(one.prompt for one in self.candidates if one.prompt not in chosen))


def select(scores: Scores, by: str, *, keep: int = 1, check: str | None = None) -> Selection:
    """Choose among the clips of each prompt.

    Args:
        scores: with results of `by` and `check`; clips without a prompt are clips of one prompt of their own.
        by: title of the metric that chooses, in the direction that it declares.
        keep: clips to keep of each prompt, at least 1; of equal ones the first by id.
        check: title of the metric that checks, which does not affect the choice.

    Raises:
        UsageError: a metric without a preferred direction or without a value for each clip.
    """
    (values, sign), (checks, check_sign) = _values(scores, by), _values(scores, check)
    errors = {one["id"]: {"code": one["code"], "message": one["message"]} for one in scores.result(by).failures}
    by_prompt: dict[str, list[Candidate]] = {}
    for clip in sorted(scores.clips, key=lambda clip: (-sign * values.get(clip.id, -sign * math.inf), clip.id)):
        error = clip.error or errors.get(clip.id)
        one = Candidate(clip=clip, value=values.get(clip.id), check=checks.get(clip.id), error=error)
        group = by_prompt.setdefault(one.prompt, [])
        rank = None if one.value is None else len(group) + 1
        group.append(replace(one, rank=rank, kept=rank is not None and rank <= keep))
    groups = [by_prompt[prompt] for prompt in sorted(by_prompt)]
    gains, mistakes = {by: _gains(groups, "value", scores.result(by).value_range)}, []
    if check is not None:
        gains[check] = _gains(groups, "check", scores.result(check).value_range)
        for group in groups:
            known = [(check_sign * one.check, one) for one in group if one.rank is not None and one.check is not None]
            best = max(known, key=lambda pair: pair[0], default=None)
            if best is not None and best[0] > known[0][0]:
                mistakes.append((known[0][1], best[1]))
    every = tuple(one for group in groups for one in group)
    return Selection(by=by, check=check, candidates=every, gains=gains, mistakes=tuple(mistakes))


def _values(scores: Scores, name: str | None) -> tuple[dict[str, float], int]:
    """Value of each clip by id, and 1 where more is better, -1 where less is."""
    if name is None:
        return {}, 1
    result = scores.result(name)
    if result.higher_is_better is None:
        raise UsageError(
            f"{name} has no preferred direction, so it cannot choose", hint="v2t-eval list shows the directions"
        )
    values = {item["id"]: float(item["value"]) for item in result.items if item.get("value") is not None}
    if result.items and not values:
        raise UsageError(f"{name} gives no value for each clip", hint="choose by a metric of single clips")
    return values, 1 if result.higher_is_better else -1


def _gains(groups: Sequence[Sequence[Candidate]], field: str, value_range: tuple[float, float]) -> tuple[Gain, ...]:
    """For n = 1, 2, 4 … as far as any prompt has clips, over the prompts that have as many."""
    known = [[one for one in group if one.rank is not None and getattr(one, field) is not None] for group in groups]
    gains, n = [], 1
    while enough := [group for group in known if len(group) >= n]:
        means = [_mean_of_best(group, n, field) for group in enough]
        interval = mean_interval(means) if len(means) > 1 else Interval(means[0], means[0])
        low, high = max(interval.low, value_range[0]), min(interval.high, value_range[1])
        gains.append(Gain(n=n, value=fmean(means), low=low, high=high, num_prompts=len(means)))
        n *= 2
    return tuple(gains)


def _mean_of_best(group: Sequence[Candidate], n: int, field: str) -> float:
    """The mean of `field` of the best of n clips over all subsets of n of the N of `group`, which stands in order of
    rank. The best is the first of a tie with equal chances for all of the tie."""
    num, total, first = len(group), math.comb(len(group), n), 0
    expected = 0.0
    for _, tie in groupby(group, key=lambda one: one.value):
        members = list(tie)
        after = num - first  # clips from this tie on
        chance = (math.comb(after, n) - math.comb(after - len(members), n)) / total
        expected += chance * fmean(getattr(one, field) for one in members)
        first += len(members)
    return expected
