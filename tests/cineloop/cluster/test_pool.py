"""The pool against workers in threads that die when told to: nothing is lost, and what kills its workers is named."""

import threading
from collections import Counter
from concurrent.futures import Future

import pytest

from cineloop.cluster import pool as pools
from cineloop.cluster.node import PlacedResult
from cineloop.cluster.pool import Ask, InputLostError, Pool
from cineloop.cluster.settings import Size
from cineloop.errors import ItemError, MissingDependencyError
from stand_in_engine import Death, Engine

WAIT_S = 120.0


class Step:
    """Doubles numbers; `deaths` says how often a number kills its worker, `hangs` which never end."""

    def __init__(self, deaths=None, hangs=(), start=None, why="signal 9") -> None:
        self.deaths, self.hangs, self.start, self.why = Counter(deaths or {}), set(hangs), start, why
        self.calls: list[list[int]] = []
        self.gate, self.end = threading.Event(), threading.Event()
        self.gate.set()

    def __call__(self, name):
        if self.start is not None:
            raise self.start
        return self

    def double(self, items, bulks):
        self.gate.wait(WAIT_S)
        self.calls.append(list(items))
        for item in items:
            if self.deaths[item] > 0:
                self.deaths[item] -= 1
                raise Death(self.why)
            if item in self.hangs:
                self.hangs.discard(item)
                self.end.wait(WAIT_S)
        return [2 * item for item in items]

    def keep(self, items, bulks):
        return [PlacedResult(items[0], f"bulk of {items[0]}")]

    def lose(self, items, bulks):
        raise ValueError("a bug")


def pool(step, engine=None, size=(1, 3), limit_s=WAIT_S):
    return Pool(engine or Engine(), step, kind="model", size=Size(*size), ask=Ask(), limit_s=limit_s)


def test_every_item_has_its_own_result():
    with pool(Step()) as opened:
        futures = [opened.submit("double", [n, n + 1000]) for n in range(200)]
        assert [future.result(WAIT_S) for future in futures] == [[2 * n, 2 * n + 2000] for n in range(200)]
        assert opened.deaths == 0


@pytest.mark.parametrize("size", [(1, 1), (1, 3), (3, 3)])
def test_an_item_that_kills_one_worker_is_done_by_another(size):
    with pool(Step(deaths={5: 1, 11: 2}), size=size) as opened:
        futures = [opened.submit("double", [n, n + 1]) for n in range(0, 20, 2)]
        assert [result for each in futures for result in each.result(WAIT_S)] == [2 * n for n in range(20)]
        assert opened.deaths >= 3


def test_an_item_that_kills_three_workers_is_given_up_alone():
    step = Step(deaths={5: 9})
    with pool(step) as opened:
        futures = [opened.submit("double", [n, n + 1, n + 2]) for n in range(0, 12, 3)]
        results = [result for each in futures for result in each.result(WAIT_S)]
    assert isinstance(results[5], ItemError) and results[5].code == "WORKER_DIED"
    assert results[:5] + results[6:] == [2 * n for n in range(12) if n != 5]
    assert step.deaths[5] == 9 - pools.DEATHS
    assert [call for call in step.calls if 5 in call] == [[3, 4, 5], [5], [5]]


def test_a_lost_machine_is_nobodys_fault():
    step = Step(deaths={5: 9}, why="node")
    with pool(step) as opened:
        assert opened.submit("double", [5]).result(WAIT_S) == [10]


def test_a_call_over_its_limit_kills_its_worker():
    engine, step = Engine(), Step(hangs=[3])
    with pool(step, engine, (1, 1), limit_s=1.0) as opened:
        futures = [opened.submit("double", [n]) for n in range(6)]
        assert [future.result(WAIT_S) for future in futures] == [[2 * n] for n in range(6)]
        assert engine.killed[0] == "model-1"  # and others, where a call takes a second for want of a core
    step.end.set()


def test_a_result_in_two_parts_leaves_its_bulk_behind():
    with pool(Step()) as opened:
        (kept,) = opened.submit("keep", ["a"]).result(WAIT_S)
        assert (kept.value, kept.bulk) == ("a", "bulk of a")


def test_the_pool_grows_while_calls_wait_and_shrinks_when_idle(monkeypatch):
    monkeypatch.setattr(pools, "_IDLE_S", 0.0)
    step, engine = Step(), Engine()
    step.gate.clear()
    with pool(step, engine, (1, 4)) as opened:
        assert engine.started == ["model-1"]
        futures = [opened.submit("double", [n]) for n in range(50)]
        wait_for(lambda: len(engine.started) == 4)
        step.gate.set()
        assert [future.result(WAIT_S) for future in futures] == [[2 * n] for n in range(50)]
        wait_for(lambda: len(engine.killed) == 3)
        assert opened.submit("double", [1]).result(WAIT_S) == [2]


def test_a_cluster_with_little_room_is_enough():
    engine = Engine(room=2)
    with pool(Step(), engine, (1, 8)) as opened:
        futures = [opened.submit("double", [n]) for n in range(40)]
        assert [future.result(WAIT_S) for future in futures] == [[2 * n] for n in range(40)]


def test_an_error_of_the_step_ends_the_pool():
    with pool(Step(start=MissingDependencyError("no model", code="MODEL"))) as opened:
        with pytest.raises(MissingDependencyError, match="no model") as caught:
            opened.submit("double", [1]).result(WAIT_S)
        assert caught.value.code == "MODEL"
        with pytest.raises(MissingDependencyError, match="no model"):
            opened.submit("double", [2]).result(WAIT_S)


def test_a_bug_of_the_step_ends_the_pool():
    with pool(Step()) as opened, pytest.raises(MissingDependencyError, match="ValueError: a bug"):
        opened.submit("lose", [1]).result(WAIT_S)


def test_workers_that_die_at_their_start_end_the_pool():
    engine = Engine()
    with pool(Step(start=Death("signal 4")), engine) as opened:
        with pytest.raises(MissingDependencyError, match="ended before they began, 3 times"):
            opened.submit("double", [1]).result(WAIT_S)


def test_a_lost_input_is_the_callers_to_make_again():
    class Losing(Engine):
        def call(self, handle, method, items, bulks):
            lost = Future()
            lost.set_exception(InputLostError("its machine is gone"))
            return lost

    with pool(Step(), Losing()) as opened, pytest.raises(InputLostError):
        opened.submit("double", [1]).result(WAIT_S)


def test_closing_releases_who_waits():
    step = Step()
    step.gate.clear()
    with pool(step, size=(1, 1)) as opened:
        future = opened.submit("double", [1])
    step.gate.set()
    with pytest.raises(MissingDependencyError, match="closed"):
        future.result(WAIT_S)


def wait_for(condition) -> None:
    event = threading.Event()
    for _ in range(int(WAIT_S / 0.02)):
        if condition():
            return
        event.wait(0.02)
    raise AssertionError("the condition never came true")
