"""Who asks, how often, how many at once, and with how much memory.

In: the `Authorization` header of a request. Out: its owner, a name made of its key; a place among the requests being
worked on; leave to hold bytes. What there is not enough of is refused with `Fault` and a time to come again.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Protocol

from v2t.serve.faults import Fault

LOCAL = "local"  # the owner of all requests where no key is needed
_BUSY_RETRY_S = 5.0


class Owners:
    """The clients' keys, as digests: each key is an owner.

    Args:
        keys: none lets everybody in, as the owner "local".
    """

    def __init__(self, keys: Sequence[str]) -> None:
        self._digests = [hashlib.sha256(key.encode("ascii")).digest() for key in dict.fromkeys(keys)]

    @property
    def is_open(self) -> bool:
        """Whether no key is needed."""
        return not self._digests

    @property
    def num(self) -> int:
        """How many owners there can be, >= 1."""
        return max(1, len(self._digests))

    def of(self, authorization: str | None) -> str:
        """The owner who sends this header.

        Raises:
            Fault: UNAUTHORIZED, a key is needed and none of ours came.
        """
        if self.is_open:
            return LOCAL
        scheme, _, key = (authorization or "").partition(" ")
        digest = hashlib.sha256(key.strip().encode("utf-8", "surrogateescape")).digest()
        found = None
        for known in self._digests:  # all of them, so that time tells nothing
            if hmac.compare_digest(digest, known):
                found = known
        if found is None or scheme.lower() != "bearer":
            raise Fault(401, "UNAUTHORIZED", "a key is needed, in the header Authorization: Bearer KEY")
        return found.hex()[:16]


class Rate:
    """A bucket for each owner: `per_minute` requests at once at most, filled up again evenly.

    Args:
        per_minute: requests of one owner, >= 1.
        clock: seconds that only grow.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._size, self._clock = float(per_minute), clock
        self._buckets: dict[str, tuple[float, float]] = {}  # owner → what is left, when that was

    def take(self, owner: str) -> None:
        """Count one request of `owner`.

        Raises:
            Fault: RATE_LIMITED, with the seconds until the next one is welcome.
        """
        now = self._clock()
        left, when = self._buckets.get(owner, (self._size, now))
        left = min(self._size, left + max(0.0, now - when) * self._size / 60.0)
        if left < 1.0:
            self._buckets[owner] = (left, now)
            wait_s = (1.0 - left) * 60.0 / self._size
            raise Fault(
                429,
                "RATE_LIMITED",
                f"more than {self._size:.0f} requests in a minute; the next one in {math.ceil(wait_s)} s",
                retry_after_s=wait_s,
            )
        self._buckets[owner] = (left - 1.0, now)


class Places:
    """Places of requests being worked on; as many more may wait, first come first served.

    Where there are several owners none gets more than `per_owner` places, nor may more than that of its requests wait,
    and one who has used its share up does not hold back those behind it.

    Args:
        num: places. per_owner: of one owner. num_owners: how many there can be.
        patience_s: seconds a request waits at most.
    """

    def __init__(self, num: int, per_owner: int, num_owners: int, patience_s: float) -> None:
        self._num, self._share = num, num if num_owners == 1 else min(num, per_owner)
        self._patience_s = patience_s
        self._taken: dict[str, int] = {}
        self._line: deque[tuple[str, asyncio.Future[None]]] = deque()

    @property
    def taken(self) -> int:
        """Requests being worked on."""
        return sum(self._taken.values())

    @property
    def waiting(self) -> int:
        """Requests that wait."""
        return len(self._line)

    @asynccontextmanager
    async def place(self, owner: str) -> AsyncIterator[None]:
        """A place of `owner` for as long as the context lasts.

        Raises:
            Fault: BUSY, too many wait already, or it waited too long.
        """
        if self._is_free(owner):
            self._taken[owner] = self._taken.get(owner, 0) + 1
        else:
            await self._wait(owner)
        try:
            yield
        finally:
            self._give_back(owner)

    def _is_free(self, owner: str) -> bool:
        return self.taken < self._num and self._taken.get(owner, 0) < self._share

    async def _wait(self, owner: str) -> None:
        mine = sum(each == owner for each, _ in self._line)
        if len(self._line) >= self._num or mine >= self._share:
            raise _busy("as many requests as may wait are waiting")
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (owner, turn)
        self._line.append(entry)
        try:
            async with asyncio.timeout(self._patience_s):
                await turn
        except BaseException as problem:
            if turn.done() and not turn.cancelled():  # its turn came as it left
                self._give_back(owner)
            else:
                self._line.remove(entry)
            if isinstance(problem, TimeoutError):
                raise _busy(f"no place became free within {self._patience_s:.0f} s") from None
            raise

    def _give_back(self, owner: str) -> None:
        self._taken[owner] -= 1
        if not self._taken[owner]:
            del self._taken[owner]
        for entry in list(self._line):
            if self._is_free(entry[0]) and not entry[1].done():
                self._line.remove(entry)
                self._taken[entry[0]] = self._taken.get(entry[0], 0) + 1
                entry[1].set_result(None)


class Total(Protocol):
    """Where bytes are counted that others hold beside the requests' bodies."""

    def hold(self, num_bytes: int) -> None:
        """Count bytes. Raises Fault BUSY."""

    def release(self, num_bytes: int) -> None:
        """Give bytes back."""


class Memory:
    """Bytes that the bodies of all requests together may hold; of several owners none gets more than half of them.

    Args:
        limit: bytes. num_owners: how many owners there can be.
        total: counts frames as well; None where there are none.
    """

    def __init__(self, limit: int, num_owners: int, total: Total | None = None) -> None:
        self._limit, self._total = limit, total
        self.share = limit if num_owners == 1 else limit // 2  # of one owner
        self._held: dict[str, int] = {}

    @property
    def held(self) -> int:
        """Bytes held now."""
        return sum(self._held.values())

    @contextmanager
    def holding(self, owner: str) -> Iterator[Holding]:
        """What one request holds; given back at the end."""
        holding = Holding(self, owner)
        try:
            yield holding
        finally:
            holding.set(0)

    def change(self, owner: str, by: int) -> None:
        """`owner` holds so many bytes more, or fewer.

        Raises:
            Fault: BUSY, there is no room for them now.
        """
        mine = self._held.get(owner, 0) + by
        if by > 0 and (mine > self.share or self.held + by > self._limit):
            raise _busy("the requests being worked on take all the memory there is for them")
        if self._total is not None and by > 0:
            self._total.hold(by)
        elif self._total is not None:
            self._total.release(-by)
        if mine:
            self._held[owner] = mine
        else:
            self._held.pop(owner, None)


class Holding:
    """The bytes of one request."""

    def __init__(self, memory: Memory, owner: str) -> None:
        self._memory, self._owner, self.size = memory, owner, 0

    def set(self, size: int) -> None:
        """From now on it holds `size` bytes. Raises as `Memory.change`, and Fault TOO_LARGE for what never fits."""
        if size > self._memory.share:
            raise Fault(413, "TOO_LARGE", "the request needs more memory than the server gives to one")
        self._memory.change(self._owner, size - self.size)
        self.size = size


def _busy(why: str) -> Fault:
    return Fault(503, "BUSY", f"the server is busy: {why}; ask again a little later", retry_after_s=_BUSY_RETRY_S)
