"""ApiKeys, rates, queue and memory: who gets in, how often, how many at once, and that nothing is lost on the way."""

from __future__ import annotations

import asyncio

import pytest

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
    """A request that holds its place until it is told to leave."""

    def __init__(self, queue: FairQueue, owner: str) -> None:
        self.inside, self.leave = False, asyncio.Event()
        self.task = asyncio.ensure_future(self._work(queue, owner))

    async def _work(self, queue: FairQueue, owner: str) -> None:
        async with queue.slot(owner):
            self.inside = True
            await self.leave.wait()


def test_so_many_work_as_many_wait_and_the_rest_is_refused():
    async def scene() -> None:
        queue = FairQueue(2, max_waiting=2, timeout_s=60.0)  # a single owner has all of them
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
        queue = FairQueue(4, per_owner=2, max_waiting=4, timeout_s=60.0)
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
        queue = FairQueue(1, max_waiting=1, timeout_s=60.0)
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


def test_patience_ends():
    async def scene() -> None:
        queue = FairQueue(1, max_waiting=1, timeout_s=0.01)
        first = Worker(queue, LOCAL)
        await settle()
        with pytest.raises(Fault) as found:
            await Worker(queue, LOCAL).task
        assert found.value.code == "BUSY" and queue.waiting == 0
        first.leave.set()
        await first.task

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
        for given in ("ada", "bob", "ada", "eve", "bob", "ada", "ada", "ada"):
            leave[given].pop(0).set()
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
