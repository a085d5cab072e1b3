"""Spans: IoU by hand-made cases, A14, and a metric in which an answer without a span counts."""

from __future__ import annotations

import random
from functools import partial

import numpy as np
import pytest

from metric_results import result_of
from v2t_eval.core.sample import Sample
from v2t_eval.metrics.answers import judge
from v2t_eval.metrics.spans import Metric, average_precision, tiou


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


def asked(id, said, *true, **row):
    return Sample(id=id, row={"spans": said, "reference_spans": [list(span) for span in true], **row})


score = partial(result_of, Metric)


def test_the_first_span_counts_and_none_is_a_miss():
    samples = (
        asked("a", [(0, 2), (5, 6)], (0, 2)),
        asked("b", [(5, 6), (0, 2)], (0, 2)),
        asked("c", [], (0, 2)),
        asked("d", [(0, 1)], (0, 2)),
    )
    result = score(*samples)
    assert result.value == pytest.approx(1.5 / 4) and result.coverage == 1.0
    assert result.counts == {"missing": 1, "invalid": 0}
    assert result.figures["R@1 IoU>=0.5"].value == 0.5 and result.figures["R@1 IoU>=0.7"].value == 0.25
    assert result.figures["R@5 IoU>=0.7"].value == 0.5 and "R@2 IoU>=0.7" in score(*samples, first=(2,)).figures
    assert score(*reversed(samples)) == result


def test_any_of_the_first_k_counts_and_no_later_one():
    said = [[10 + i, 11 + i] for i in range(5)] + [[0, 2]]
    figures = score(asked("a", said, (0, 2)), first=(1, 5, 6)).figures
    assert [figures[f"R@{k} IoU>=0.5"].value for k in (1, 5, 6)] == [0.0, 0.0, 1.0]


@pytest.mark.parametrize("said", [[[2, 1]], [[-1, 2]], [[float("nan"), 2]], [[0, float("inf")]], [[0, 4.2]], [[8, 9]]])
def test_spans_that_are_none_count_as_zero_and_are_reported(said):
    result = score(asked("a", said, (0, 2), duration_s=4.0), asked("b", [[0, 2]], (0, 2), duration_s=4.0))
    assert result.value == 0.5 and result.counts == {"missing": 0, "invalid": 1} and result.coverage == 1.0
    assert score(asked("a", [[0, 4.05]], (0, 4.05), duration_s=4.0)).counts["invalid"] == 0


def test_of_several_true_spans_the_best_counts():
    assert score(asked("a", [[4, 6]], (0, 2), (4, 6))).value == 1.0


@pytest.mark.parametrize(
    ("ious", "least", "value"),
    [
        ([[1.0]], 0.5, 1.0),
        ([[0.4]], 0.5, 0.0),
        ([[0.0], [0.6]], 0.5, 0.5),
        ([[0.9], [0.9]], 0.5, 1.0),  # the second finds nothing new
        ([[0.9, 0.0]], 0.5, 0.5),
        ([[0.9, 0.8], [0.9, 0.7]], 0.5, 1.0),  # the second takes what is left
        ([[0.0, 0.0], [0.9, 0.0], [0.0, 0.9]], 0.5, 2 / 3),  # precision 1/2 then 2/3, interpolated to 2/3
        ([[0.9, 0.0], [0.0, 0.0], [0.0, 0.9]], 0.5, (1 + 2 / 3) / 2),
        (np.zeros((0, 2)), 0.5, 0.0),
    ],
)
def test_average_precision(ious, least, value):
    assert average_precision(np.asarray(ious, dtype=float), least) == pytest.approx(value)


def test_average_precision_is_that_of_the_recall_curve():
    """Against the area under the interpolated curve of precision over recall, drawn point by point."""
    draw = np.random.default_rng(0)
    for _ in range(50):
        ious, least = draw.random((draw.integers(1, 9), draw.integers(1, 5))), 0.6
        free, hits = set(range(ious.shape[1])), []
        for row in ious:
            best = max(free, key=lambda index: row[index], default=None)
            hits.append(best is not None and row[best] >= least)
            if hits[-1]:
                free.discard(best)
        recall = np.cumsum(hits) / ious.shape[1]
        precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
        steps = np.diff(np.concatenate([[0.0], recall]))
        area = sum(step * precision[number:].max() for number, step in enumerate(steps))
        assert average_precision(ious, least) == pytest.approx(area, abs=1e-12)


def test_mean_average_precision():
    result = score(asked("a", [[0, 10]], (0, 10)), asked("b", [[0, 10]], (0, 7.2)))  # the IoU of b is .72
    assert result.figures["mAP"].value == pytest.approx((1 + 5 / 10) / 2)
    assert result.figures["mAP IoU>=0.5"].value == 1.0 and result.figures["mAP IoU>=0.75"].value == 0.5


def test_rows_that_cannot_be_judged():
    result = score(
        asked("a", [[0, 2]], (0, 2)),
        asked("b", "0 to 2", (0, 2)),
        asked("c", [[0, 2]]),
        asked("d", [[0, 2]], (2, 1)),
        Sample(id="e", row={"reference_spans": [[0, 1]]}),
    )
    assert [one["code"] for one in result.failures] == ["BAD_ROW", "BAD_REFERENCE", "BAD_REFERENCE", "NO_SPANS"]
    assert result.value == 1.0 and result.coverage == 0.2


def test_truth_beats_guesses():
    draw = random.Random(0)
    true = [(start := draw.uniform(0, 8), start + draw.uniform(0.5, 2)) for _ in range(60)]
    near = [(start + draw.gauss(0, 0.2), end + draw.gauss(0, 0.2)) for start, end in true]
    values = [
        score(*[asked(str(i), [said[i]], true[i]) for i in range(60)]).value
        for said in (true, near, true[1:] + true[:1])
    ]
    assert values[0] == 1.0 and 0.5 < values[1] < 0.95 and values[2] < 0.3


def test_a_span_answer_is_right_within_half_a_second_and_never_means_never():
    true = "from 1.0 to 2.0 seconds"
    assert judge("span", "from 1.4 to 1.6 seconds", true) == "right"
    assert judge("span", "from 1.6 to 2.0 seconds", true) == "wrong"
    assert judge("span", "it does not happen", true) == "unreadable"
    assert judge("span", "it does not happen", "it does not happen") == "right"
    assert judge("span", "from 1.4 to 1.6 seconds", "it does not happen") == "wrong"
    assert judge("span", "the dog", "it does not happen") == "wrong"
