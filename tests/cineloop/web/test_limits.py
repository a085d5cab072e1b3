"""ApiKeys, rates, queue and memory: who gets in, how often, how many at once, and that nothing is lost on the way."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cineloop.web.faults import Fault
from cineloop.web.limits import LOCAL, ApiKeys, FairQueue, MemoryBudget, MemoryLease, RateLimit

KEY, OTHER = "a" * 20, "b" * 20


def test_each_key_is_an_owner_and_none_other_gets_in():
    owners = ApiKeys([KEY, OTHER, KEY])
    assert owners.num_owners == 2 and not owners.is_open
    assert owners.owner_of(f"Bearer {KEY}") == owners.owner_of(f"bearer  {KEY} ") != owners.owner_of(f"Bearer {OTHER}")
    assert KEY not in owners.owner_of(f"Bearer {KEY}")
    for wrong in (
        None,
        "",
        KEY,
        f"Basic {KEY}",
        f"Bearer {KEY[:-1]}",
        f"Bearer {KEY}x",
        "Bearer ",
        "Bearer \xff\udcff",
    ):
        with pytest.raises(Fault) as found:
            owners.owner_of(wrong)
        assert (found.value.status, found.value.code) == (401, "UNAUTHORIZED")
        assert KEY not in found.value.message


def test_every_key_is_compared(monkeypatch):
    import hmac

    seen = []
    monkeypatch.setattr(
        "cineloop.web.limits.hmac.compare_digest",
        lambda a, b, real=hmac.compare_digest: (seen.append(b), real(a, b))[1],
    )
    ApiKeys([KEY, OTHER]).owner_of(f"Bearer {KEY}")
    assert len(seen) == 2


def test_without_keys_everybody_is_the_same_owner():
    assert ApiKeys([]).owner_of(None) == ApiKeys([]).owner_of("Bearer whatever") == LOCAL


def test_a_bucket_empties_and_fills_up_evenly():
    now = [0.0]
    rate = RateLimit(6, clock=lambda: now[0])
    for _ in range(6):
        rate.take("a")
    with pytest.raises(Fault) as found:
        rate.take("a")
    assert (found.value.status, found.value.code, found.value.retry_after_s) == (429, "RATE_LIMITED", 10.0)
    rate.take("b")  # another's
    now[0] = 10.0
    rate.take("a")
    with pytest.raises(Fault):
        rate.take("a")
    now[0] = 5.0  # a clock that goes back gives nothing
    with pytest.raises(Fault):
        rate.take("a")
    now[0] = 10_000.0
    for _ in range(6):
        rate.take("a")


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


class Worker:
    """A request that holds its slot until it is told to leave; one that prepares holds a place for a few passes of the
    event loop before."""

    def __init__(self, queue: FairQueue, owner: str, *, prepares: bool = False) -> None:
        self.inside, self.leave = False, asyncio.Event()
        self.task = asyncio.ensure_future(self._work(queue, owner, prepares))

    async def _work(self, queue: FairQueue, owner: str, prepares: bool) -> None:
        if prepares:
            with queue.place(owner):
                for _ in range(3):
                    await asyncio.sleep(0)
        async with queue.slot(owner, has_place=prepares):
            self.inside = True
            await self.leave.wait()


def test_so_many_work_as_many_wait_and_the_rest_is_refused():
    async def scene() -> None:
        queue = FairQueue(2, max_waiting=2)  # a single owner has all of them
        workers = [Worker(queue, LOCAL) for _ in range(5)]
        await settle()
        assert [w.inside for w in workers] == [True, True, False, False, False]
        assert (queue.taken, queue.waiting) == (2, 2)
        with pytest.raises(Fault) as found:
            await workers[4].task
        assert (found.value.status, found.value.code) == (503, "BUSY") and found.value.retry_after_s
        workers[0].leave.set()
        await settle()
        assert [w.inside for w in workers] == [True, True, True, False, False]
        for worker in workers:
            worker.leave.set()
        await asyncio.gather(*(w.task for w in workers[:4]))
        assert (queue.taken, queue.waiting) == (0, 0)

    asyncio.run(scene())


def test_an_owner_with_a_full_share_does_not_hold_others_back():
    async def scene() -> None:
        queue = FairQueue(4, per_owner=2, max_waiting=4)
        greedy = [Worker(queue, "a") for _ in range(5)]
        await settle()
        assert [w.inside for w in greedy] == [True, True, False, False, False]
        assert greedy[4].task.done()  # two wait: its share of the line
        other = Worker(queue, "b")
        await settle()
        assert other.inside
        for worker in (*greedy, other):
            worker.leave.set()
        await asyncio.gather(*(w.task for w in (*greedy[:4], other)))
        with pytest.raises(Fault):
            greedy[4].task.result()
        assert (queue.taken, queue.waiting) == (0, 0)

    asyncio.run(scene())


def test_whoever_gives_up_leaves_no_hole():
    async def scene() -> None:
        queue = FairQueue(1, max_waiting=1)
        first, second = Worker(queue, LOCAL), None
        await settle()
        second = Worker(queue, LOCAL)
        await settle()
        second.task.cancel()
        await asyncio.wait({second.task})
        assert queue.waiting == 0
        first.leave.set()
        await first.task
        holder = queue.slot(LOCAL)
        await holder.__aenter__()
        third = Worker(queue, LOCAL)
        await settle()
        await holder.__aexit__(None, None, None)
        third.task.cancel()  # at the very moment its turn has come
        await asyncio.wait({third.task})
        assert not third.inside and (queue.taken, queue.waiting) == (0, 0)

    asyncio.run(scene())


def test_all_callers_cancelled_in_one_pass_leave_every_slot_free():
    async def scene() -> None:
        queue = FairQueue(2, max_waiting=2)
        workers = [Worker(queue, LOCAL) for _ in range(4)]
        await settle()
        for worker in workers:  # a slot is returned while those that wait for it are cancelled already
            worker.task.cancel()
        await asyncio.wait({worker.task for worker in workers})
        assert all(worker.task.cancelled() for worker in workers)
        assert (queue.taken, queue.waiting) == (0, 0)
        last = Worker(queue, LOCAL)
        await settle()
        assert last.inside
        last.leave.set()
        await last.task

    asyncio.run(scene())


STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["come", "prepare"]), st.sampled_from("ab")),
        st.tuples(st.sampled_from(["leave", "cancel"]), st.integers(0, 9)),  # of those that are here
        st.tuples(st.just("run"), st.just(1)),  # a pass of the event loop
    ),
    min_size=20,
    max_size=60,
)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(steps=STEPS, num=st.integers(1, 3), share=st.one_of(st.none(), st.integers(1, 2)), most=st.integers(1, 4))
def test_no_schedule_of_callers_that_come_leave_and_are_cancelled_loses_a_slot(steps, num, share, most):
    async def scene() -> None:
        queue, workers = FairQueue(num, per_owner=share, max_waiting=most), []
        for step, value in steps:
            if step in ("come", "prepare"):
                workers.append(Worker(queue, value, prepares=step == "prepare"))
            elif step == "run":
                for _ in range(value):
                    await asyncio.sleep(0)
            elif here := [worker for worker in workers if not worker.task.done()]:
                worker = here[value % len(here)]
                worker.leave.set() if step == "leave" else worker.task.cancel()
            assert 0 <= queue.taken <= num and queue.waiting <= len(workers)
            assert queue.preparing <= most
        await settle()
        inside = [worker for worker in workers if worker.inside and not worker.task.done()]
        assert queue.taken == len(inside)
        assert queue.waiting == sum(not worker.inside and not worker.task.done() for worker in workers)
        assert queue.preparing == 0
        assert not queue.waiting or queue.taken == num or share is not None
        for worker in workers:
            worker.leave.set()
        for result in await asyncio.gather(*(worker.task for worker in workers), return_exceptions=True):
            assert result is None or isinstance(result, (Fault, asyncio.CancelledError))
        assert (queue.taken, queue.waiting) == (0, 0)
        for owner in "ab":
            async with asyncio.timeout(5), queue.slot(owner):
                pass

    asyncio.run(scene())


def test_a_queue_without_a_free_slot_counts_the_time_since_it_moved():
    async def scene() -> None:
        now = [100.0]
        queue = FairQueue(1, clock=lambda: now[0])
        assert queue.stalled_s == 0.0
        first, second = Worker(queue, "a"), Worker(queue, "b")
        await settle()
        now[0] = 107.0
        assert queue.stalled_s == 7.0
        first.leave.set()
        await settle()
        assert second.inside and queue.stalled_s == 0.0
        now[0] = 110.0
        assert queue.stalled_s == 3.0
        second.leave.set()
        await settle()
        assert queue.stalled_s == 0.0

    asyncio.run(scene())


def test_a_place_counts_among_those_that_wait_and_keeps_nobody_from_a_free_slot():
    async def scene() -> None:
        queue = FairQueue(2, per_owner=2, max_waiting=3)
        with queue.place("a"), queue.place("a"), pytest.raises(Fault) as refusal, queue.place("a"):
            pass  # beyond the owner's share
        assert refusal.value.code == "BUSY" and queue.preparing == 0
        with queue.place("a"), queue.place("a"):
            with queue.place("b"):
                workers = [Worker(queue, owner) for owner in "bcb"]
                await settle()
                assert [worker.inside for worker in workers] == [True, True, False]
                with pytest.raises(Fault, match="the queue is full"):
                    await workers[2].task
                assert (queue.taken, queue.waiting, queue.preparing) == (2, 0, 3)
            prepared = Worker(queue, "b", prepares=True)
            await settle()
            assert (queue.waiting, queue.preparing, prepared.inside) == (1, 2, False)
            workers[0].leave.set()
            await settle()
            assert prepared.inside and (queue.taken, queue.waiting) == (2, 0)
        for worker in (workers[1], prepared):
            worker.leave.set()
        await settle()
        assert (queue.taken, queue.preparing) == (0, 0)

    asyncio.run(scene())


def test_memory_is_shared_and_given_back():
    memory = MemoryBudget(100, num_owners=2)
    with memory.lease("a") as first, memory.lease("b") as second:
        first.set(50)
        with pytest.raises(Fault) as found:
            first.set(51)  # more than half is never one owner's
        assert found.value.code == "TOO_LARGE"
        second.set(50)
        assert memory.held == 100
        first.set(10)
        assert memory.held == 60
    assert memory.held == 0
    with pytest.raises(Fault) as found, memory.lease("a") as one:
        one.set(101)
    assert (found.value.status, found.value.code) == (413, "TOO_LARGE")


def test_memory_that_others_hold_is_waited_for_by_the_client():
    memory = MemoryBudget(100, num_owners=1)
    with memory.lease(LOCAL) as first:
        first.set(80)
        with pytest.raises(Fault) as found, memory.lease(LOCAL) as second:
            second.set(30)
        assert (found.value.status, found.value.code) == (503, "BUSY")
    with memory.lease(LOCAL) as second:
        second.set(100)


def test_slots_go_round_the_owners():
    async def run():
        queue, order = FairQueue(2), []
        leave: dict[str, list[asyncio.Event]] = {"ada": [], "bob": [], "eve": []}

        async def work(owner):
            async with queue.slot(owner):
                order.append(owner)
                leave[owner].append(asyncio.Event())
                await leave[owner][-1].wait()

        tasks = [asyncio.create_task(work(owner)) for owner in ["ada"] * 5 + ["bob"] * 2 + ["eve"]]
        await settle()
        assert order == ["ada", "ada"]
        for name in ("ada", "bob", "ada", "eve", "bob", "ada", "ada", "ada"):
            leave[name].pop(0).set()
            await settle()
        assert order == ["ada", "ada", "bob", "eve", "ada", "bob", "ada", "ada"]
        await asyncio.gather(*tasks)
        assert (queue.taken, queue.waiting) == (0, 0)

    asyncio.run(run())


def test_a_slot_given_to_whoever_left_in_the_same_moment_goes_on_to_the_next():
    async def run():
        queue = FairQueue(1)
        holder = queue.slot("ada")
        await holder.__aenter__()
        left, stays = Worker(queue, "bob"), Worker(queue, "eve")
        await settle()
        await holder.__aexit__(None, None, None)
        left.task.cancel()
        await settle()
        assert left.task.cancelled() and stays.inside
        stays.leave.set()
        await settle()
        assert (queue.taken, queue.waiting) == (0, 0)

    asyncio.run(run())


def test_memory_counts():
    memory = MemoryBudget(100)
    one, other = MemoryLease(memory), MemoryLease(memory)
    one.set(60)
    with pytest.raises(Fault) as caught:
        other.set(41)
    assert (caught.value.code, caught.value.status) == ("BUSY", 503) and caught.value.retry_after_s
    other.set(40)
    assert memory.held == 100
    one.set(0)
    other.set(0)
    assert memory.held == 0
