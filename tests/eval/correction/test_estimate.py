"""A corrected share: the truth on average, an interval that holds it, products of dependent claims."""

from __future__ import annotations

import numpy as np
import pytest

from v2t_eval.audit.record import Confusion
from v2t_eval.core.statistics import mean_interval
from v2t_eval.correction.estimate import Claims, clip_values, corrected_share
from v2t_eval.correction.rates import ErrorRates, error_rates


def rates_of(hit: float, alarm: float, num: int = 10_000) -> ErrorRates:
    row = Confusion(kind="color", answer="red", true=num, hits=round(hit * num), false=num, alarms=round(alarm * num),
                    clips=2 * num)  # fmt: skip
    return error_rates([row], [("color", "red")])


def single(yes: np.ndarray, clusters: list[int] | None = None) -> Claims:
    """One claim a clip."""
    num = len(yes)
    return Claims(answer=np.zeros(num, int), yes=yes.astype(float), product=np.arange(num), clip=np.arange(num),
                  weight=np.ones(num), clusters=clusters or list(range(num)))  # fmt: skip


def test_it_is_rogan_and_gladens_estimate() -> None:
    share = corrected_share(single(np.arange(100) < 70), rates_of(0.9, 0.2))
    assert share.value == pytest.approx((0.7 - 0.2) / (0.9 - 0.2))
    assert share.values.mean() == pytest.approx(share.value)
    assert share.low < share.value < share.high


def test_a_faultless_judge_changes_nothing() -> None:
    yes = np.arange(100) < 70
    share = corrected_share(single(yes), rates_of(1.0, 0.0, 1_000_000))
    plain = mean_interval(yes.astype(float).tolist())
    assert (share.value, share.low, share.high) == pytest.approx((0.7, *plain), abs=1e-4)


def test_a_small_audit_widens_the_interval() -> None:
    yes = np.arange(400) < 280
    wide, narrow = (corrected_share(single(yes), rates_of(0.9, 0.2, num)) for num in (50, 10_000))
    assert wide.high - wide.low > 1.4 * (narrow.high - narrow.low)


def test_seeds_of_one_prompt_are_one_case() -> None:
    yes = np.repeat(np.arange(50) < 35, 4)
    alone, together = (
        corrected_share(single(yes, clusters), rates_of(0.9, 0.2))
        for clusters in (None, np.repeat(np.arange(50), 4).tolist())
    )
    assert together.high - together.low > 1.5 * (alone.high - alone.low)


def test_a_product_has_the_mean_of_both_truths() -> None:
    """Two facts of a clip with independent errors: the mean of the product of terms is the share of clips with both."""
    rng, num = np.random.default_rng(3), 200_000
    truth = rng.random((num, 2)) < 0.8
    held = rng.random(truth.shape) < np.where(truth, 0.9, 0.2)
    claims = Claims(answer=np.zeros(2 * num, int), yes=held.ravel().astype(float), product=np.repeat(np.arange(num), 2),
                    clip=np.arange(num), weight=np.ones(num), clusters=list(range(num)))  # fmt: skip
    values = clip_values(claims, np.array([0.9]), np.array([0.2]))
    assert values.mean() == pytest.approx(truth.all(1).mean(), abs=0.01)
    assert held.all(1).mean() < truth.all(1).mean() - 0.03  # what the judge says is not it


def test_what_the_judge_cannot_have_said_is_impossible() -> None:
    assert corrected_share(single(np.arange(400) < 20), rates_of(0.9, 0.4)).is_impossible
    share = corrected_share(single(np.arange(100) < 92), rates_of(0.9, 0.2))
    assert share.value > 1
    assert not share.is_impossible
    assert share.clipped[0] == share.clipped[2] == 1.0


def test_clips_without_spread_still_have_an_interval() -> None:
    share = corrected_share(single(np.ones(60)), rates_of(1.0, 0.1))
    assert share.clipped[0] == pytest.approx(1.0, abs=1e-3)
    assert share.low < 0.95


@pytest.mark.slow
@pytest.mark.parametrize("accuracy", [0.7, 0.9])
@pytest.mark.parametrize("prevalence", [0.5, 0.9])
def test_its_interval_holds_the_truth(accuracy: float, prevalence: float) -> None:
    """Of 300 simulated audits and scorings, each of 60 prompts with four seeds; 93 to 100 % (two errors of chance)."""
    rng, held, judged = np.random.default_rng(7), 0, 0
    for _ in range(300):
        hits, alarms = rng.binomial(200, accuracy), rng.binomial(200, 1 - accuracy)
        row = Confusion(kind="color", answer="red", true=200, hits=int(hits), false=200, alarms=int(alarms), clips=400)
        share = rng.beta(3 * prevalence, 3 * (1 - prevalence), (60, 1))
        truth = rng.random((60, 4)) < share
        yes = rng.random(truth.shape) < np.where(truth, accuracy, 1 - accuracy)
        clusters = np.repeat(np.arange(60), 4).tolist()
        _, low, high = corrected_share(single(yes.ravel(), clusters), error_rates([row], [("color", "red")])).clipped
        held += low <= prevalence <= high
        plain = mean_interval(yes.ravel().astype(float).tolist(), clusters)
        judged += plain.low <= prevalence <= plain.high
    assert held / 300 >= 0.925
    if prevalence == 0.9:
        assert judged / 300 < 0.5
