"""Chance correction, derangements and AUROC of the round trip, against planted scores and brute force."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from v2t_eval.audit.sensitivity import auroc
from v2t_eval.roundtrip.calibration import Pair, _aurocs, _Scores, calibrate, others


def pairs(num, own, wrong, most=8, seed=0):
    """Matched and mismatched pairs of `num` prompts with scores drawn by `own()` and `wrong()`."""
    held = others(num, most, lambda a, b: False, seed)
    matched = [Pair(prompt=i, other=i, value=own()) for i in range(num)]
    mismatched = [
        Pair(prompt=i, other=k, half=rank % 2, value=wrong()) for i in range(num) for rank, k in enumerate(held[i])
    ]
    return matched, mismatched


def calibrated(own, wrong, top=(), top_wrong=()):
    """The figures of a table of the generator's pairs and the ceiling's."""
    return calibrate([*own, *wrong, *(replace(pair, side="ceiling") for pair in (*top, *top_wrong))])


def test_each_prompt_is_held_against_others_and_never_against_its_own_or_its_like():
    held = others(20, 8, lambda a, b: a % 5 == b % 5)
    assert all(len(set(each)) == len(each) == 8 for each in held)
    assert all(i % 5 != k % 5 for i, each in enumerate(held) for k in each)
    free = others(20, 8, lambda a, b: False)
    assert sorted(k for each in free for k in each) == sorted([*range(20)] * 8)  # captions come equally often
    assert others(20, 8, lambda a, b: False, seed=1) != free
    assert others(3, 8, lambda a, b: a != b) == [[], [], []]
    assert others(1, 8, lambda a, b: False) == [[]]


@pytest.mark.parametrize("num", [12, 60])
def test_perfect_captions_are_one_and_others_are_nothing(num):
    draw = np.random.default_rng(0)
    own, wrong = pairs(num, lambda: 1.0, lambda: float(draw.uniform(0, 0.6)))
    found = calibrated(own, wrong, own, wrong)
    assert found.corrected.value == found.ceiling_corrected.value == 1
    assert found.auroc.value == found.ceiling_auroc.value == 1
    assert found.auroc.low < 1  # without spread there is no proof that there is none
    assert found.deranged.low <= 0 <= found.deranged.high
    assert found.floor.value == pytest.approx(0.3, abs=0.08)


@pytest.mark.parametrize("num", [12, 60])
def test_captions_of_other_prompts_are_at_chance(num):
    draw = np.random.default_rng(1)
    own, wrong = pairs(num, lambda: float(draw.uniform(0, 0.6)), lambda: float(draw.uniform(0, 0.6)))
    top, top_wrong = pairs(num, lambda: float(draw.uniform(0.9, 1)), lambda: float(draw.uniform(0, 0.6)))
    found = calibrated(own, wrong, top, top_wrong)
    assert found.corrected.low <= 0 <= found.corrected.high
    assert found.auroc.low <= 0.5 <= found.auroc.high
    assert found.ceiling_corrected.value > 0.85
    assert found.ceiling_auroc.value == 1


@pytest.mark.slow
def test_the_intervals_of_nothing_hold_zero_as_often_as_they_say():
    hits = 0
    for seed in range(60):
        draw = np.random.default_rng(seed)
        own, wrong = pairs(16, lambda: 1.0, lambda draw=draw: float(draw.beta(2, 5)), seed=seed)
        found = calibrated(own, wrong, own, wrong).deranged
        hits += found.low <= 0 <= found.high
    assert hits >= 52


def test_the_figures_are_those_of_the_formulas():
    own = [Pair(prompt=i, other=i, value=v) for i, v in enumerate((0.5, 0.7, 0.9))]
    top = [Pair(prompt=i, other=i, value=v) for i, v in enumerate((0.9, 0.9, 0.9))]
    wrong = [Pair(prompt=i, other=(i + 1) % 3, half=0, value=0.1) for i in range(3)]
    wrong += [Pair(prompt=i, other=(i + 2) % 3, half=1, value=0.3) for i in range(3)]
    found = calibrated(own, wrong, top, wrong)
    assert found.floor.value == pytest.approx(0.1)
    assert found.corrected.value == pytest.approx((0.7 - 0.1) / (0.9 - 0.1))
    assert found.deranged.value == pytest.approx((0.3 - 0.1) / (0.9 - 0.1))
    assert found.ceiling_corrected.value == pytest.approx((0.9 - 0.1) / (1 - 0.1))
    assert calibrated(own, wrong).corrected.value == pytest.approx((0.7 - 0.1) / (1 - 0.1))  # no ceiling: of the best
    assert calibrated(own, [], top, []).corrected is None  # no floor


def test_a_ceiling_at_the_floor_has_no_room_to_tell():
    own, wrong = pairs(10, lambda: 0.4, lambda: 0.4)
    found = calibrated(own, wrong, own, wrong)
    assert found.corrected is None
    assert found.generator.value == pytest.approx(0.4)


def test_prompts_that_lack_a_side_are_left_out():
    own, wrong = pairs(10, lambda: 0.6, lambda: 0.2)
    found = calibrated(own, wrong, [pair for pair in own if pair.prompt < 7], wrong)
    assert found.prompts == 7


def test_auroc_is_the_one_of_brute_force_with_ties():
    draw = np.random.default_rng(3)
    own, wrong = pairs(40, lambda: round(draw.uniform(0.2, 1), 1), lambda: round(draw.uniform(0, 0.8), 1), most=1)
    expected, _ = auroc([pair.value for pair in own], [pair.value for pair in wrong])
    assert calibrated(own, wrong).auroc.value == pytest.approx(expected)


def test_seeds_of_one_prompt_are_one_case():
    draw = np.random.default_rng(4)
    own, wrong = pairs(40, lambda: float(draw.uniform(0, 1)), lambda: 0.0)
    once, often = calibrated(own, wrong).corrected, calibrated(own * 5, wrong * 5).corrected
    assert (often.low, often.high, often.n) == pytest.approx((once.low, once.high, 40))


@pytest.mark.slow
def test_the_interval_is_that_of_drawing_prompts():
    """Some captions fit anything: what they add to the floor goes with the prompt whose captions they are."""
    draw = np.random.default_rng(5)
    own, wrong = pairs(50, lambda: float(draw.uniform(0.7, 0.8)), lambda: 0.0)
    fits = draw.uniform(0, 0.6, 50)
    wrong = [Pair(prompt=p.prompt, other=p.other, half=p.half, value=float(fits[p.other])) for p in wrong]
    found = calibrated(own, wrong).corrected
    values, means = np.array([pair.value for pair in own]), []
    other = np.random.default_rng(9)
    for _ in range(2000):
        times = np.bincount(other.integers(0, 50, 50), minlength=50)
        kept = [(times[p.prompt] * times[p.other], p.value) for p in wrong if p.half == 0]
        floor = sum(w * v for w, v in kept) / sum(w for w, _ in kept)
        means.append((times @ values / 50 - floor) / (1 - floor))
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(means, (0.025, 0.975))), abs=0.004)


@pytest.mark.parametrize("num", [4, 40])
def test_an_undefined_resample_is_never_left_out_in_silence(num):
    """One prompt alone makes the room between floor and ceiling: without it nothing can be told."""
    own = [Pair(prompt=i, other=i, value=0.5 + 0.25 * (i == 0)) for i in range(num)]
    ceiling = [Pair(prompt=i, other=i, value=0.5 + 0.5 * (i == 0)) for i in range(num)]
    wrong = [Pair(prompt=i, other=(i + 1) % num, value=0.5, half=h) for i in range(num) for h in (0, 1)]
    found = calibrated(own, wrong, ceiling, wrong)
    assert found.corrected is None and found.generator is not None
    (note,) = [note for note in found.notes if note.startswith("corrected")]
    assert f"1 of {num} prompts" in note


def test_it_takes_no_more_memory_than_the_scores():
    """300 prompts with 4 clips against 8 others: an array of scores and prompts alone would be 23 MB."""
    rng, compared = np.random.default_rng(0), others(300, 8, lambda a, b: False)
    own = [Pair(prompt=p, other=p, value=rng.random()) for p in range(300) for _ in range(4)]
    wrong = [Pair(prompt=p, other=o, half=n % 2, value=rng.random())
             for p in range(300) for _ in range(4) for n, o in enumerate(compared[p])]  # fmt: skip
    tracemalloc.start()
    found = calibrated(own, wrong)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.prompts == 300 and most < 5e6


def test_a_prompt_is_left_out_with_all_that_depends_on_it():
    """Each jackknife value is the figure of the set without that prompt, to rounding."""
    rng, compared = np.random.default_rng(1), others(9, 3, lambda a, b: False)
    level = lambda: float(rng.integers(0, 4)) / 4  # noqa: E731  ties
    own = [Pair(prompt=p, other=p, value=level()) for p in range(9) for _ in range(2)]
    wrong = [Pair(prompt=p, other=o, half=n % 2, value=level()) for p in range(9) for n, o in enumerate(compared[p])]
    at = {prompt: prompt for prompt in range(9)}
    both = _Scores(own, at), _Scores(wrong, at)
    for gone in range(9):
        left = [[pair for pair in pairs if gone not in (pair.prompt, pair.other)] for pairs in (own, wrong)]
        assert both[1].means()[gone + 1] == pytest.approx(np.mean([pair.value for pair in left[1]]), abs=1e-12)
        above, below = (np.array([pair.value for pair in pairs]) for pairs in left)
        brute = np.mean((above[:, None] > below) + 0.5 * (above[:, None] == below))
        assert _aurocs(*both)[gone + 1] == pytest.approx(brute, abs=1e-12)
