"""Tasks whose frames are lost with a machine: they begin again, a bounded number of times."""

from __future__ import annotations

from concurrent.futures import Future

import pytest

from cineloop.cluster.pool import InputLostError
from cineloop.cluster.workers import Task, retry_inputs, run_tasks
from cineloop.errors import ItemError


def of(value: object) -> Future:
    """A future that has ended."""
    future: Future = Future()
    future.set_exception(value) if isinstance(value, Exception) else future.set_result(value)
    return future


def answers(*values: object):
    """A task that decodes and asks; its answers are these, one after another."""
    left, begun = list(values), []

    def begin() -> Task:
        begun.append((yield of("frames")))
        return (yield of(left.pop(0)))

    return begin, begun


@pytest.mark.parametrize("num_lost", [0, 1, 2])
def test_a_task_begins_again_until_its_frames_last(num_lost):
    begin, begun = answers(*[InputLostError("m1")] * num_lost, "answer", "never asked for")
    assert list(run_tasks(iter([retry_inputs(begin)]), 1)) == ["answer"] and len(begun) == num_lost + 1


def test_what_is_always_lost_is_an_error_of_the_item():
    begin, begun = answers(*[InputLostError("m1 is gone")] * 9)
    with pytest.raises(ItemError, match="m1 is gone") as caught:
        list(run_tasks(iter([retry_inputs(begin)]), 1))
    assert caught.value.code == "WORKER_DIED" and len(begun) == 3


def test_another_error_is_not_tried_again():
    begin, begun = answers(ItemError("bad", code="TRUNCATED"), "never asked for")
    with pytest.raises(ItemError) as caught:
        list(run_tasks(iter([retry_inputs(begin)]), 1))
    assert caught.value.code == "TRUNCATED" and len(begun) == 1
