"""The gate's arithmetic against hand-computed cases, against simulation, and under changes that must not matter."""

from __future__ import annotations

import math
from statistics import fmean

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from v2t_eval.gate.statistics import (
    finite_values,
    least_change,
    least_clusters,
    paired_change,
    parts_of_variance,
    step_of,
    student,
    unpaired_change,
)
from v2t_eval.metric import Figure
from v2t_eval.significance import benjamini_hochberg, holm, least_detectable, sign_flip

NUM_RUNS = 200


def test_sign_flip_by_hand() -> None:
    # of the 8 flips of (3, 2, 1) the sums are 6 4 2 0 0 -2 -4 -6
    assert sign_flip([3, 2, 1], one_sided=True) == 1 / 8
    assert sign_flip([3, 2, -1], one_sided=True) == 2 / 8
    assert sign_flip([-3, -2, -1], one_sided=True) == 1
    assert sign_flip([3, 2, 1]) == 2 / 8
    assert sign_flip([0.0, 0.0], one_sided=True) == 1
    assert sign_flip([5.0, 0.0, 0.0], one_sided=True) == 1 / 2, "a zero flips to itself: a tie counts"


def test_sign_flip_one_sided_of_many_is_near_that_of_all_flips() -> None:
    rng = np.random.default_rng(1)
    few = rng.normal(0.5, 1, 16)
    exact = sign_flip(few.tolist(), one_sided=True)
    drawn = sign_flip([*few.tolist(), 0.0], one_sided=True)  # one more, which changes nothing, is past the exact ones
    assert drawn == pytest.approx(exact, abs=3 * math.sqrt(exact * (1 - exact) / 10_000)) and drawn != exact
    assert sign_flip([1.0] * 40, 999, one_sided=True) == 1 / 1000


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


def test_change_by_hand() -> None:
    change = paired_change([-0.1, -0.2, 0.0, -0.1], ["a", "b", "c", "d"])
    se = math.sqrt(0.02 / 3 / 4)  # deviations 0, -.1, .1, 0
    assert change.value == pytest.approx(-0.1) and change.se == pytest.approx(se)
    assert change.low == pytest.approx(-0.1 - 3.182446 * se) and change.high == pytest.approx(-0.1 + 3.182446 * se)
    assert change.p == 2 / 16, "of 16 flips the sum is reached by itself and by its tie"
    assert (change.num_pairs, change.num_clusters) == (4, 4)


def test_clusters_weigh_by_their_clips() -> None:
    change = paired_change([1.0, 1.0, 1.0, 4.0], ["a", "a", "a", "b"])
    assert change.value == 1.75, "the mean over clips, not over clusters"
    assert change.se == pytest.approx(math.sqrt(2 * 2 * (2.25 / 4) ** 2)), "sums pull by 3 (1 - 1.75) and 4 - 1.75"


def test_copies_of_a_clip_are_no_more_evidence() -> None:
    once = np.random.default_rng(3).normal(-0.1, 1, 40)
    alone = paired_change(once.tolist(), range(40))
    copied = paired_change(np.repeat(once, 5).tolist(), np.repeat(np.arange(40), 5).tolist())
    assert (copied.low, copied.high, copied.p) == pytest.approx((alone.low, alone.high, alone.p))
    assert copied.se == pytest.approx(alone.se)


def test_clusters_taken_for_independent_raise_false_alarms() -> None:
    """The error of counting seeds of a prompt as cases; were it made inside, the first line would fail."""
    right = wrong = 0
    for run in range(NUM_RUNS):
        rng = np.random.default_rng(run)
        values = (np.repeat(rng.normal(0, 1, 12), 5) + rng.normal(0, 1, 60)).tolist()
        right += paired_change(values, np.repeat(np.arange(12), 5).tolist()).p < 0.05
        wrong += paired_change(values, range(60)).p < 0.05
    assert right / NUM_RUNS < 0.08
    assert wrong / NUM_RUNS > 0.12


def test_interval_covers() -> None:
    for num in (12, 40):
        inside = 0
        for run in range(NUM_RUNS):
            rng = np.random.default_rng(run)
            values = np.repeat(rng.normal(0, 1, num), 2) + rng.normal(0, 1, 2 * num) - 0.3
            change = paired_change(values.tolist(), np.repeat(np.arange(num), 2).tolist())
            assert change.low is not None and change.high is not None
            inside += change.low <= -0.3 <= change.high
        assert 0.9 <= inside / NUM_RUNS <= 0.99


def test_the_bootstrap_is_as_wide_as_students_interval() -> None:
    """A bare one is narrower by 6 % for 30 clusters, and holds 93 % instead of 95."""
    change = paired_change(np.random.default_rng(2).normal(0, 1, 30).tolist(), range(30))
    assert change.low is not None and change.high is not None and change.se is not None
    assert (change.high - change.low) / 2 == pytest.approx(student(29, 0.025) * change.se, rel=0.03)
    assert change.high - change.value != pytest.approx(change.value - change.low, rel=1e-6), "it is no Student's"


def test_equal_clips_do_not_change() -> None:
    change = paired_change([0.0] * 40, range(40))
    assert (change.value, change.low, change.high, change.se, change.p) == (0, 0, 0, 0, 1)
    assert least_change(change, alpha=0.05, power=0.8, num_tests=6) == 0
    one = paired_change([0.0], ["a"])
    assert (one.low, one.high, one.se) == (0, 0, 0)


def test_one_cluster_tells_nothing_of_the_spread() -> None:
    change = paired_change([-0.5, -0.4], ["a", "a"])
    assert change.value == pytest.approx(-0.45) and (change.low, change.high, change.se) == (None, None, None)
    assert least_change(change, alpha=0.05, power=0.8, num_tests=1) is None
    with pytest.raises(ValueError, match="2 clusters"):
        paired_change([0.1], ["a", "b"])


def test_two_levels_have_the_interval_of_bonett_and_price() -> None:
    """4 better, 12 worse of 50: (b + 1 - c - 1) / 52 -+ q sqrt((5/52 + 13/52 - d^2) / 52)."""
    values = [1.0] * 4 + [-1.0] * 12 + [0.0] * 34
    change = paired_change(values, range(50), step=1.0)
    d = -8 / 52
    half = student(49, 0.025) * math.sqrt((5 / 52 + 13 / 52 - d * d) / 51)
    assert (change.low, change.high) == pytest.approx((d - half, d + half))
    assert change.value == -8 / 50


@pytest.mark.parametrize("seeds", [1, 5])
def test_two_levels_that_agree_leave_a_width(seeds: int) -> None:
    change = paired_change([0.0] * 40 * seeds, np.repeat(np.arange(40), seeds).tolist(), step=1.0)
    assert change.low is not None and change.high is not None
    assert change.low == -change.high and 0.05 < change.high < 0.1, "clusters count, not their clips"
    assert (least_change(change, alpha=0.05, power=0.8, num_tests=1) or 0) > 0.05


def test_made_up_clusters_are_worth_what_a_cluster_is() -> None:
    """Seeds that flip by themselves: a cluster is worth one clip, and the interval stays near that of the values."""
    values = np.random.default_rng(4).choice([-1.0, 0.0, 1.0], 200, p=[0.06, 0.88, 0.06]).tolist()
    clusters = np.repeat(np.arange(40), 5).tolist()
    bare, held = paired_change(values, clusters).se, paired_change(values, clusters, step=1.0).se
    assert bare is not None and held is not None and bare < held < 1.15 * bare


def test_two_levels_cover_when_changes_are_rare() -> None:
    covered = bare = 0
    for run in range(NUM_RUNS):
        rng = np.random.default_rng(run)
        values = rng.choice([-1.0, 0.0, 1.0], 40, p=[0.03, 0.94, 0.03]).tolist()
        for step in (1.0, 0.0):
            change = paired_change(values, range(40), step=step)
            assert change.low is not None and change.high is not None
            inside = change.low <= 0 <= change.high and change.high > change.low
            covered, bare = covered + (inside and step > 0), bare + (inside and step == 0)
    assert covered / NUM_RUNS >= 0.95 > bare / NUM_RUNS


def test_differences_without_spread_leave_a_width() -> None:
    change = paired_change([-0.02] * 40, range(40))
    assert change.low is not None and change.high is not None
    assert change.low < -0.02 < change.high < 0 and change.high - change.low < 0.02
    assert change.p == pytest.approx(1 / 10_001)


def test_step_of() -> None:
    assert step_of([0, 1, 1], [1, 1, 0], 1, same_bytes=False) == 1
    assert step_of([0.2, 0.2], [0.2, 0.2], 1, same_bytes=False) == 1
    assert step_of([3.0], [3.0], math.inf, same_bytes=False) == 0
    assert step_of([0, 1], [0, 1], 1, same_bytes=True) == 0
    assert step_of([0.1, 0.2, 0.3], [0.1, 0.2, 0.3], 1, same_bytes=False) == 0


def test_least_change_is_detected_with_the_power_promised() -> None:
    for num, tests in ((12, 1), (40, 4)):
        found = 0
        mde = least_detectable(1 / math.sqrt(num), num, alpha=0.05 / tests, power=0.8)
        for run in range(NUM_RUNS):
            values = np.random.default_rng(run).normal(-mde, 1, num).tolist()
            found += paired_change(values, range(num)).p < 0.05 / tests
        assert found / NUM_RUNS == pytest.approx(0.8, abs=0.06)
    assert least_detectable(1, 10**6) == pytest.approx(1.6449 + 0.8416, abs=1e-3)
    with pytest.raises(ValueError, match="1 clusters"):
        least_detectable(1, 1)


def test_least_clusters() -> None:
    assert least_clusters(0.05, 1) == 5 and 2**-5 < 0.05 < 2**-4
    assert least_clusters(0.05, 4) == 7 and 2**-7 < 0.0125 < 2**-6
    few = paired_change([-0.1, -0.2, -0.15, -0.3], range(4))
    assert few.p == 2**-4 and least_change(few, alpha=0.05, power=0.8, num_tests=1) is None


def test_unpaired_by_hand() -> None:
    old, new = Figure(value=10, low=8, high=12.5, n=90), Figure(value=14, low=11.5, high=16, n=90)
    change = unpaired_change(new, old, 90, higher_is_better=False)
    se = math.hypot(2.5, 2.5) / 1.959964
    assert change.value == 4 and change.se == pytest.approx(se, rel=1e-5) and not change.paired
    assert change.low == pytest.approx(4 - student(89, 0.025) * se, rel=1e-5)
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


@settings(max_examples=60, deadline=None)
@given(SCORES, st.sampled_from([0.25, 8.0]))
def test_units_do_not_matter(rows: list[tuple[float, int]], factor: float) -> None:
    values, clusters = [value for value, _ in rows], [cluster for _, cluster in rows]
    one, other = paired_change(values, clusters), paired_change([factor * value for value in values], clusters)
    for name in ("value", "low", "high", "se"):
        first, second = getattr(one, name), getattr(other, name)
        assert (first is None) == (second is None)
        assert first is None or second == pytest.approx(factor * first, rel=1e-6, abs=1e-9)
    assert other.p == one.p
    if one.low is not None and one.high is not None:
        assert one.low <= one.value <= one.high


@settings(max_examples=60, deadline=None)
@given(SCORES)
def test_swapped_sides_mirror_the_change(rows: list[tuple[float, int]]) -> None:
    values, clusters = [value for value, _ in rows], [cluster for _, cluster in rows]
    one = paired_change(values, clusters)
    other = paired_change([-value for value in values], clusters, higher_is_better=False)
    assert other.value == -one.value == pytest.approx(-fmean(values)) and other.p == one.p
    if one.low is not None and one.high is not None and other.low is not None and other.high is not None:
        assert (other.low, other.high) == pytest.approx((-one.high, -one.low), abs=1e-9)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0, 1), max_size=12))
def test_adjusted_p_are_ordered_and_not_below_the_raw_ones(ps: list[float]) -> None:
    for adjusted in (holm(ps), benjamini_hochberg(ps)):
        assert all(raw <= more <= 1 for raw, more in zip(ps, adjusted, strict=True))
        assert [more for _, more in sorted(zip(ps, adjusted, strict=True))] == sorted(adjusted)
    assert all(b <= h + 1e-12 for b, h in zip(benjamini_hochberg(ps), holm(ps), strict=True))
