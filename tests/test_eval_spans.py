"""Spans: IoU by hand-made cases, and a metric in which an answer without a span counts."""

from __future__ import annotations

import pytest

from eval.metrics.answers import judge
from eval.metrics.spans import Metric, tiou


@pytest.mark.parametrize(
    ("one", "other", "value"),
    [
        ((0, 2), (0, 2), 1.0),
        ((0, 2), (1, 3), 1 / 3),
        ((0, 1), (2, 3), 0.0),
        ((0, 4), (1, 2), 0.25),
        ((1, 1), (1, 1), 1.0),
        ((1, 1), (0, 2), 0.0),
        ((0, 1), (1, 2), 0.0),
    ],
)
def test_iou_of_two_spans(one, other, value):
    assert tiou(one, other) == pytest.approx(value) and tiou(other, one) == pytest.approx(value)


def test_a_span_that_ends_before_it_starts_is_refused():
    with pytest.raises(ValueError, match="must not end before"):
        tiou((2, 1), (0, 1))


def test_only_the_first_span_counts_and_none_is_a_miss():
    metric = Metric()
    metric.update("a", [(0, 2), (5, 6)], (0, 2))
    metric.update("b", [(5, 6), (0, 2)], (0, 2))
    metric.update("c", [], (0, 2))
    metric.update("d", [(0, 1)], (0, 2))
    result = metric.compute()
    assert result.value == pytest.approx(1.5 / 4) and result.coverage == 0.75 and result.counts == {"missing": 1}
    assert result.figures["R@1 IoU>=0.5"].value == 0.5 and result.figures["R@1 IoU>=0.7"].value == 0.25
    with pytest.raises(ValueError, match="no span"):
        Metric().compute()


def test_a_span_answer_is_right_within_half_a_second_and_never_means_never():
    true = "from 1.0 to 2.0 seconds"
    assert judge("span", "from 1.4 to 1.6 seconds", true) == "right"
    assert judge("span", "from 1.6 to 2.0 seconds", true) == "wrong"
    assert judge("span", "it does not happen", true) == "unreadable"
    assert judge("span", "it does not happen", "it does not happen") == "right"
    assert judge("span", "from 1.4 to 1.6 seconds", "it does not happen") == "wrong"
    assert judge("span", "the dog", "it does not happen") == "wrong"
