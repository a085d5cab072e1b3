"""API keys, request rates, fair queues and a memory budget.

In: the `Authorization` header of a request; owners, which are names made of keys. Out: the owner; a permitted request;
a slot; permission to allocate bytes. Beyond a limit: `Fault` with a time to retry.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import math
import threading
import time
import weakref
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

from cineloop.web.faults import Fault

LOCAL = "local"  # the owner of all requests where no key is needed
_BUSY_RETRY_S = 5.0


class ApiKeys:
    """The clients' keys, as digests: each key is an owner. Without any every request is accepted, its owner "local"."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._digests = [hashlib.sha256(key.encode("ascii")).digest() for key in dict.fromkeys(keys)]
        self.is_open, self.num_owners = not self._digests, max(1, len(self._digests))

    def owner_of(self, authorization: str | None) -> str:
        """The owner of a request with this header. Raises Fault UNAUTHORIZED: the key is missing or unknown."""
        if not self._digests:
            return LOCAL
        scheme, _, key = (authorization or "").partition(" ")
        digest = hashlib.sha256(key.strip().encode("utf-8", "surrogateescape")).digest()
        match = None
        for known in self._digests:  # all of them: the time taken must not depend on the key
            if hmac.compare_digest(digest, known):
                match = known
        if match is None or scheme.lower() != "bearer":
            raise Fault(401, "UNAUTHORIZED", "missing or invalid API key; send the header Authorization: Bearer KEY")
        return match.hex()[:16]


class RateLimit:
    """A token bucket for each owner: `per_minute` requests at once at most, refilled evenly; `clock` in seconds."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._size, self._clock = float(per_minute), clock
        self._buckets: dict[str, tuple[float, float]] = {}  # owner → tokens left, when they were counted

    def take(self, owner: str) -> None:
        """Count one request of `owner`. Raises Fault RATE_LIMITED, with the seconds until the next is accepted."""
        now = self._clock()
        left, when = self._buckets.get(owner, (self._size, now))
        left = min(self._size, left + max(0.0, now - when) * self._size / 60.0)
        self._buckets[owner] = (left - 1.0 if left >= 1.0 else left, now)
        if left < 1.0:
            wait_s = (1.0 - left) * 60.0 / self._size
            raise Fault(
                429,
                "RATE_LIMITED",
                f"more than {self._size:.0f} requests in a minute; retry in {math.ceil(wait_s)} s",
                retry_after_s=wait_s,
            )


class FairQueue:
    """Slots given fairly: the next goes to the owner with the fewest, among equals to the one that waited longest.

    For one event loop; `taken` is the number of slots in use, `preparing` that of places (see `place`).

    Args:
        num: slots. per_owner: slots of one owner; None for all.
        max_waiting: requests that may wait or prepare; None for any number. Of one owner `per_owner` may.
        clock: in seconds.
    """

    def __init__(
        self,
        num: int,
        *,
        per_owner: int | None = None,
        max_waiting: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._num, self._share = num, min(num, per_owner or num)
        self._max_waiting, self._clock = max_waiting, clock
        self.taken, self._moved_at = 0, 0.0
        self._taken: dict[str, int] = {}
        self._places: Counter[str] = Counter()  # by owner
        self._queues: dict[str, deque[asyncio.Future[None]]] = {}  # in the order in which owners came or were served

    @property
    def waiting(self) -> int:
        """Requests that wait for a slot."""
        return self._pending().total()

    @property
    def stalled_s(self) -> float:
        """Seconds since a slot was last given or returned; 0 while one is free."""
        return self._clock() - self._moved_at if self.taken >= self._num else 0.0

    @property
    def preparing(self) -> int:
        """Requests that hold a place."""
        return self._places.total()

    @contextmanager
    def place(self, owner: str) -> Iterator[None]:
        """A place among those that wait, for what a request does before it needs a slot. Raises Fault BUSY: too many
        requests wait already."""
        self._check(owner, 1)
        self._places[owner] += 1
        try:
            yield
        finally:
            self._places[owner] -= 1
            self._places += Counter()  # without owners of none

    @asynccontextmanager
    async def slot(self, owner: str, *, has_place: bool = False) -> AsyncIterator[None]:
        """A slot of `owner` for as long as the context lasts; a caller that is cancelled meanwhile leaves the queue.

        `has_place`: the caller gave up its place just now, so it may wait in any case. Raises Fault BUSY: too many
        requests wait already.
        """
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queues.setdefault(owner, deque()).append(turn)
        try:
            self._grant()
            if not has_place and not turn.done():
                self._check(owner)
            await turn
            yield
        finally:
            if turn.done() and not turn.cancelled():  # also where the slot came as the caller was cancelled
                self._count(owner, -1)
            turn.cancel()
            self._grant()

    def _check(self, owner: str, more: int = 0) -> None:
        if self._max_waiting is not None:
            here = self._pending() + self._places
            if here.total() + more > self._max_waiting or here[owner] + more > self._share:
                raise busy("the queue is full")

    def _pending(self) -> Counter[str]:
        """Turns that wait, by owner; of callers that were cancelled some may still be in the queue."""
        return Counter({name: sum(not turn.done() for turn in queue) for name, queue in self._queues.items()})

    def _grant(self) -> None:
        """Give the free slots. An owner that gets one moves behind the others."""
        for owner, queue in list(self._queues.items()):
            # Of callers that were cancelled, which may not have run since.
            self._queues[owner] = queue = deque(turn for turn in queue if not turn.done())
            if not queue:
                del self._queues[owner]
        while self.taken < self._num:
            ready = [name for name in self._queues if self._taken.get(name, 0) < self._share]
            if not ready:
                return
            owner = min(ready, key=lambda name: self._taken.get(name, 0))  # the first of the least
            queue = self._queues.pop(owner)
            queue.popleft().set_result(None)
            self._count(owner, 1)
            if queue:
                self._queues[owner] = queue

    def _count(self, owner: str, more: int) -> None:
        self._moved_at = self._clock()
        self.taken += more
        self._taken[owner] = self._taken.get(owner, 0) + more
        if not self._taken[owner]:
            del self._taken[owner]


class MemoryBudget:
    """Bytes that bodies of requests and frames may hold together.

    Args:
        limit: bytes. num_owners: of several owners none gets more than half of them for bodies.
    """

    def __init__(self, limit: int, *, num_owners: int = 1) -> None:
        self.limit, self.share, self.held = limit, limit if num_owners == 1 else limit // 2, 0
        self.held_by: dict[str, int] = {}
        self.lock = threading.RLock()  # the garbage collector may give bytes back while others are being counted

    @contextmanager
    def lease(self, owner: str) -> Iterator[MemoryLease]:
        """The bytes of one request; given back at the end."""
        lease = MemoryLease(self, owner)
        try:
            yield lease
        finally:
            lease.set(0)


@dataclass
class MemoryLease:
    """Bytes of a budget, `size`, of an owner where one is named. Safe from any thread."""

    budget: MemoryBudget
    owner: str | None = None
    size: int = 0

    def set(self, size: int) -> None:
        """Hold `size` bytes from now on, before they are allocated. Raises Fault 503 BUSY, and 413 TOO_LARGE for what
        never fits an owner's share."""
        budget = self.budget
        if self.owner is not None and size > budget.share:
            raise Fault(413, "TOO_LARGE", "the request needs more memory than the server gives to one")
        with budget.lock:
            more = size - self.size
            mine = 0 if self.owner is None else budget.held_by.get(self.owner, 0) + more
            if more > 0 and (budget.held + more > budget.limit or mine > budget.share):
                raise busy("requests in flight use all the memory they may have")
            budget.held += more
            self.size = size
            if self.owner is not None:
                budget.held_by[self.owner] = mine
                if not mine:
                    del budget.held_by[self.owner]

    def end_with(self, array: Any) -> None:
        """Give the bytes back once nothing refers to an array any more."""
        weakref.finalize(array, self.set, 0).atexit = False


def busy(why: str) -> Fault:
    """The server has no capacity for a request now."""
    return Fault(503, "BUSY", f"the server is busy: {why}; retry later", retry_after_s=_BUSY_RETRY_S)
