"""How far values agree with people's votes, how far people agree among themselves, and the difference that people see.

In: for each vote a value's difference of left and right and who won. Out: pairwise accuracy with ties (Deutsch et al.
2023, arXiv:2305.14324, as VideoReward, arXiv:2501.13918, reports it) and without, Cohen's kappa over left, tie and
right, each with an interval over prompts. A value calls a tie where its difference is at most a threshold; that of one
half of the prompts is chosen on the other half, so that no accuracy is of votes that chose it (leaving out one prompt
at a time would not do: where the value knows nothing, each prompt tips the choice against itself). Left and right are
names of places and not kinds, so chance agreement counts each vote in both orders. Between people: Krippendorff's alpha
(nominal, any number of votes a pair) and the share of two votes on one pair that agree. The difference that people see
is the one at which three in four prefer the better side: a logistic curve through one half at no difference, ties half
for either.
Letters: n votes, G prompts, C candidates of a threshold.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from math import log

import numpy as np

from v2t_eval.core.statistics import (
    Estimate,
    UndefinedError,
    estimate_of_sums,
    jackknife_interval,
    number_clusters,
    sum_by_cluster,
    weighted_shares,
)
from v2t_eval.rank.bradley_terry import LEFT, RIGHT, TIE
from v2t_eval.rank.votes import PairVote

SEEN_BY = 0.75  # share that prefers the better side at a difference that people see
_MOST_CANDIDATES = 200
_STEPS = 50


@dataclass(frozen=True, kw_only=True)
class PeopleAgreement:
    """One judge's or metric's agreement with votes.

    Attributes:
        with_ties: share of votes that it predicts, ties among them.
        without_ties: the same of votes that are no ties; equal values count one half. None: every vote is a tie.
        kappa: Cohen's, of left, tie and right. None: chance alone agrees fully.
        tie_below: the difference up to which it calls a tie, chosen on all votes.
        seen: the difference that people see, see the module's head; its `high` is None where the votes leave open
            whether any difference is seen, and all three are where larger ones are not preferred.
        voted: votes, and how many of them had no value.
    """

    name: str
    with_ties: Estimate
    without_ties: Estimate | None
    kappa: Estimate | None
    tie_below: float
    seen: tuple[float | None, float | None, float | None]
    voted: int
    without_value: int = 0


def agreement_with(
    name: str, differences: Sequence[float], winners: Sequence[int], prompts: Sequence[Hashable], *, lost: int = 0
) -> PeopleAgreement:
    """The agreement of a value with votes.

    Args:
        differences: (n,) value of left less that of right, in the direction in which more is better.
        winners: (n,) of LEFT, TIE, RIGHT.
        lost: votes whose clips have no value.

    Raises:
        ValueError: no vote.
    """
    gap, winner = np.asarray(differences, dtype=np.float64), np.asarray(winners, dtype=np.int64)
    if not len(gap):
        raise ValueError("agreement needs at least one vote")
    at, num = number_clusters(prompts)
    candidates = np.unique(np.abs(np.concatenate([[0.0], gap])))
    if len(candidates) > _MOST_CANDIDATES:
        candidates = np.quantile(candidates, np.linspace(0, 1, _MOST_CANDIDATES), method="nearest")
    right = _calls(gap[:, None], candidates) == winner[:, None]  # (n, C)
    by_prompt = sum_by_cluster(right.astype(float), at, num)  # (G, C)
    total = by_prompt.sum(0)
    half = np.random.default_rng(0).permutation(num) % 2  # of each prompt
    chosen = np.array([(total - by_prompt[half == each].sum(0)).argmax() for each in (0, 1)])[half]  # (G,)
    calls = _calls(gap, candidates[chosen[at]])
    hits = (calls == winner).astype(float)
    decided = winner != TIE
    plain = np.where(gap == 0, 0.5, (_calls(gap, 0.0) == winner).astype(float))
    return PeopleAgreement(
        name=name,
        with_ties=_share(hits, prompts),
        without_ties=_share(plain[decided], [p for p, is_one in zip(prompts, decided, strict=True) if is_one])
        if decided.any()
        else None,
        kappa=_kappa(calls, winner, hits, prompts),
        tie_below=float(candidates[total.argmax()]),
        seen=seen_difference(gap, winner, at, num),
        voted=len(gap) + lost,
        without_value=lost,
    )


def _calls(gap: np.ndarray, below: np.ndarray | float) -> np.ndarray:
    """What a difference says at thresholds of a tie."""
    return np.where(np.abs(gap) <= below, TIE, np.where(gap > 0, LEFT, RIGHT))


def _share(right: np.ndarray, prompts: Sequence[Hashable]) -> Estimate:
    value, (low, high) = weighted_shares(right[:, None], np.ones((len(right), 1)), (1.0,), prompts)
    return Estimate(value=value, low=low, high=high, n=len(right))


def _kappa(calls: np.ndarray, winner: np.ndarray, hits: np.ndarray, prompts: Sequence[Hashable]) -> Estimate | None:
    """Cohen's kappa with each vote in both orders; its interval is that of the share that agree, with agreement by
    chance as it is, as for the audit's kappa."""
    ties = float((calls == TIE).mean()), float((winner == TIE).mean())
    luck = ties[0] * ties[1] + (1 - ties[0]) * (1 - ties[1]) / 2
    if luck >= 1:
        return None
    share = _share(hits, prompts)
    value, low, high = ((each - luck) / (1 - luck) for each in (share.value, share.low, share.high))
    return Estimate(value=value, low=max(-1.0, low), high=high, n=share.n)


def seen_difference(
    gap: np.ndarray, winner: np.ndarray, at: np.ndarray, num: int
) -> tuple[float | None, float | None, float | None]:
    """The difference at which three in four prefer the better side, with its interval by the jackknife over prompts."""
    moved = gap != 0
    scale = float(np.abs(gap).max(initial=0.0))
    if not scale or num < 2:
        return None, None, None
    size = np.abs(gap[moved]) / scale
    is_better = np.where(winner[moved] == TIE, 0.5, (winner[moved] == _calls(gap[moved], 0.0)).astype(float))
    cluster = at[moved]
    slope = _slope(size, is_better)
    left_out = [_slope(size[cluster != each], is_better[cluster != each], slope) for each in range(num)]
    low, high = jackknife_interval(slope, left_out)
    odds = log(SEEN_BY / (1 - SEEN_BY)) * scale
    value, least, most = (odds / each if each > 0 else None for each in (slope, high, low))
    return value, least, most


def _slope(size: np.ndarray, is_better: np.ndarray, start: float = 0.0) -> float:
    """The slope of a logistic curve through one half at 0, under a normal prior of standard deviation 30, by Newton's
    method; `size` is within 0 and 1."""
    slope = start
    for _ in range(_STEPS):
        chance = 1 / (1 + np.exp(-slope * size))
        first = float((size * (is_better - chance)).sum()) - slope / 900
        step = first / (float((size**2 * chance * (1 - chance)).sum()) + 1 / 900)
        slope += max(-5.0, min(5.0, step))
        if abs(step) < 1e-8:
            break
    return slope


@dataclass(frozen=True, kw_only=True)
class BetweenVoters:
    """How far voters agree on pairs that two or more of them saw: `alpha` is Krippendorff's, None where all say the
    same of everything; `same`: the share of two votes on one pair that agree; `pairs`, `voters`: how many."""

    alpha: Estimate | None
    same: Estimate
    pairs: int
    voters: int


def between_voters(votes: Sequence[PairVote], prompts: Sequence[Hashable]) -> BetweenVoters | None:
    """The agreement of voters; None where no pair has two votes of different voters. Votes without a voter count as of
    different ones."""
    by_pair: dict[tuple[str, ...], list[int]] = {}
    for number, vote in enumerate(votes):
        by_pair.setdefault(vote.pair, []).append(number)
    shared = {pair: numbers for pair, numbers in by_pair.items() if len(numbers) > 1}
    if not shared:
        return None
    sums, where = [], []
    for numbers in shared.values():
        base = votes[numbers[0]].pair[1]
        counts = np.zeros(3)
        for number in numbers:
            vote = votes[number]
            turned = vote.left != base if vote.left != vote.right else vote.left_clip != vote.pair[2]
            counts[{LEFT: RIGHT, RIGHT: LEFT, TIE: TIE}[vote.winner] if turned else vote.winner] += 1
        m = counts.sum()
        same = float((counts * (counts - 1)).sum()) / (m - 1)
        sums.append([m, counts[TIE], same])
        where.append(prompts[numbers[0]])
    rows = np.array(sums)
    at, num = number_clusters(where)
    merged = sum_by_cluster(rows, at, num)

    def alpha(totals: np.ndarray) -> np.ndarray:
        """(R, 3) to (R,): left and right share what is no tie, since they are places."""
        n, ties = totals[:, 0], totals[:, 1]
        side = (n - ties) / 2
        expected = 1 - (ties * (ties - 1) + 2 * side * (side - 0.5)) / (n * (n - 1))
        return np.asarray(1 - (1 - totals[:, 2] / n) / expected)

    voters = {votes[number].voter for numbers in shared.values() for number in numbers}
    value, (low, high) = weighted_shares(rows[:, 2:], rows[:, :1], (1.0,), where)
    return BetweenVoters(
        alpha=_alpha(merged, alpha),
        same=Estimate(value=value, low=low, high=high, n=len(rows)),
        pairs=len(shared),
        voters=len(voters - {""}),
    )


def _alpha(merged: np.ndarray, alpha: Callable[[np.ndarray], np.ndarray]) -> Estimate | None:
    try:
        with np.errstate(divide="ignore", invalid="ignore"):
            value, ends = estimate_of_sums(merged, alpha, (-1.0, 1.0))
    except UndefinedError:
        return None
    return Estimate(value=value, low=ends.low, high=ends.high, n=int(merged[:, 0].sum()))
