"""The gate's arithmetic against hand-computed cases, against simulation, and under changes that must not matter."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from v2t_eval.core.bounds import Change, least_distance, no_change, paired_change, unpaired_change
from v2t_eval.core.changes import finite_values
from v2t_eval.core.metric import Figure
from v2t_eval.core.power import invisible_share, least_change, least_margin, prompts_for
from v2t_eval.core.statistics import benjamini_hochberg, holm, parts_of_variance, student

NUM_RUNS = 200


def test_holm_as_published() -> None:  # Holm's steps of Wright 1992, Biometrics 48:1005, and Aickin and Gensler 1996
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.2]) == [0.2] and holm([]) == [] and holm([0.6, 0.7]) == [1.0, 1.0]
    with pytest.raises(ValueError, match="within 0 and 1"):
        holm([0.1, math.nan])


def test_benjamini_hochberg_as_published() -> None:
    # Benjamini and Hochberg 1995, JRSS B 57:289, section 3.3: at 0.05 the four smallest of these fifteen are rejected
    ps = [
        0.0001,
        0.0004,
        0.0019,
        0.0095,
        0.0201,
        0.0278,
        0.0298,
        0.0344,
        0.0459,
        0.3240,
        0.4262,
        0.5719,
        0.6528,
        0.7590,
        1,
    ]
    assert [p <= 0.05 for p in benjamini_hochberg(ps)] == [True] * 4 + [False] * 11
    assert [p <= 0.05 for p in holm(ps)] == [True] * 3 + [False] * 12
    assert benjamini_hochberg([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.02, 0.04, 0.04, 0.02])


def test_benjamini_hochberg_is_that_of_scipy() -> None:
    from scipy.stats import false_discovery_control

    ps = np.random.default_rng(0).uniform(size=30).tolist()
    assert benjamini_hochberg(ps) == pytest.approx(false_discovery_control(ps))


def paired(differences: Sequence[float], clusters: Sequence[Any], *, span: float = 0, **more: Any):
    return paired_change(differences, clusters, span=span, **more)


@pytest.mark.slow
def test_bounds_without_any_change_are_those_of_clopper_and_pearson() -> None:
    """With n prompts of which none broke: the share of broken ones may be 1 - alpha^(1/n)."""
    for num in (5, 60, 400):
        change = paired([0.0] * num, range(num), span=0.8)
        assert change.low == -change.high == pytest.approx(-0.8 * (1 - 0.05 ** (1 / num)), rel=0.03)
    assert paired([0.0] * 60, range(60), span=1.0).low == pytest.approx(-0.0487, abs=0.001)
    assert invisible_share(60, 0.05) == pytest.approx(3 / 60, rel=0.03)


def test_bounds_of_right_and_wrong_are_those_of_clopper_and_pearson() -> None:
    from scipy.stats import beta

    for lost, num in ((3, 40), (12, 60)):
        change = paired([-1.0] * lost + [0.0] * (num - lost), range(num), span=1.0)
        assert change.low == pytest.approx(-beta.ppf(0.95, lost + 1, num - lost), rel=0.03)


def test_the_more_careful_of_two_bounds_counts() -> None:
    values = np.random.default_rng(0).normal(-0.1, 1, 40)
    half = student(39, 0.05) * values.std(ddof=1) / math.sqrt(40)
    far, near = (paired(values.tolist(), range(40), span=span) for span in (30.0, 0.0))
    assert near.low <= values.mean() - half and far.low < values.mean() - 1.5 * half
    assert near.value == pytest.approx(values.mean()) and near.se == pytest.approx(half / student(39, 0.05))


def test_p_is_of_the_accepted_harm() -> None:
    values = np.random.default_rng(0).normal(-0.5, 0.5, 40).tolist()
    ps = [paired(values, range(40), accepted=accepted).p for accepted in (0.0, 0.3, 0.5, 1.0)]
    assert ps == sorted(ps) and ps[0] < 0.001 and ps[0] < ps[1] < 0.05 < ps[2] and ps[3] > 0.99
    assert paired([-v for v in values], range(40), accepted=0.3, higher_is_better=False).p == ps[1]
    assert paired(values, range(40), higher_is_better=None).p == pytest.approx(2 * ps[0], rel=0.5)


def test_clusters_weigh_by_their_clips() -> None:
    change = paired([1.0, 1.0, 1.0, 4.0], ["a", "a", "a", "b"])
    assert change.value == 1.75, "the mean over clips, not over clusters"
    assert change.se == pytest.approx(math.sqrt(2 * 2 * (2.25 / 4) ** 2)), "sums pull by 3 (1 - 1.75) and 4 - 1.75"


def test_copies_of_a_clip_are_no_more_evidence() -> None:
    once = np.random.default_rng(3).normal(-0.1, 1, 40)
    alone = paired(once.tolist(), range(40), span=3)
    copied = paired(np.repeat(once, 5).tolist(), np.repeat(np.arange(40), 5).tolist(), span=3)
    assert (copied.low, copied.high, copied.p, copied.se) == pytest.approx((alone.low, alone.high, alone.p, alone.se))


@pytest.mark.slow
def test_clusters_taken_for_independent_raise_false_alarms() -> None:
    """The error of counting seeds of a prompt as cases; were it made inside, the first line would fail."""
    right = wrong = 0
    for run in range(NUM_RUNS):
        rng = np.random.default_rng(run)
        values = (np.repeat(rng.normal(0, 1, 12), 10) + rng.normal(0, 1, 120)).tolist()
        right += paired(values, np.repeat(np.arange(12), 10).tolist()).p < 0.05
        wrong += paired(values, range(120)).p < 0.05
    assert right / NUM_RUNS < 0.08
    assert wrong / NUM_RUNS > 0.12


def test_copies_of_the_baseline_do_not_change() -> None:
    change = no_change(80, 40)
    assert (change.value, change.low, change.high, change.se, change.p, change.num_pairs) == (0, 0, 0, 0, 1, 80)


def test_one_cluster_shows_no_spread() -> None:
    change = paired([-0.5, -0.4], ["a", "a"], span=0.8)
    assert change.value == pytest.approx(-0.45) and change.se is None and change.low < -0.7
    assert least_change(change, accepted=0.0, alpha=0.05, power=0.8, num_tests=1) is None
    with pytest.raises(ValueError, match="2 clusters"):
        paired([0.1], ["a", "b"])


def test_differences_without_spread_leave_a_width() -> None:
    change = paired([-0.02] * 40, range(40), span=0.3)
    assert change.low < -0.02 < change.high < 0.01 and change.se == 0
    far = paired([-0.5] * 20, range(20), accepted=0.05, span=0.5)
    assert far.p == pytest.approx(1 / 10_001)
    assert paired([-0.5] * 2, range(2), accepted=0.05, span=0.5).p > 0.05, "two prompts prove little"


@pytest.mark.slow
@pytest.mark.parametrize(("num", "tests"), [(20, 1), (60, 4)])
def test_what_is_promised_to_be_found_and_to_pass_is(num: int, tests: int) -> None:
    """The least change fails, and an unchanged candidate passes at the least margin, with the power stated."""
    se = 1 / math.sqrt(num)
    margin = least_margin(se, num, 6.0, alpha=0.05, power=0.8)
    model = Change(value=0, low=0, high=0, se=se, p=1, num_pairs=num, num_clusters=num, span=6.0)
    mde = least_change(model, accepted=margin / 2, alpha=0.05, power=0.8, num_tests=tests)
    assert mde is not None
    passed = found = 0
    for run in range(NUM_RUNS):
        values = np.random.default_rng(run).normal(0, 1, num)
        passed += paired(values.tolist(), range(num), span=6.0).low > -margin
        found += paired((values - mde).tolist(), range(num), accepted=margin / 2, span=6.0).p < 0.05 / tests
    assert passed / NUM_RUNS == pytest.approx(0.8, abs=0.08) and found / NUM_RUNS == pytest.approx(0.8, abs=0.08)
    assert prompts_for(margin, se, num, 6.0, alpha=0.05, power=0.8) == pytest.approx(num, abs=1)


@pytest.mark.slow
@pytest.mark.parametrize("num", [20, 60])
def test_the_least_change_of_right_or_wrong_counts_the_prompts_that_flip(num: int) -> None:
    """Harm adds to their spread: with that of an unchanged candidate alone twice the least change was found in 84 % of
    20 prompts."""
    se, margin = math.sqrt(0.06 / num), {20: 0.19, 60: 0.095}[num]
    model = Change(value=0, low=0, high=0, se=se, p=1, num_pairs=num, num_clusters=num, span=1.0, granularity=1.0)
    mde = least_change(model, accepted=margin / 2, alpha=0.05, power=0.8, num_tests=1)
    assert mde is not None

    def found(harm: float) -> float:
        rng, times = np.random.default_rng(1), 0
        for _ in range(NUM_RUNS):
            draws = rng.random(num)
            values = np.where(draws < 0.03 + harm, -1.0, np.where(draws > 0.97, 1.0, 0.0))
            times += paired(values.tolist(), range(num), accepted=margin / 2, span=1.0).p < 0.05
        return times / NUM_RUNS

    assert found(mde) == pytest.approx(0.8, abs=0.12) and found(min(2 * mde, 0.9)) > 0.97


@pytest.mark.slow
def test_differences_almost_without_spread_pass_at_the_least_margin() -> None:
    """What the sample may lack decides the bound alone, so draws of its weight must not: 55 % passed of 20 prompts."""
    margin = least_margin(0.02 / math.sqrt(20), 20, 0.8, alpha=0.05, power=0.8)
    rng = np.random.default_rng(0)
    passed = sum(paired(rng.normal(0, 0.02, 20).tolist(), range(20), span=0.8).low > -margin for _ in range(NUM_RUNS))
    assert passed / NUM_RUNS == pytest.approx(0.8, abs=0.09)


def test_least_distance() -> None:
    assert least_distance([0, 1, 1, 0]) == 1 and least_distance([0.25, 0.5, 1.0]) == 0.25 and least_distance([0.3]) == 0
    assert least_distance([0.1 + 0.2, 0.3, 0.8]) == pytest.approx(0.5) and least_distance([]) == 0


def test_unpaired_by_hand() -> None:
    old, new = Figure(value=10, low=8, high=12.5, n=90), Figure(value=14, low=11.5, high=16, n=90)
    change = unpaired_change(new, old, 90, higher_is_better=False)
    se = math.hypot(2.5, 2.5) / 1.959964
    accepted = unpaired_change(new, old, 90, higher_is_better=False, accepted=4.0)
    assert accepted.p == pytest.approx(0.5)
    assert change.value == 4 and change.se == pytest.approx(se, rel=1e-5) and change.num_pairs == 0
    assert change.low == pytest.approx(4 - student(89, 0.05) * se, rel=1e-5)
    assert change.p < 0.02 and unpaired_change(new, old, 90).p == pytest.approx(1 - change.p)
    assert unpaired_change(old, old, 90).high == 0
    with pytest.raises(ValueError, match="without an interval"):
        unpaired_change(Figure(value=1, low=1, high=1, n=90), old, 90)


def test_parts_of_variance() -> None:
    rng = np.random.default_rng(0)
    values = np.repeat(rng.normal(0, 2, 400), 5) + rng.normal(0, 1, 2000)
    found = parts_of_variance(values.tolist(), np.repeat(np.arange(400), 5).tolist())
    assert found is not None and found[0] == pytest.approx(4, rel=0.2) and found[1] == pytest.approx(1, rel=0.1)
    assert parts_of_variance([1, 3, 5, 7], "aabb") == pytest.approx((7.0, 2.0)), "means 2 and 6: (16 - 2) / 2, and 2"
    assert parts_of_variance([1, 2, 3], "abc") is None and parts_of_variance([1, 2], "aa") is None


def test_finite_values() -> None:
    items = [{"id": "a", "value": 1}, {"id": "b", "value": None}, {"id": "c", "value": math.nan}, {"id": "d"}]
    items.append({"id": "f", "value": 1e300})
    assert finite_values([*items, {"id": "e", "value": "high"}]) == {"a": 1.0}


SCORES = st.lists(st.tuples(st.floats(-1, 1, width=16), st.integers(0, 8)), min_size=2, max_size=24)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(SCORES, st.sampled_from([0.25, 8.0]))
def test_units_do_not_matter(rows: list[tuple[float, int]], factor: float) -> None:
    values, clusters = [value for value, _ in rows], [cluster for _, cluster in rows]
    one, other = (paired([by * v for v in values], clusters, span=by) for by in (1.0, factor))
    for name in ("value", "low", "high", "se"):
        first, second = getattr(one, name), getattr(other, name)
        assert (first is None) == (second is None)
        assert first is None or second == pytest.approx(factor * first, rel=1e-6, abs=1e-9)
    assert other.p == pytest.approx(one.p) and one.low <= one.value + 1e-12 and one.value - 1e-12 <= one.high


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(SCORES)
def test_swapped_sides_mirror_the_change(rows: list[tuple[float, int]]) -> None:
    values, clusters = [value for value, _ in rows], [cluster for _, cluster in rows]
    one = paired(values, clusters, span=2)
    other = paired([-value for value in values], clusters, span=2, higher_is_better=False)
    assert other.value == pytest.approx(-one.value) and other.p == pytest.approx(one.p)
    assert (other.low, other.high) == pytest.approx((-one.high, -one.low), abs=1e-9)


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0, 1), max_size=12))
def test_adjusted_p_are_ordered_and_not_below_the_raw_ones(ps: list[float]) -> None:
    for adjusted in (holm(ps), benjamini_hochberg(ps)):
        assert all(raw <= more <= 1 for raw, more in zip(ps, adjusted, strict=True))
        assert [more for _, more in sorted(zip(ps, adjusted, strict=True))] == sorted(adjusted)
    assert all(b <= h + 1e-12 for b, h in zip(benjamini_hochberg(ps), holm(ps), strict=True))
