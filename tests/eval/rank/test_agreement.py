"""Agreement with votes: thresholds of others, known kappas, voters among themselves, the difference that is seen."""

from __future__ import annotations

import numpy as np
import pytest

from v2t_eval.rank.agreement import agreement_with, between_voters
from v2t_eval.rank.bradley_terry import LEFT, RIGHT, TIE
from v2t_eval.rank.votes import PairVote


def test_a_value_that_says_what_people_say_agrees_fully() -> None:
    gaps = [0.5, -0.4, 0.05, -0.02, 0.6, -0.7, 0.01, 0.03] * 5
    winners = [LEFT, RIGHT, TIE, TIE, LEFT, RIGHT, TIE, TIE] * 5
    one = agreement_with("m", gaps, winners, [n % 20 for n in range(40)])
    assert one.with_ties.value == 1.0 and one.without_ties is not None and one.without_ties.value == 1.0
    assert one.kappa is not None and one.kappa.value == 1.0 and one.kappa.low > 0.7
    assert one.tie_below == 0.05


def test_a_value_that_knows_nothing_agrees_by_chance() -> None:
    rng = np.random.default_rng(0)
    one = agreement_with("m", rng.normal(size=900), rng.integers(3, size=900), [n // 3 for n in range(900)])
    assert one.kappa is not None and one.kappa.low < 0 < one.kappa.high
    assert one.without_ties is not None and one.without_ties.low < 0.5 < one.without_ties.high
    assert one.with_ties.value < 0.42
    value, low, high = one.seen
    assert high is None or (low is not None and high > 10 * low), "no difference is seen for sure"


def test_a_threshold_is_not_chosen_on_the_votes_it_is_tested_on() -> None:
    """Noise over many thresholds: chosen on the same votes, the accuracy with ties would lie above one in three."""
    rng = np.random.default_rng(1)
    means = [
        agreement_with("m", rng.normal(size=24), rng.integers(3, size=24), list(range(24))).with_ties.value
        for _ in range(60)
    ]
    assert np.mean(means) < 0.36


def test_kappa_counts_each_vote_in_both_orders() -> None:
    """Cohen's by hand: 40 of 60 agree, half of either are no ties: luck is 1/4 + 1/4 / 2."""
    gaps = [1.0] * 30 + [0.0] * 30
    winners = [LEFT] * 20 + [TIE] * 10 + [TIE] * 20 + [LEFT] * 10
    one = agreement_with("m", gaps, winners, list(range(60)))
    assert one.with_ties.value == pytest.approx(40 / 60)
    assert one.kappa is not None and one.kappa.value == pytest.approx((40 / 60 - 0.375) / (1 - 0.375))


def test_votes_of_one_prompt_are_one_case() -> None:
    gaps, winners = [1.0] * 60, ([LEFT] * 10 + [RIGHT] * 10) * 3
    alone = agreement_with("m", gaps, winners, list(range(60))).without_ties
    together = agreement_with("m", gaps, winners, [n // 10 for n in range(60)]).without_ties
    assert alone is not None and together is not None
    assert together.high - together.low > 2 * (alone.high - alone.low)


def test_the_difference_that_people_see() -> None:
    """Three in four prefer the better side at ln 3 over the slope: of a slope of 4, .27."""
    rng = np.random.default_rng(2)
    gaps = rng.uniform(-1, 1, 4000)
    winners = np.where(rng.random(4000) < 1 / (1 + np.exp(-4 * gaps)), LEFT, RIGHT)
    value, low, high = agreement_with("m", gaps, winners, [n // 4 for n in range(4000)]).seen
    assert value == pytest.approx(np.log(3) / 4, rel=0.1)
    assert low is not None and high is not None and low < np.log(3) / 4 < high < 0.35
    wrong_way = agreement_with("m", gaps, 2 - winners, [n // 4 for n in range(4000)]).seen
    assert wrong_way == (None, None, None)


def votes_on(*verdicts: tuple[str, str, int]) -> list[PairVote]:
    return [
        PairVote(prompt=f"p{n}", left=left, right=right, winner=winner, voter=f"v{voter}")
        for n, row in enumerate(verdicts)
        for voter, (left, right, winner) in enumerate(row)  # type: ignore[misc]
    ]


def test_voters_who_agree_whatever_the_side() -> None:
    same = votes_on(*[(("a", "b", LEFT), ("b", "a", RIGHT)), (("a", "b", RIGHT), ("a", "b", RIGHT)),
                      (("a", "b", TIE), ("b", "a", TIE))] * 4)  # type: ignore[list-item]  # fmt: skip
    one = between_voters(same, [vote.prompt for vote in same])
    assert one is not None and one.alpha is not None
    assert (one.alpha.value, one.same.value, one.pairs, one.voters) == (1.0, 1.0, 12, 2)
    opposed = votes_on(*[(("a", "b", LEFT), ("b", "a", LEFT))] * 12)  # type: ignore[list-item]
    other = between_voters(opposed, [vote.prompt for vote in opposed])
    assert other is not None and other.same.value == 0.0 and other.alpha is not None and other.alpha.value < -0.5


def test_alpha_of_voters_by_hand() -> None:
    """Three pairs, two votes each: one agrees on a side, one on a tie, one not at all. Of 6 votes 3 are ties: two at
    random agree with (3 * 2 + 3 * 2 / 2) / 30 = .3."""
    rows = votes_on((("a", "b", LEFT), ("a", "b", LEFT)), (("a", "b", TIE), ("a", "b", TIE)),
                    (("a", "b", TIE), ("a", "b", RIGHT)))  # type: ignore[arg-type]  # fmt: skip
    one = between_voters(rows, [vote.prompt for vote in rows])
    assert one is not None and one.alpha is not None and one.same.value == pytest.approx(2 / 3)
    assert one.alpha.value == pytest.approx(1 - (1 / 3) / 0.7)


def test_no_pair_with_two_votes_says_nothing() -> None:
    rows = [PairVote(prompt=f"p{n}", left="a", right="b", winner=LEFT, voter="v") for n in range(3)]
    assert between_voters(rows, ["p0", "p1", "p2"]) is None
