"""Agreement of a judge with the truth, against figures by hand and by brute force."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest

from cineloop.intervals import wilson
from v2t_eval.audit.agreement import ALL, Claim, agreement_of, bins, by_kind, by_luck, of_claims
from v2t_eval.audit.record import Audit
from v2t_eval.audit.report import _sections, banner
from v2t_eval.core.statistics import bootstrap

SCRIPT = Path(__file__).parents[3] / "scripts" / "measure_offered.py"


def claims(true: list[int], chance: list[float], *, per_clip: int = 2, kind: str = "color") -> list[Claim]:
    return [
        Claim(clip=f"c{n // per_clip}", kind=kind, true=bool(t), chance=p, yes=p >= 0.5)
        for n, (t, p) in enumerate(zip(true, chance, strict=True))
    ]


def test_kappa_by_hand() -> None:
    # 20 and 15 agreed of 50, yes 25 and 30 of 50 (the textbook's two raters): .7 seen, .5 by luck.
    assert by_luck(50, 25, 30) == 0.5
    textbook = claims([1] * 30 + [0] * 20, [0.9] * 20 + [0.1] * 10 + [0.9] * 5 + [0.1] * 15, per_clip=1)
    value, ends = agreement_of(textbook)
    assert value == pytest.approx(0.4)
    share = wilson(35, 50)
    assert (ends.low, ends.high) == pytest.approx((2 * share.low - 1, 2 * share.high - 1))
    assert agreement_of(claims([1, 0] * 5, [0.1, 0.9] * 5, per_clip=1))[0] == pytest.approx(-1.0)


@pytest.mark.parametrize(("true", "why"), [(0, "no claim is true"), (1, "no claim is false")])
def test_kappa_of_claims_of_one_sort_is_undefined_and_says_why(true, why):
    chance = [0.9, 0.1] * 20
    found = of_claims("color", claims([true] * 40, chance))
    assert found.kappa is None and found.undefined == why
    assert (found.kappa_low, found.kappa_high) == (-1.0, 1.0)
    audit = Audit(agreement={"yours": (found,)})
    (table,) = _sections(audit)[0].tables
    assert table.rows[0][1:3] == (f"undefined: {why}", "–")
    assert f"kappa undefined: {why}" in banner(audit).sentence


def test_a_judge_that_never_says_yes_has_an_interval_and_not_a_point():
    """One true claim of thirteen, all denied: kappa is 0 and next to nothing is known."""
    value, ends = agreement_of(claims([1] + [0] * 12, [0.1] * 13, per_clip=1))
    assert value == pytest.approx(0.0) and ends.low < -0.5 and ends.high > 0.5


def test_the_banner_names_the_kinds_of_which_the_truth_is_not_known():
    rows = by_kind(claims([1, 0] * 20, [0.9, 0.2] * 20, kind="kind") + claims([1, 0] * 20, [0.9, 0.2] * 20),
                   unread={"kind": 5, "color": 1}, facts={"kind": 15, "color": 19})  # fmt: skip
    assert "truth not known: kind 25%, color 5%" in banner(Audit(agreement={"generated": rows})).sentence


@pytest.mark.parametrize("num", [10, 14, 20, 30])
def test_an_answer_of_a_weaker_judge_is_not_shown_to_be_known(num):
    """Of kappa .5 it passed in a quarter of audits or more, as long as the estimate alone decided."""
    is_offered = runpy.run_path(str(SCRIPT))["is_offered"]
    weak = [is_offered(0.5, num, np.random.default_rng([num, run])) for run in range(200)]
    assert np.mean([by_estimate for by_estimate, _ in weak]) > 0.15
    assert np.mean([by_low for _, by_low in weak]) <= 0.025
    good = [is_offered(0.95, num, np.random.default_rng([num, run])) for run in range(100)]
    assert np.mean([by_low for _, by_low in good]) > 0.5


def test_who_says_yes_to_all_is_worth_nothing_and_biased_by_a_half() -> None:
    found = of_claims("color", claims([1, 0] * 40, [1.0] * 80))
    assert (found.kappa, found.auroc, found.yes_bias) == (0.0, 0.5, 0.5)
    assert found.yes_bias_low == found.yes_bias_high == 0.5  # every clip has one claim of each kind
    assert found.expected_calibration_error == pytest.approx(0.5)
    assert (found.n, found.clips) == (80, 40)


def test_no_error_is_no_proof_that_there_is_none() -> None:
    few = of_claims("color", claims([1, 0] * 10, [0.99, 0.01] * 10))
    many = of_claims("color", claims([1, 0] * 200, [0.99, 0.01] * 200))
    for found in (few, many):
        assert found.kappa == found.auroc == 1.0 and found.yes_bias == 0.0
        assert found.kappa_low < 1 and found.auroc_low < 1 and found.yes_bias_low < 0 < found.yes_bias_high
        assert found.expected_calibration_error == pytest.approx(0.01)
    assert few.kappa_low < many.kappa_low < 1 and many.kappa_low > 0.95


def test_area_is_the_share_of_pairs_and_its_interval_that_of_whole_clips() -> None:
    draw = np.random.default_rng(3)
    true = [1, 0] * 60
    chance = [float(np.clip(draw.normal(0.55 if t else 0.45, 0.2), 0, 1).round(1)) for t in true]
    found = of_claims("color", claims(true, chance))
    above = [p for t, p in zip(true, chance, strict=True) if t]
    below = [p for t, p in zip(true, chance, strict=True) if not t]
    assert found.auroc == pytest.approx(np.mean([(a > b) + 0.5 * (a == b) for a in above for b in below]))
    assert found.auroc_low < found.auroc < found.auroc_high
    # The bias resampled the slow way.
    diffs = [float(p >= 0.5) - t for t, p in zip(true, chance, strict=True)]
    slow = bootstrap(diffs, clusters=[n // 2 for n in range(len(true))], num_resamples=500)
    assert found.yes_bias == pytest.approx(np.mean(diffs))
    assert found.yes_bias_low == pytest.approx(slow.low, abs=0.03)
    assert found.yes_bias_high == pytest.approx(slow.high, abs=0.03)


def test_claims_of_one_clip_are_not_independent() -> None:
    # Ten times the same claim about each of 40 clips says no more than once.
    draw = np.random.default_rng(5)
    true = [int(n % 2) for n in range(40)]
    chance = [float(t if draw.random() < 0.8 else 1 - t) for t in true]
    once = of_claims("color", claims(true, chance, per_clip=1))
    often = of_claims("color", claims([t for t in true for _ in range(10)], [p for p in chance for _ in range(10)],
                                      per_clip=10))  # fmt: skip
    assert often.kappa == pytest.approx(once.kappa) and often.n == 400
    assert often.kappa_low == pytest.approx(once.kappa_low, abs=0.02)
    assert often.auroc_low == pytest.approx(once.auroc_low, abs=0.02)


def test_calibration_error_by_hand() -> None:
    # Two groups of equal chance: .9 of which 7 in 10 are true, .2 of which 4 in 10 are.
    found = of_claims("color", claims([1] * 7 + [0] * 3 + [1] * 4 + [0] * 6, [0.9] * 10 + [0.2] * 10, per_clip=1))
    assert found.expected_calibration_error == pytest.approx((0.2 + 0.2) / 2)
    assert found.expected_calibration_error_low <= 0.2 <= found.expected_calibration_error_high


def test_bins_hold_equal_numbers_and_equal_chances_together() -> None:
    which = bins(np.linspace(0, 1, 200))
    assert set(np.bincount(which)) == {20}
    assert len(set(bins(np.full(50, 0.3)))) == 1


def test_a_single_clip_and_claims_of_one_sort_tell_little() -> None:
    one = of_claims("color", claims([1, 0], [0.9, 0.1]))
    assert (one.kappa_low, one.auroc_low) == (-1.0, 0.0)
    only = of_claims("color", claims([1] * 40, [0.9] * 40))
    assert (only.auroc, only.auroc_low, only.auroc_high) == (0.5, 0.0, 1.0)
    with pytest.raises(ValueError, match="at least one claim"):
        of_claims("color", [])


def test_by_kind_the_whole_comes_first_with_all_that_was_lost() -> None:
    both = claims([1, 0] * 20, [0.9, 0.2] * 20) + claims([1, 0] * 20, [0.2, 0.9] * 20, kind="size")
    found = by_kind(both, {"size": 3, "speed": 1}, {"kind": 7, "size": 2})
    assert [row.kind for row in found] == [ALL, "color", "size"]
    assert [row.unanswered for row in found] == [4, 0, 3] and [row.unread for row in found] == [9, 0, 2]
    assert found[1].kappa == 1.0 and found[2].kappa == -1.0 and found[0].kappa == pytest.approx(0.0)
    assert by_kind([]) == ()
