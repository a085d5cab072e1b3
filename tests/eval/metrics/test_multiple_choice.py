"""Multiple choice: reading replies, counting those that cannot be read, chance and blind replies."""

from __future__ import annotations

from functools import partial

import pytest

from metric_results import result_of
from v2t_eval.core.sample import Sample
from v2t_eval.judge.replies import is_refusal, read_choice
from v2t_eval.metrics.multiple_choice import ALL, READ, Metric

COLORS = ("red", "dark red", "blue", "green")
SCENES = ("A dog runs.", "A cat sleeps.", "Nobody is there.", "It does not move.")


@pytest.mark.parametrize(
    ("reply", "choices", "picked"),
    [
        ("B", COLORS, 1), ("b", COLORS, 1), ("(C)", COLORS, 2), ("C.", COLORS, 2), ("C) blue", COLORS, 2),
        ("**D**", COLORS, 3), ("**D. green**", COLORS, 3), ("[A]", COLORS, 0), ("A", COLORS, 0), ("A.", COLORS, 0),
        ("Answer: B", COLORS, 1), ("The answer is (C).", COLORS, 2), ("the correct answer is: **D**", COLORS, 3),
        ("Option 2", COLORS, 1), ("3", COLORS, 2), ("2. dark red", COLORS, 1), (r"\boxed{B}", COLORS, 1),
        ("D because the grass is green", COLORS, 3), ("B is the correct answer.", COLORS, 1),
        ("First I thought of option A, but the answer is D.", COLORS, 3),
        ("<think>Is it A? The answer is A.</think>C", COLORS, 2), ("B, since the sky is not red", COLORS, 1),
        ("Red", COLORS, 0), ("It is dark red.", COLORS, 1), ("the car is blue", COLORS, 2),
        ("A dog runs", SCENES, 0), ("A dog runs.", SCENES, 0), ("I see that a cat sleeps there", SCENES, 1),
        ("a dog runs across a road", SCENES, 0), ("It does not move", SCENES, 3),
        ("it does not move at all", SCENES, 3), ("the answer is 2 dogs", ("3 dogs", "2 dogs"), 1),
        ("The answer is C blue", COLORS, 2),
        ("blue. Not red", COLORS, None),
        ("2", ("2", "4", "1", "3"), 0), ("two", ("two", "four"), 0), ("4", ("2", "4", "1", "3"), 1),
        ("Yes", ("Yes", "No"), 0), ("No, it does not.", ("Yes", "No"), 1), ("no", ("Yes", "No"), 1),
        ("A or B", COLORS, None), ("red or blue", COLORS, None), ("it is not red", COLORS, None), ("", COLORS, None),
        ("Z", COLORS, None), ("7", COLORS, None), ("0", COLORS, None), ("purple", COLORS, None),
        ("I think so", COLORS, None), ("A man walks", COLORS, None), ("I am here", ("x", "y") * 1, None),
        ("reddish", COLORS, None), ("the answer is a mystery", COLORS, None),
    ],
)  # fmt: skip
def test_reading(reply: str, choices: tuple[str, ...], picked: int | None) -> None:
    assert read_choice(reply, choices) == picked


@pytest.mark.parametrize("reply", ["I'm sorry, I can't help with that.", "It cannot be determined.", "I don't know"])
def test_refusals(reply: str) -> None:
    assert is_refusal(reply) and read_choice(reply, COLORS) is None
    assert not is_refusal("The car is red.") and not is_refusal("B")


def asked(id: str, answer: str, reference: str = "A", choices=COLORS, cluster: str = "", **row: str) -> Sample:
    return Sample(
        id=id, row={"choices": list(choices), "answer": answer, "reference": reference, **row}, cluster=cluster
    )


score = partial(result_of, Metric)


def test_failures_are_counted_apart() -> None:
    result = score(asked("a", "A"), asked("b", "blue"), asked("c", "hm"), asked("d", "I'm sorry, I cannot say."))
    assert result.headline == ALL and result.value == 0.25 and result.figures[ALL].n == 4
    assert result.figures[READ].value == 0.5 and result.figures[READ].n == 2
    assert result.coverage == 1.0 and result.counts == {"right": 1, "wrong": 1, "unreadable": 1, "refused": 1}
    assert [item["value"] for item in result.items] == [1.0, 0.0, 0.0, 0.0]
    none = score(asked("c", "hm"))
    assert none.value == 0 and READ not in none.figures and none.coverage == 1 and none.counts["unreadable"] == 1


def test_chance_and_blind_replies() -> None:
    two = asked("b", "Yes", "B", choices=("Yes", "No"), blind_answer="No")
    result = score(asked("a", "A", blind_answer="who knows"), two)
    assert result.figures["chance"].value == pytest.approx((0.25 + 0.5) / 2)
    assert result.figures["blind accuracy, unread as wrong"].value == 0.5 and result.counts["blind"] == 2
    assert not result.notes
    assert "blind_answer" in score(asked("a", "A")).notes[0]


@pytest.mark.parametrize("reference", ["C", "c", "(C)", "blue", "Blue.", "3"])
def test_the_reference_is_a_letter_or_a_text(reference: str) -> None:
    assert score(asked("a", "C", reference)).value == 1.0 and score(asked("a", "B", reference)).value == 0.0


def test_rows_that_cannot_be_judged() -> None:
    result = score(
        asked("a", "A"),
        asked("b", "A", "purple"),
        asked("c", "A", choices=("x",)),
        asked("d", "A", choices=("Red", "red.")),
        Sample(id="e", row={"choices": ["x", "y"], "answer": "x", "reference": 1}),
        Sample(id="f", row={"choices": ["x", "y"], "reference": "x"}),
    )
    assert [failure["code"] for failure in result.failures] == [
        "BAD_REFERENCE", "BAD_ROW", "BAD_ROW", "BAD_REFERENCE", "NO_ANSWER",
    ]  # fmt: skip
    assert result.coverage == 1 / 6 and result.value == 1.0


def test_shuffled_choices_and_samples_score_the_same() -> None:
    samples = [asked(f"{i:02}", COLORS[i % 4] if i % 3 else "none of it", COLORS[i // 2 % 4]) for i in range(40)]
    whole = score(*samples)
    turned = [Sample(id=one.id, row={**one.row, "choices": list(COLORS[2:] + COLORS[:2])}) for one in samples]
    assert score(*turned).figures == score(*reversed(samples)).figures == whole.figures
    copies = [Sample(id=f"{one.id}{k}", row=one.row, cluster=one.id) for one in samples for k in "abcd"]
    assert score(*copies).figures[ALL].low <= whole.figures[ALL].low + 1e-9  # copies tell no more
