"""Highlights: closed forms, the interpolated curve point by point, the two modes, properties."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from metric_results import result_of
from v2t_eval.core.sample import Sample
from v2t_eval.metrics.highlights import Metric, average_precision, worst_average_precision


def asked(id: str, saliency: list, relevance: list) -> Sample:
    return Sample(id=id, row={"saliency": saliency, "relevance": relevance})


score = partial(result_of, Metric)


@pytest.mark.parametrize(
    ("telling", "scores", "value"),
    [
        ([1, 0, 0], [3, 2, 1], 1.0),
        ([0, 1, 0], [3, 2, 1], 0.5),
        ([0, 0, 1], [3, 2, 1], 1 / 3),
        ([1, 0, 1], [3, 2, 1], (1 + 2 / 3) / 2),
        ([0, 1, 1], [3, 2, 1], 2 / 3),  # precision 1/2 then 2/3: interpolated, both are 2/3
        ([1, 1, 1], [1, 2, 3], 1.0),
        ([0, 0, 0], [1, 2, 3], 0.0),
        ([1, 0, 0, 0], [5, 5, 5, 5], 0.25),
        ([1, 1, 0, 0], [5, 5, 1, 1], 1.0),
    ],
)
def test_average_precision(telling, scores, value) -> None:
    assert average_precision(np.array(telling, bool), np.array(scores, float)) == pytest.approx(value)


def test_average_precision_against_the_curve_point_by_point() -> None:
    draw = np.random.default_rng(0)
    for _ in range(60):
        telling = draw.random(12) < 0.4
        telling[:2] = True, False
        scores = draw.integers(0, 6, 12).astype(float)  # with ties
        points = []  # recall and precision at each threshold, the highest first
        for threshold in sorted(set(scores), reverse=True):
            chosen = scores >= threshold
            points.append((telling[chosen].sum() / telling.sum(), telling[chosen].mean()))
        steps = [n for n in range(len(points)) if points[n][0] > (points[n - 1][0] if n else 0)]
        best = [max(precision for _, precision in points[n:]) for n in steps]
        assert average_precision(telling, scores) == pytest.approx(np.mean(best), abs=1e-12)
        broken = scores - telling * 1e-6 - np.arange(12) * 1e-9  # the same order, with ties broken the worst way
        assert worst_average_precision(telling, scores) == pytest.approx(average_precision(telling, broken))


def test_people_count_each_for_the_precision_and_any_for_the_hit() -> None:
    result = score(asked("a", [0.1, 0.9, 0.5], [[4, 0, 1], [2, 4, 3], [0, 0, 4]]))
    # of three people the first finds part 0 (ranked third), the second part 1 (first), the third part 2 (second)
    assert result.value == pytest.approx((1 / 3 + 1 + 1 / 2) / 3)
    assert result.figures["HIT@1"].value == 1.0
    assert score(asked("a", [0.1, 0.9, 0.5], [[4, 0, 1], [2, 3, 3], [0, 0, 4]])).figures["HIT@1"].value == 0.0
    assert score(asked("a", [0.1, 0.9, 0.5], [[4, 0, 1], [2, 3, 3], [0, 0, 4]]), least=3).figures["HIT@1"].value == 1.0


def test_a_person_without_highlight_is_zero_there_and_left_out_here() -> None:
    row = asked("a", [3, 2, 1], [[4, 0], [0, 0], [0, 1]])
    assert score(row).value == 0.5
    fixed = score(row, mode="fixed")
    assert fixed.value == 1.0 and fixed.counts["people without a highlight"] == 1
    none = score(row, asked("b", [1, 2], [0, 3]), mode="fixed")
    assert none.coverage == 0.5 and none.failures[0]["code"] == "NO_HIGHLIGHT"


def test_a_constant_is_worth_nothing_in_fixed_mode() -> None:
    row = asked("a", [7.0] * 10, [4] * 5 + [0] * 5)
    assert score(row).figures["HIT@1"].value == 1.0 and score(row).value == 0.5
    fixed = score(row, mode="fixed")
    assert fixed.figures["HIT@1"].value == 0.0
    assert fixed.value == pytest.approx(0.5)  # five of ten, after five that are not: never better than one half


def test_lengths_that_differ() -> None:
    longer = score(asked("a", [1, 2, 9], [4, 0]))  # the greatest score lies beyond the judged parts
    assert longer.figures["HIT@1"].value == 0.0 and longer.value == 0.5
    assert longer.counts["scores and parts differ in number"] == 1
    assert score(asked("a", [5], [0, 4, 0])).value == pytest.approx(1 / 3)


def test_rows_that_cannot_be_judged() -> None:
    result = score(
        asked("a", [2, 1], [4, 0]),
        asked("b", [], [4, 0]),
        asked("c", [1, float("nan")], [4, 0]),
        asked("d", ["x", 1], [4, 0]),
        asked("e", [1, 2], [[4, 0], [1]]),
        Sample(id="f", row={"saliency": [1]}),
    )
    assert [one["code"] for one in result.failures] == ["BAD_ROW"] * 4 + ["NO_RELEVANCE"]
    assert result.value == 1.0


def test_direction_order_and_scale() -> None:
    draw = np.random.default_rng(1)
    true = draw.uniform(0, 5, (40, 10))
    relevance = np.clip(np.round(true[..., None] + draw.normal(0, 0.4, (40, 10, 3))), 0, 4)
    near = true + draw.normal(0, 0.8, (40, 10))

    def of(scores) -> object:
        return score(*[asked(f"{i:02}", list(scores[i]), relevance[i].tolist()) for i in range(40)])

    values = [of(one).value for one in (true, near, draw.random((40, 10)), -near)]
    assert values == sorted(values, reverse=True) and values[0] > values[2] + 0.2 > values[3] + 0.2
    assert of(np.exp(near)).figures == of(near).figures
    backwards = [asked(f"{i:02}", list(near[i]), relevance[i].tolist()) for i in reversed(range(40))]
    assert score(*backwards) == of(near)
