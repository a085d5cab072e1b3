"""SQuAD's EM and F1, and VQA accuracy: parity cases A3 and A14, closed forms, properties."""

from __future__ import annotations

import random
from functools import partial

import pytest

from metric_results import result_of
from v2t_eval.core.sample import Sample
from v2t_eval.metrics.squad import Metric, f1, normalise, vqa_accuracy


def asked(id: str, answer: object, *answers: str, cluster: str = "") -> Sample:
    return Sample(id=id, row={"answer": answer, "answers": list(answers)}, cluster=cluster)


score = partial(result_of, Metric)


@pytest.mark.parametrize(
    ("answer", "right", "exact", "overlap"),
    [
        ("1976", "1976", 1.0, 1.0),  # A3, torchmetrics' example: 100 / 100
        ("red red car", "red car car", 0.0, 2 / 3),  # bags, not sets
        ("The", "red", 0.0, 0.0),
        ("the", "", 1.0, 1.0),
        ("a man-eater", "maneater", 1.0, 1.0),  # punctuation goes before articles, and leaves no space
        ("a.n.", "an", 1.0, 1.0),
        ("", "dog", 0.0, 0.0),
    ],
)
def test_em_and_f1(answer: str, right: str, exact: float, overlap: float) -> None:
    result = score(asked("x", answer, right))
    assert result.figures["exact match"].value == exact
    assert result.value == pytest.approx(overlap, abs=1e-12)
    assert f1(answer, right) == f1(right, answer)


def test_spelling() -> None:
    assert normalise("  The Cat's  AN hour, a-way ") == "cats hour away"
    assert normalise("banana theatre") == "banana theatre"


def test_the_best_of_several_right_answers_counts() -> None:
    result = score(asked("x", "dog", "a cat", "the dog!", "dog house"))
    assert result.figures["exact match"].value == result.value == 1.0
    apart = score(asked("x", "big dog", "big", "dog house"))
    assert apart.value == pytest.approx(2 / 3) and apart.figures["exact match"].value == 0.0


def test_a_question_without_answer() -> None:
    assert score(asked("x", "")).value == 1.0 and score(asked("x", "a dog")).value == 0.0
    assert score(asked("x", "dog", "the")).value == 0.0  # SQuAD 2.0: an empty right answer is none


@pytest.mark.parametrize(("agreeing", "value"), [(0, 0.0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (10, 1.0)])
def test_vqa_accuracy_of_ten_people(agreeing: int, value: float) -> None:
    people = ["Yes."] * agreeing + ["no"] * (10 - agreeing)
    assert vqa_accuracy("yes", people) == pytest.approx(value)
    assert score(asked("x", "yes", *people)).figures["VQA accuracy"].value == pytest.approx(value)
    assert "VQA accuracy" not in score(asked("x", "yes", *people[:3])).figures


def test_what_cannot_be_measured_is_no_zero() -> None:
    result = score(
        asked("a", "dog", "dog"),
        asked("b", None, "dog"),
        asked("c", 3, "dog"),
        Sample(id="d", row={"answer": "dog", "answers": "dog"}),
    )
    assert result.value == 1.0 and result.coverage == 0.25
    assert [failure["code"] for failure in result.failures] == ["NO_ANSWER", "BAD_ROW", "BAD_ROW"]


def test_order_and_clusters() -> None:
    draw = random.Random(0)
    samples = [asked(f"{i:03}", draw.choice(["red", "red car"]), "red car", cluster=str(i // 4)) for i in range(160)]
    whole = score(*samples)
    assert score(*reversed(samples)) == whole
    halves = Metric()
    for half in (samples[100:], samples[:100]):
        halves.update(half)
    assert halves.compute() == whole
    copies = [asked(f"{i:03}", "red" if i // 4 % 2 else "red car", "red car", cluster=str(i // 4)) for i in range(160)]
    alone = [Sample(id=one.id, row=one.row) for one in copies]

    def wide(result, name):
        return result.figures[name].high - result.figures[name].low

    for name in ("f1", "exact match"):
        assert 1.7 < wide(score(*copies), name) / wide(score(*alone), name) < 2.3
