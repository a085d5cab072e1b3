"""Agreement of a judge with the truth, against figures by hand and by brute force."""

from __future__ import annotations

import numpy as np
import pytest

from v2t_eval.audit.agreement import ALL, Claim, bins, by_kind, kappa, of_claims
from v2t_eval.stats import bootstrap


def claims(true: list[int], chance: list[float], *, per_clip: int = 2, kind: str = "color") -> list[Claim]:
    return [
        Claim(clip=f"c{n // per_clip}", kind=kind, true=bool(t), chance=p, yes=p >= 0.5)
        for n, (t, p) in enumerate(zip(true, chance, strict=True))
    ]


def test_kappa_by_hand() -> None:
    # 20 and 15 agreed of 50, yes 25 and 30 of 50 (the textbook's two raters): .7 seen, .5 by luck.
    num, yes, true, both = (np.array([float(each)]) for each in (50, 25, 30, 20))
    assert kappa(num, yes, true, both)[0] == pytest.approx(0.4)
    sure = np.array([10.0])
    assert kappa(sure, sure, sure, sure)[0] == 0.0  # luck alone agrees
    assert kappa(sure, sure / 2, sure / 2, sure * 0)[0] == pytest.approx(-1.0)


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
