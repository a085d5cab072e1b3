"""Requests put to a model: batches by shape, halves, loops, draws, failures in a row, streams."""

from __future__ import annotations

import pytest

from cineloop.errors import ItemError, MissingDependencyError
from scripted_captioner import ByDecoding
from small_clips import numbered
from v2t.backends import Decoding, GenerateRequest, user_turn
from v2t.backends.batching import Batcher

LOOP = "the dog runs and " * 30


class Says(ByDecoding):
    """As its base; its stream breaks off."""

    batches_draws = True

    def stream(self, conversation, decoding):
        yield from ("A", " dog")
        raise RuntimeError("the device is lost")


def requests(count: int, *, sizes: tuple[int, ...] = (8,), **decoding) -> list[GenerateRequest]:
    return [
        GenerateRequest(messages=user_turn("What?", one), decoding=Decoding(**decoding))
        for one in numbered(count, sizes)
    ]


def test_a_loop_is_asked_again_and_the_first_good_answer_counts():
    captioner = Says(("A dog.",) * 3, (LOOP, "A dog runs.", "?"), (LOOP, LOOP[:200], "A dog sits."))
    answers = Batcher(captioner).generate_many(requests(3, seed=3), retry_loops=True)
    assert [a.text for a in answers] == ["A dog.", "A dog runs.", "A dog sits."]
    assert [n for n, _ in captioner.calls] == [3, 2, 1]
    assert [(d.repetition_penalty, d.temperature, d.seed) for _, d in captioner.calls] == [
        (1.0, 0.0, 3),
        (1.3, 0.0, 3),
        (1.0, 0.7, 3),
    ]
    assert answers[0].warnings == () and str(answers[1].warnings[0]).startswith("REPETITION: the words")
    assert Batcher(captioner).generate_many(requests(2))[1].text == LOOP  # nobody asked for retries


def test_when_every_answer_loops_the_shortest_stays_and_says_so():
    (answer,) = Batcher(Says((LOOP, LOOP * 2, LOOP[:150]))).generate_many(requests(1), retry_loops=True)
    assert answer.text == LOOP[:150] and "still so after 2 more" in answer.warnings[0].message
    failing = Says((LOOP, ItemError("no", code="REFUSED"), RuntimeError("index")))
    (answer,) = Batcher(failing).generate_many(requests(1), retry_loops=True)
    assert answer.text == LOOP and answer.warnings[0].code == "REPETITION"


def test_batches_are_of_one_shape_and_one_way_of_decoding_and_bounded():
    captioner = Says(*(("x",) * 3 for _ in range(9)))
    answers = Batcher(captioner).generate_many([*requests(9, sizes=(8, 16)), *requests(1, seed=1)], batch_size=3)
    assert [n for n, _ in captioner.calls] == [3, 2, 3, 1, 1] and all(a.text == "x" for a in answers)


@pytest.mark.parametrize("decoding", [{"temperature": 0.5}, {"repetition_penalty": 1.2}])
def test_draws_go_alone_where_a_batch_would_change_them(decoding):
    captioner = Says(*(("x",) * 3 for _ in range(4)))
    captioner.batches_draws = False
    Batcher(captioner).generate_many(requests(4, **decoding))
    assert [n for n, _ in captioner.calls] == [1] * 4


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RuntimeError("CUDA out of memory"), "OUT_OF_MEMORY"),
        (IndexError("out of range"), "MODEL_ERROR"),
        (ItemError("no", code="REFUSED"), "REFUSED"),
    ],
)
def test_a_batch_is_halved_down_to_the_request_at_fault(error, code):
    captioner = Says(*((error if i == 2 else f"clip {i}",) * 3 for i in range(5)))
    answers = Batcher(captioner).generate_many(requests(5))
    assert [a.code if isinstance(a, ItemError) else a.text for a in answers] == [
        f"clip {i}" if i != 2 else code for i in range(5)
    ]
    assert [n for n, _ in captioner.calls] == [5, 2, 3, 1, 2]


@pytest.mark.parametrize("code", ["MODEL_ERROR", "SERVER_ERROR", "BAD_REQUEST"])
def test_sixteen_failures_in_a_row_end_the_run_and_one_answer_between_them_does_not(code):
    broken = ItemError("no", code=code)
    mixed = Says(*(("x" if i == 12 else broken,) * 3 for i in range(25)))
    assert len(Batcher(mixed).generate_many(requests(25), batch_size=1)) == 25
    with pytest.raises(MissingDependencyError, match="16 requests failed in a row: no"):
        Batcher(Says(*((broken,) * 3 for _ in range(16)))).generate_many(requests(16))
    refused = Says(*((ItemError("no", code="OUT_OF_MEMORY"),) * 3 for _ in range(20)))
    assert len(Batcher(refused).generate_many(requests(20))) == 20  # a matter of each clip's length


def test_a_stream_that_fails_is_an_error_of_the_request():
    words = []
    with pytest.raises(ItemError, match="the device is lost") as caught:
        for word in Batcher(Says()).stream(requests(1)[0]):
            words.append(word)
    assert words == ["A", " dog"] and caught.value.code == "MODEL_ERROR"
