"""Levels of repeated looks: what is spent never exceeds alpha, series may change from look to look."""

from __future__ import annotations

import numpy as np
import pytest

from v2t_eval.core.sequential import levels, p_values_and_levels, p_values_and_ranks, spent_until


def rows(rng, series, num, seen=None):
    counts = np.broadcast_to((np.arange(num) < (seen or num)).astype(float), (series, num))
    return np.stack([rng.standard_normal((series, num)) * counts, counts], -1)


def test_looks_of_different_series_are_those_of_each_alone_joined():
    rng = np.random.default_rng(0)
    sums = [rows(rng, 6, 40, 16), rows(rng, 2, 40)]
    spans = [np.full(6, 3.0), np.full(2, 3.0)]
    p, limits = p_values_and_levels(sums, spans, alpha=0.05)
    tests = [p_values_and_ranks(each, span, alpha=0.05) for each, span in zip(sums, spans, strict=True)]
    assert [one.shape for one in p] == [(6,), (2,)] and (p[1] == tests[1][0]).all()
    assert (limits == levels([ranks for _, ranks in tests], 0.05)).all()
    assert limits[0] < spent_until(0.05, 1)  # six series share it


def test_what_is_spent_grows_with_the_looks_and_stays_below_alpha():
    shares = [spent_until(0.05, look) for look in range(1, 50)]
    assert shares == sorted(shares) and shares[0] == pytest.approx(0.0125) and shares[-1] < 0.05


def test_prompts_that_are_not_drawn_yet_do_not_count():
    rng = np.random.default_rng(1)
    some = rows(rng, 2, 40, 20)
    some[..., 0] -= 2 * some[..., 1]
    p, _ = p_values_and_ranks(some, np.full(2, 5.0), alpha=0.05)
    none = np.zeros((2, 40, 2))
    none[:, 0] = some[:, 0]
    assert (p < 0.05).all() and (p_values_and_ranks(none, np.full(2, 5.0), alpha=0.05)[0] == 1).all()
