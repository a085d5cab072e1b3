"""Answers: judging one, balanced accuracy, and questions of one clip that belong together."""

from __future__ import annotations

import math
from functools import partial

import pytest

from cineloop.intervals import wilson
from metric_results import result_of
from v2t_eval.core.sample import Sample
from v2t_eval.metrics.answers import Metric, judge


@pytest.mark.parametrize(
    ("kind", "answer", "reference", "verdict"),
    [
        ("color", "Red.", "red", "right"),
        ("color", "dark red", "red", "wrong"),
        ("count", "2", "two", "right"),
        ("direction", "toward the left", "to the left", "right"),
        ("direction", "to the right", "to the left", "wrong"),
        ("yesno-place", "Yes, it does.", "yes", "right"),
        ("yesno-place", "the beach", "yes", "unreadable"),
        ("when", "from 1.4 to 3.3 seconds", "from 1.2 to 3.0 seconds", "right"),
        ("when", "from 1.2 to 3.6 seconds", "from 1.2 to 3.0 seconds", "wrong"),
        ("what", "", "jumps", "unreadable"),
        ("what", None, "jumps", "missing"),
    ],
)
def test_judging_an_answer(kind: str, answer: str | None, reference: str, verdict: str) -> None:
    assert judge(kind, answer, reference) == verdict


def asked(id: str, kind: str, answer: str | None, reference: str, cluster: str = "") -> Sample:
    row = {"kind": kind, "question": "?", "answer": answer, "reference": reference}
    return Sample(id=id, row=row, cluster=cluster)


score = partial(result_of, Metric)


def some() -> list[Sample]:
    given = [("color", "red", "red")] * 3 + [("color", "red", "blue")] * 2 + [("yesno-color", "yes", "yes")] * 6
    given += [("yesno-color", "yes", "no")] * 2 + [("yesno-place", "no", "no")] * 2 + [("count", None, "two")]
    return [asked(f"{n:02}", *one) for n, one in enumerate(given)]


def test_balanced_accuracy() -> None:
    result = score(*some())
    figures = result.figures
    assert list(figures) == ["color", "count", "yesno-color", "yesno-place", "open", "yesno", "all"]
    assert figures["yesno-color"].value == 0.5 and figures["yesno"].value == 0.75  # yes 6 of 6, no 2 of 4
    assert figures["open"].value == 0.5 and result.value == pytest.approx((0.5 + 0.75) / 2)
    yes, no = wilson(6, 6), wilson(2, 4)
    low, high = 0.75 - math.hypot(1 - yes.low, 0.5 - no.low) / 2, 0.75 + math.hypot(1 - yes.high, no.high - 0.5) / 2
    assert (figures["yesno"].low, figures["yesno"].high) == pytest.approx((low, high))
    assert (figures["color"].low, figures["color"].high) == pytest.approx(wilson(3, 5))
    assert result.counts == {"right": 11, "wrong": 4, "unreadable": 0, "missing": 1} and result.coverage == 1
    assert figures["count"].detail == {"right": 0, "wrong": 0, "unreadable": 0, "missing": 1}
    assert score(*reversed(some())) == result


def test_always_yes_is_worth_one_half() -> None:
    result = score(*[asked(str(n), "yesno-x", "yes", "yes" if n < 9 else "no") for n in range(10)])
    assert result.value == 0.5 and "open" not in result.figures


def test_questions_of_one_clip_belong_together() -> None:
    alone = score(*some())
    copies = [Sample(id=f"{one.id}/{copy}", row=one.row, cluster=one.id) for one in some() for copy in range(4)]
    for name, figure in score(*copies).figures.items():
        expected = alone.figures[name]
        assert figure.value == pytest.approx(expected.value)  # and copies tell no more than the clips they are of
        assert figure.low <= expected.low + 1e-9 and figure.high >= expected.high - 1e-9


def test_rows_that_cannot_be_judged() -> None:
    result = score(
        asked("a", "color", "red", "red"),
        asked("b", "yesno-x", "yes", "perhaps"),
        Sample(id="c", row={"kind": "color", "answer": "red"}),
        Sample(id="d", row={"kind": "color", "answer": 3, "reference": "red"}),
    )
    assert [one["code"] for one in result.failures] == ["BAD_REFERENCE", "NO_REFERENCE", "BAD_ROW"]
    assert result.value == 1.0 and result.coverage == 0.25
