"""Dense captions: the best pairing against trying all, SODA_c by hand, scores over IoU, METEOR where Java is."""

from __future__ import annotations

import random
from itertools import combinations

import numpy as np
import pytest

from metric_results import result_of
from v2t_eval.core.sample import Sample
from v2t_eval.metrics.dense_captions import Metric, best_in_order
from v2t_eval.text.java import java_missing
from v2t_eval.text.ngrams import token_f1


def events(*told: tuple) -> list[dict]:
    return [{"start_s": start, "end_s": end, "caption": text} for start, end, text in told]


def asked(id: str, told: list[dict], true: list[dict], cluster: str = "", **row: object) -> Sample:
    return Sample(id=id, row={"events": told, "reference_events": true, **row}, cluster=cluster)


def dense(*samples: Sample, **settings):
    return result_of(Metric, *samples, **{"similarity": "token_f1", **settings})


def value(result, name: str) -> float:
    return result.figures[name].value


TRUE = events((0, 2, "a dog runs"), (2, 4, "a cat sleeps"), (4, 6, "a bird flies away"))


def test_the_best_pairing_is_that_of_trying_all() -> None:
    draw = np.random.default_rng(0)
    for _ in range(60):
        num, other = draw.integers(1, 5, 2)
        values = draw.random((num, other)) * (draw.random((num, other)) < 0.7)
        best = 0.0
        for size in range(1, min(num, other) + 1):
            for rows in combinations(range(num), size):
                for columns in combinations(range(other), size):
                    best = max(best, sum(values[r, c] for r, c in zip(rows, columns, strict=True)))
        assert best_in_order(values) == pytest.approx(best)
    assert best_in_order(np.zeros((0, 3))) == 0.0
    assert best_in_order(np.array([[0.0, 1.0], [1.0, 0.0]])) == 1.0  # crossing pairs cannot both count


def test_token_f1() -> None:
    assert token_f1("a dog runs", "a dog sleeps") == pytest.approx(2 / 3)
    assert token_f1("", "") == 1.0 and token_f1("", "a") == 0.0 and token_f1("a a", "a b") == 0.5


def test_what_is_told_as_it_is_scores_one() -> None:
    result = dense(asked("a", TRUE, TRUE), asked("b", TRUE[:2], TRUE[:2]))
    assert {value(result, f"SODA_c{part}") for part in ("", " precision", " recall")} == {1.0}
    assert value(result, "token F1 over tIoU") == 1.0 and value(result, "CIDEr over tIoU") > 5
    assert result.name == "dense_captions[similarity=token_f1]" and result.coverage == 1.0


def test_soda_by_hand() -> None:
    told = events((0, 4, "a dog runs"), (4, 6, "a bird sings"))  # IoU 1/2 with the first two, 1 with the third
    one = dense(asked("a", told, TRUE))
    # pairs: first with first 1/2 * 1, second with third 1 * F1(a bird sings, a bird flies away) = 4/7
    assert value(one, "SODA_c precision") == pytest.approx((0.5 + 4 / 7) / 2)
    assert value(one, "SODA_c recall") == pytest.approx((0.5 + 4 / 7) / 3)
    assert one.value == pytest.approx(2 * (0.5 + 4 / 7) / 5) == one.items[0]["value"]
    both = dense(asked("a", told, TRUE), asked("b", TRUE[:1], TRUE[:1]))
    assert both.value == pytest.approx(2 * (0.5 + 4 / 7 + 1) / 7)  # of the sums, no mean over clips


def test_scores_where_the_times_fit() -> None:
    told = events((0, 4, "a dog runs"), (20, 21, "a cat sleeps"))
    result = dense(asked("a", told, TRUE))
    # up to IoU 1/2 the first is held against the first two true events, 1 and 1/3; the second against nonsense
    assert value(result, "token F1 tIoU>=0.5") == value(result, "token F1 tIoU>=0.3") == pytest.approx((1 + 1 / 3) / 3)
    assert value(result, "token F1 tIoU>=0.7") == value(result, "token F1 tIoU>=0.9") == 0.0
    assert value(result, "token F1 over tIoU") == pytest.approx((4 / 9 + 4 / 9) / 4)


def test_cider_of_a_clip_alone_and_of_the_set() -> None:
    samples = [asked("a", TRUE[:1], TRUE[:1]), asked("b", TRUE[1:2], TRUE[1:2])]
    assert value(dense(*samples), "CIDEr over tIoU") == 0.0  # one pair a clip: log(1 / 1) weighs nothing
    fixed = dense(*samples, mode="fixed")
    assert value(fixed, "CIDEr over tIoU") == pytest.approx(10 * 3 / 4)  # three words: no 4-gram
    assert fixed.name == "dense_captions[similarity=token_f1,mode=fixed]"


def test_order_of_time_matters_and_order_in_the_file_does_not() -> None:
    turned = [{**event, "caption": other["caption"]} for event, other in zip(TRUE, TRUE[::-1], strict=True)]
    assert dense(asked("a", turned, TRUE)).value < 0.6
    assert dense(asked("a", TRUE[::-1], TRUE)).value == dense(asked("a", TRUE, TRUE[::-1])).value == 1.0
    samples = [asked(str(n), TRUE[: n % 3 + 1], TRUE) for n in range(9)]
    assert dense(*reversed(samples)) == dense(*samples)


def test_more_and_longer_is_not_better() -> None:
    precise = dense(asked("a", TRUE, TRUE)).value
    repeated = dense(asked("a", [*TRUE, *TRUE], TRUE)).value
    whole = dense(asked("a", events((0, 6, "a dog runs a cat sleeps a bird flies away")), TRUE)).value
    assert repeated == pytest.approx(2 / 3) and whole < repeated < precise


def test_what_is_missing_or_no_event_counts_as_zero() -> None:
    odd = events((2, 0, "a dog runs"), (0, 60, "a dog runs"), (float("nan"), 2, "a dog runs"))
    result = dense(asked("a", TRUE, TRUE), asked("b", [], TRUE), asked("c", odd, TRUE, duration_s=6.0))
    assert result.counts == {"missing": 1, "invalid": 3} and result.coverage == 1
    assert result.value == pytest.approx(2 * 3 / (6 + 9)) and [item["value"] for item in result.items] == [
        1.0,
        0.0,
        0.0,
    ]
    assert value(result, "token F1 over tIoU") == pytest.approx(1 / 3)


def test_rows_that_cannot_be_judged() -> None:
    result = dense(
        asked("a", TRUE, TRUE),
        asked("b", TRUE, []),
        asked("c", TRUE, events((2, 1, "x"))),
        asked("d", [{"start_s": 0, "end_s": 1}], TRUE),
        asked("e", [{"start_s": 0, "end_s": 1, "caption": None}], TRUE),
        asked("f", ["a dog"], TRUE),
        Sample(id="g", row={"reference_events": TRUE}),
    )
    codes = ["BAD_REFERENCE", "BAD_REFERENCE", "BAD_ROW", "BAD_ROW", "BAD_ROW", "NO_EVENTS"]
    assert [one["code"] for one in result.failures] == codes and result.value == 1.0


@pytest.mark.slow
def test_intervals_count_clusters() -> None:
    draw = random.Random(0)
    samples = [asked(f"{n:02}", draw.sample(TRUE, draw.randint(1, 3)), TRUE) for n in range(40)]
    copies = [Sample(id=f"{one.id}/{copy}", row=one.row, cluster=one.id) for one in samples for copy in range(3)]
    once, thrice = dense(*samples).figures, dense(*copies).figures
    for name in ("SODA_c", "token F1 over tIoU", "CIDEr over tIoU"):
        whole, copied = once[name], thrice[name]
        assert (copied.value, copied.low, copied.high) == pytest.approx((whole.value, whole.low, whole.high))
    few, many = dense(*samples[:6]).figures["SODA_c"], once["SODA_c"]
    assert few.high - few.low > 1.5 * (many.high - many.low) > 0


TOLD = events((0, 2, "a brown dog is running"), (2, 4, "cats sleep"), (9, 10, "nothing"))


@pytest.mark.long
@pytest.mark.java
@pytest.mark.skipif(bool(java_missing("meteor/meteor-1.5.jar")), reason="METEOR needs Java and pycocoevalcap")
def test_meteor_is_that_of_pycocoevalcap() -> None:
    result = dense(asked("a", TOLD, TRUE), asked("b", [], TRUE), similarity="auto")
    # pycocoevalcap 1.2: "a dog runs" against "a brown dog is running" .2018099653403404, of the other pair 0
    assert result.items[0]["value"] == pytest.approx(2 * 0.2018099653403404 / 6, abs=1e-6)
    # The three pairs of a told caption with the true one that fits or with nonsense .1421115601883928; IoU are 0 or 1.
    for name in ("METEOR over tIoU", "METEOR tIoU>=0.3", "METEOR tIoU>=0.9"):
        assert value(result, name) == pytest.approx(0.1421115601883928 / 2, abs=1e-6)
    assert result.name == "dense_captions" and "meteor" in result.fingerprint


def test_which_caption_is_the_hypothesis(monkeypatch) -> None:
    asked_for = []

    def statistics(samples):
        asked_for.extend((one.caption, *one.references) for one in samples)
        return np.ones((len(samples), 23))

    monkeypatch.setattr("v2t_eval.metrics.dense_captions.need_java", lambda jar: __file__)
    monkeypatch.setattr("v2t_eval.metrics.meteor.statistics", statistics)
    for mode, swapped in (("compat", True), ("fixed", False)):
        asked_for.clear()
        dense(asked("a", TOLD[:1], TRUE), similarity="meteor", mode=mode)
        assert (("a dog runs", "a brown dog is running") in asked_for) == swapped
        assert ("a brown dog is running", "a dog runs") in asked_for
