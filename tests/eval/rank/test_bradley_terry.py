"""Strengths of pairs: the likelihood against an optimiser, closed forms, separation, intervals, groups."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import minimize

from v2t_eval.rank import bradley_terry as bt
from v2t_eval.rank.bradley_terry import LEFT, RIGHT, TIE


def draw(rng: np.random.Generator, strengths, prompts: int, *, tie: float = 0.5, position: float = 0.0):
    """Every pair once a prompt, in a random order, by the model."""
    k = len(strengths)
    left, right, winner, at = [], [], [], []
    for prompt in range(prompts):
        for a in range(k):
            for b in range(a + 1, k):
                one, other = (a, b) if rng.random() < 0.5 else (b, a)
                gap = strengths[one] - strengths[other] + position
                weights = np.array([math.exp(gap / 2), tie, math.exp(-gap / 2)])
                left.append(one)
                right.append(other)
                winner.append(int(rng.choice(3, p=weights / weights.sum())))
                at.append(prompt)
    return left, right, winner, at


def test_two_generators_have_davidsons_closed_form() -> None:
    """With two, the model has as many parameters as outcomes: the log of wins over losses, but for the prior."""
    winner = [LEFT] * 600 + [TIE] * 300 + [RIGHT] * 200
    result = bt.fit([0] * 1100, [1] * 1100, winner, range(1100), 2)
    assert result.values[0] - result.values[1] == pytest.approx(math.log(3), abs=0.01)
    assert math.exp(result.tie) == pytest.approx(300 / math.sqrt(600 * 200), abs=0.02)
    low, high = result.difference(0, 1)[1]
    assert (high - low) / 2 == pytest.approx(1.96 * math.sqrt(1 / 600 + 1 / 200), rel=0.03)  # of a log odds ratio


def test_the_maximum_is_an_optimisers() -> None:
    left, right, winner, at = draw(np.random.default_rng(0), [0.9, 0.1, -0.3, -0.7], 30, position=0.4)
    ours = bt.fit(left, right, winner, at, 4, position=True)

    def loss(x: np.ndarray) -> float:
        total = 0.5 * (x[:4] @ x[:4] + x[5] ** 2) / bt.PRIOR_SD**2 + 0.5 * x[4] ** 2 / bt.TIE_SD**2
        for a, b, who in zip(left, right, winner, strict=True):
            utilities = [x[a] + x[5] / 2, x[4] + (x[a] + x[b]) / 2, x[b] - x[5] / 2]
            total -= utilities[who] - math.log(sum(map(math.exp, utilities)))
        return float(total)

    best = minimize(loss, np.zeros(6), method="BFGS").x
    assert ours.values == pytest.approx(best[:4], abs=2e-3) and ours.tie == pytest.approx(best[4], abs=2e-3)
    assert ours.position is not None and ours.position[0] == pytest.approx(best[5], abs=2e-3)
    assert sum(ours.values) == pytest.approx(0, abs=1e-9)


def test_who_wins_everything_has_a_finite_strength_and_a_wide_interval() -> None:
    result = bt.fit([0] * 20, [1] * 20, [LEFT] * 20, range(20), 2)
    value, (low, high), p = result.difference(0, 1)
    assert 2 < value < 8 and 0 < low < 2 and high > 6 and p < 0.05
    few = bt.fit([0] * 3, [1] * 3, [LEFT] * 3, range(3), 2)
    assert few.difference(0, 1)[1].low < 0, "three prompts decide nothing"


def test_votes_on_one_prompt_are_no_independent_ones() -> None:
    """The same 60 votes, of 60 prompts or of 6 that all think alike."""
    winner = ([LEFT] * 10 + [RIGHT] * 10) * 3
    apart = bt.fit([0] * 60, [1] * 60, winner, range(60), 2)
    together = bt.fit([0] * 60, [1] * 60, winner, [n // 10 for n in range(60)], 2)
    assert together.half[0, 1] > 2.5 * apart.half[0, 1]


def test_all_ties_leave_all_equal() -> None:
    result = bt.fit([0, 1, 0] * 8, [1, 2, 2] * 8, [TIE] * 24, [n // 3 for n in range(24)], 3)
    assert result.values == pytest.approx([0, 0, 0]) and not result.apart().any()
    assert bt.best(result.apart()) is None and bt.groups(result.values, result.apart()) == [(0, 1, 2)]


def test_an_advantage_of_the_place_is_of_the_place() -> None:
    """All comparisons in one order: without a position in the model the left one's place is taken for strength."""
    left, right, winner, at = draw(np.random.default_rng(1), [0.0, 0.0], 400, position=1.0)
    given = bt.fit(left, right, winner, at, 2, position=True)
    ends = given.position_interval()
    assert ends is not None and ends.low < 1.0 < ends.high and ends.low > 0.5
    low, high = given.difference(0, 1)[1]
    assert low < 0 < high


@pytest.mark.slow
def test_intervals_hold_and_a_best_is_not_named_among_equals() -> None:
    """A small repetition of docs/figures/ranking.md: 200 runs, 40 prompts."""
    rng, true = np.random.default_rng(2), np.array([0.6, 0.0, -0.6])
    held = named = 0
    for _ in range(200):
        result = bt.fit(*draw(rng, true, 40), 3)
        held += sum(result.interval(n)[0] <= true[n] <= result.interval(n)[1] for n in range(3))
        named += bt.best(bt.fit(*draw(rng, np.zeros(3), 40), 3).apart()) is not None
    assert 0.92 <= held / 600 <= 0.985 and named / 200 <= 0.05


def test_places_and_groups_are_of_what_is_apart() -> None:
    apart = np.zeros((4, 4), dtype=bool)
    apart[0, [2, 3]] = apart[1, 3] = True
    values = np.array([1.0, 0.6, 0.1, -1.7])
    assert bt.ranks(apart) == [(1, 2), (1, 3), (2, 4), (3, 4)]
    assert bt.groups(values, apart) == [(0, 1), (1, 2), (2, 3)]
    assert bt.best(apart) is None
    apart[0, 1] = True
    assert bt.best(apart) == 0


def test_nothing_to_compare_is_refused() -> None:
    with pytest.raises(ValueError, match="two generators and two prompts"):
        bt.fit([0], [1], [LEFT], ["p"], 2)
    with pytest.raises(ValueError):
        bt.fit([0, 0], [0, 1], [LEFT, LEFT], ["p", "q"], 2)
