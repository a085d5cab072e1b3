"""Diversity: clips of one prompt that are alike, and prompts with one clip."""

from __future__ import annotations

import numpy as np
import pytest

from v2t_eval.core.measurement import Observation
from v2t_eval.metrics.diversity import Metric


def row(id: str, prompt: str, *features: float) -> Observation:
    return Observation(
        id=id, cluster=prompt, evidence={"features": list(np.array(features) / np.linalg.norm(features))}
    )


def test_the_mean_over_prompts_of_one_minus_cosine():
    rows = [row("a", "x", 1, 0), row("b", "x", 0, 1), row("c", "x", 1, 1), row("d", "y", 1, 0), row("e", "y", 2, 0),
            row("f", "z", 1, 2)]  # fmt: skip
    found = Metric().summarise(rows, [])
    x = np.mean([1, 1 - 0.5**0.5, 1 - 0.5**0.5])
    figure = found.figures["diversity"]
    assert figure.value == pytest.approx((x + 0) / 2) and figure.low >= 0 and figure.n == 2
    assert found.scored == 5 and found.counts == {"prompts with one clip": 1}


def test_without_two_clips_of_a_prompt_there_is_none():
    found = Metric().summarise([row("a", "x", 1, 0), row("b", "y", 0, 1)], [])
    assert not found.figures and found.scored == 0


def test_order_does_not_matter():
    rng = np.random.default_rng(0)
    rows = [row(str(n), str(n % 5), *rng.standard_normal(8)) for n in range(30)]
    one, other = (Metric().summarise(each, []).figures["diversity"] for each in (rows, rows[::-1]))
    assert (one.value, one.low, one.high) == pytest.approx((other.value, other.low, other.high))


def test_one_prompt_says_little_of_others():
    found = Metric().summarise([row("a", "x", 1, 0), row("b", "x", 1, 1)], []).figures["diversity"]
    assert found.n == 1 and found.low < 0.1 and found.high > 1.5, "one prompt has no spread: the interval had no width"
