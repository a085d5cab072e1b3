"""A pool of workers that may die: calls are placed, repeated on another worker, and given up after three deaths.

In: batches of items, each item with a name. Out: a future of one result or `ItemError` for each item. A pool keeps
between its least and its most workers, starts more while calls wait and ends those that are idle. Each worker has one
call running and one waiting. A batch whose worker died is repeated item by item, so that an item that kills its
workers is alone when it does; after its third death its result is the error WORKER_DIED. A call that takes longer than
the limit kills its worker and counts as a death. A worker lost with its node is nobody's fault and counts nothing.

What runs the workers is an `Engine` (`cineloop.cluster.ray_engine`); everything here is tested without one.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Protocol

from cineloop.cluster.settings import Size
from cineloop.errors import CineloopError, ItemError, MissingDependencyError
from cineloop.log import logger

DEATHS = 3  # of its worker, after which an item is given up
_STARTS = 3  # workers in a row that end before they are ready
_QUEUED = 2  # calls of one worker: one running, one waiting
_IDLE_S = 30.0
_TICK_S = 0.25
_NOTICE_S = 60.0
Step = Callable[[str], Any]  # makes the worker's object from the worker's name, on the worker


class WorkerLostError(Exception):
    """The worker ended during a call. `with_node`: because its machine was lost."""

    def __init__(self, message: str, with_node: bool = False) -> None:
        super().__init__(message)
        self.with_node = with_node


class InputLostError(Exception):
    """What a call was to read is gone, with the machine that held it; it must be made again."""


@dataclass(frozen=True, kw_only=True)
class Ask:
    """What a worker asks of the cluster."""

    cpus: float = 0.5
    gpus: float = 0.0


class Engine(Protocol):
    """What runs workers. Handles are its own affair; futures raise `WorkerLostError` or `InputLostError`."""

    def start(self, step: Step, name: str, ask: Ask) -> Any:
        """Begin to start a worker; returns its handle at once."""

    def ready(self, handle: Any) -> Future[str]:
        """The worker's machine, once its step is made; raises what the step raises."""

    def call(self, handle: Any, method: str, items: Sequence[Any], bulks: Sequence[Any]) -> Future[list[Any]]:
        """The results of one call; raises what the method raises."""

    def kill(self, handle: Any) -> None:
        """End the worker, whatever it is doing."""

    def shortage(self, ask: Ask) -> str:
        """Why such a worker may have no place now; "" where it has."""


@dataclass(eq=False)
class _Call:
    method: str
    items: list[Any]
    bulks: list[Any]
    future: Future[list[Any]] = field(default_factory=Future)
    deaths: int = 0
    since: float = 0.0  # when it was first in its worker's queue


@dataclass(eq=False)
class _Worker:
    name: str
    handle: Any
    node: str = ""  # "" until it is ready
    calls: deque[_Call] = field(default_factory=deque)
    idle_since: float = 0.0
    begun_at: float = 0.0


class Pool:
    """Workers of one kind; a context manager. `submit` may be called from any thread.

    Args:
        engine: runs the workers.
        step: makes the object whose methods are called; pickled to the workers.
        kind: the workers' name in messages.
        size: fewest and most workers.
        ask: of each worker.
        limit_s: of one call.

    Attributes:
        deaths: workers that died so far.
    """

    def __init__(self, engine: Engine, step: Step, *, kind: str, size: Size, ask: Ask, limit_s: float) -> None:
        self.engine, self.step, self.kind, self.size, self.ask, self.limit_s = engine, step, kind, size, ask, limit_s
        self.deaths = 0
        self._workers: list[_Worker] = []
        self._queue: deque[_Call] = deque()
        self._num_started = self._false_starts = 0
        self._noticed_at = time.monotonic()
        self._error: CineloopError | None = None
        self._lock = threading.RLock()
        self._closed = threading.Event()
        self._ticker = threading.Thread(target=self._tick, name=f"{kind}-pool", daemon=True)

    def submit(self, method: str, items: Sequence[Any], bulks: Sequence[Any] = ()) -> Future[list[Any]]:
        """Call `method(items, bulks)` of a worker; it returns a list with one result for each item.

        `bulks` are results that stay where they were made, one for each item or none. The future raises
        `InputLostError`, or the error that ended the pool; an item that killed its workers gets an `ItemError`.
        """
        call = _Call(method, list(items), list(bulks))
        with self._lock:
            if self._error is not None:
                call.future.set_exception(self._error)
            else:
                self._queue.append(call)
                self._place()
        return call.future

    def __enter__(self) -> Pool:
        with self._lock:
            self._grow()
        self._ticker.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._closed.set()
        self._ticker.join()
        with self._lock:
            self._fail(MissingDependencyError("the pool is closed", code="CLUSTER"))

    # ---- all below runs with the lock held, but for `_tick`

    def _tick(self) -> None:
        while not self._closed.wait(_TICK_S):
            with self._lock:
                self._check(time.monotonic())

    def _check(self, now: float) -> None:
        for worker in list(self._workers):
            if worker.calls and now - worker.begun_at > self.limit_s:
                self._bury(worker, WorkerLostError(f"a call took longer than {self.limit_s:g} s"))
            elif (
                not worker.calls
                and worker.node
                and now - worker.idle_since > _IDLE_S
                and len(self._workers) > self.size.least
            ):
                self._workers.remove(worker)
                self.engine.kill(worker.handle)
        if self._queue and not any(worker.node for worker in self._workers) and now - self._noticed_at > _NOTICE_S:
            self._noticed_at = now
            logger.warning("waiting for a %s worker: %s", self.kind, self.engine.shortage(self.ask) or "it starts")
        self._grow()

    def _grow(self) -> None:
        """Keep the least number of workers, and one more for each call that waits, up to the most."""
        if self._error is not None or self._closed.is_set():
            return
        starting = sum(not worker.node for worker in self._workers)
        wanted = max(self.size.least - len(self._workers), len(self._queue) - starting)
        for _ in range(min(wanted, self.size.most - len(self._workers))):
            self._num_started += 1
            worker = _Worker(f"{self.kind}-{self._num_started}", None)
            worker.handle = self.engine.start(self.step, worker.name, self.ask)
            self._workers.append(worker)
            self.engine.ready(worker.handle).add_done_callback(lambda done, worker=worker: self._on_ready(worker, done))  # type: ignore[misc]

    def _place(self) -> None:
        """Give waiting calls to the workers with the fewest."""
        while self._queue:
            ready = [worker for worker in self._workers if worker.node]
            worker = min(ready, key=lambda each: len(each.calls), default=None)
            if worker is None or len(worker.calls) >= _QUEUED:
                return
            call = self._queue.popleft()
            if not worker.calls:
                worker.begun_at = time.monotonic()
            worker.calls.append(call)
            done = self.engine.call(worker.handle, call.method, call.items, call.bulks)
            done.add_done_callback(lambda done, worker=worker, call=call: self._on_done(worker, call, done))  # type: ignore[misc]

    def _on_ready(self, worker: _Worker, done: Future[str]) -> None:
        with self._lock:
            if worker not in self._workers:
                return
            error = done.exception()
            if error is None:
                worker.node, worker.idle_since = done.result(), time.monotonic()
                self._false_starts = 0
                logger.debug("%s is ready on %s", worker.name, worker.node)
                self._place()
            elif isinstance(error, WorkerLostError):
                self._bury(worker, error)
            else:
                self._fail(_as_error(error))

    def _on_done(self, worker: _Worker, call: _Call, done: Future[list[Any]]) -> None:
        with self._lock:
            if worker not in self._workers or call not in worker.calls:
                return  # it was buried, and its calls were placed again
            error = done.exception()
            if isinstance(error, WorkerLostError):
                self._bury(worker, error)
                return
            worker.calls.remove(call)
            worker.begun_at = worker.idle_since = time.monotonic()
            self._place()
        if error is None:
            call.future.set_result(done.result())
        elif isinstance(error, InputLostError):
            call.future.set_exception(error)
        else:
            with self._lock:
                self._fail(_as_error(error))
            if not call.future.done():
                call.future.set_exception(_as_error(error))

    def _bury(self, worker: _Worker, why: WorkerLostError) -> None:
        """Remove a dead worker; its calls are placed again, the one that ran with a death more."""
        self._workers.remove(worker)
        self.engine.kill(worker.handle)  # it may only be out of reach
        calls = list(worker.calls)
        if not worker.node:
            self._false_starts += not why.with_node
            if self._false_starts >= _STARTS:
                text = f"{self.kind} workers ended before they began, {_STARTS} times: {why}"
                self._fail(MissingDependencyError(text, code="CLUSTER", hint="the logs of ray say why"))
                return
        else:
            self.deaths += 1
            logger.warning("a %s worker on %s was lost (%s); another one continues", self.kind, worker.node, why)
        again: list[_Call] = []
        for place, call in enumerate(calls):
            call.deaths += place == 0 and not why.with_node
            again += [call] if len(call.items) == 1 else self._split(call)
        for call in reversed(again):
            if call.deaths >= DEATHS:
                call.future.set_result([worker_died(f"{DEATHS} workers died on it: {why}")])
            else:
                self._queue.appendleft(call)
        self._grow()
        self._place()

    def _split(self, call: _Call) -> list[_Call]:
        """Calls of one item each that together fulfil the call."""
        ones = [
            _Call(call.method, [item], call.bulks[number : number + 1], deaths=call.deaths)
            for number, item in enumerate(call.items)
        ]
        left = len(ones)

        def on_one(done: Future[list[Any]]) -> None:
            nonlocal left
            with self._lock:
                left -= 1
                if call.future.done() or (left and done.exception() is None):
                    return
                if (error := done.exception()) is not None:
                    call.future.set_exception(error)
                else:
                    call.future.set_result([result for one in ones for result in one.future.result()])

        for one in ones:
            one.future.add_done_callback(on_one)
        return ones

    def _fail(self, error: CineloopError) -> None:
        """End the pool: every call that waits gets the error."""
        if self._error is not None:
            return
        self._error = error
        workers, self._workers = self._workers, []
        calls = [call for worker in workers for call in worker.calls] + list(self._queue)
        self._queue.clear()
        for worker in workers:
            self.engine.kill(worker.handle)
        for call in calls:
            if not call.future.done():
                call.future.set_exception(error)


def worker_died(message: str) -> ItemError:
    """The error of an item that killed its workers."""
    return ItemError(message, code="WORKER_DIED", hint="memory may be short; --retry-failed tries it again")


def _as_error(error: BaseException) -> CineloopError:
    if isinstance(error, CineloopError):
        return error
    return MissingDependencyError(f"a worker failed: {error}", code="CLUSTER", hint="the logs of ray say why")
