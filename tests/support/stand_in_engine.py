"""An engine of workers in threads of this process: what `cineloop.cluster.pool` is tested with, without ray."""

from __future__ import annotations

import dataclasses
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

from cineloop.cluster import journals
from cineloop.cluster.node import Driver, Host, PlacedResult
from cineloop.cluster.pool import WorkerLostError
from cineloop.journal import Entry, Journal


class Death(BaseException):
    """Raised by a step: the worker it runs on dies."""


class DeadDriver(BaseException):
    """Raised where a driver dies: nothing is cleared up."""


def die_at(monkeypatch, owner: type, method: str) -> None:
    """Let the driver die where it calls this method of a class."""

    def dying(self, *args):
        raise DeadDriver

    monkeypatch.setattr(owner, method, dying)


def lose_the_first_answer(monkeypatch, step: type, method: str) -> None:
    """Let the worker that answers first die once its answer is in its journal, so that nobody hears of it."""
    real, deaths = getattr(step, method), iter([True])

    def answer(self, items, bulks):
        results = real(self, items, bulks)
        if next(deaths, False):
            raise Death("signal 9")
        return results

    monkeypatch.setattr(step, method, answer)


def entries_of_workers(state: Path) -> list[Entry]:
    """What the journals of workers hold, of all runs that are not removed."""
    found: list[Entry] = []
    for path in journals.journals(state):
        with Journal(path, writable=False) as journal:
            found += [entry for entry, _ in journal.replay()]
    return found


class Engine:
    """As `cineloop.cluster.ray_engine.RayEngine`; `kill` answers calls that never return.

    When the driver dies, of an exception, its workers are dead too before anyone looks at what they left.
    """

    num_cpus, num_gpus, num_nodes = 2, 0, 2

    def __init__(self, driver: Driver | None = None, room: int = 100) -> None:
        self.driver, self.room = driver or Driver.here(()), room  # `room` workers find a place
        self.started: list[str] = []
        self.killed: list[str] = []
        self._handles: list[_Handle] = []
        self._lock = threading.Lock()

    def __enter__(self):
        return self

    def __exit__(self, kind, *exc):
        for handle in self._handles if kind else ():
            handle.thread.shutdown(wait=True)

    def start(self, step, name, ask):
        step = _copied(step) if dataclasses.is_dataclass(step) else step
        with self._lock:
            self.started.append(name)
            has_place = len(self.started) - len(self.killed) <= self.room
            self._handles.append(_Handle(name, Host(step, name, self.driver), ThreadPoolExecutor(1), has_place))
            return self._handles[-1]

    def ready(self, handle):
        def unpack(reply):
            if reply[0] is not None:
                raise reply[0]
            return reply[1]

        return handle.ask(handle.host.ready, unpack) if handle.has_place else Future()

    def call(self, handle, method, items, bulks):
        def unpack(reply):
            (error, results, is_kept), bulk = reply
            if error is not None:
                raise error
            return [PlacedResult(results[0], bulk)] if is_kept else results

        items = _copied(list(items))
        return handle.ask(lambda: handle.host.call(method, items, *bulks), unpack)

    def kill(self, handle):
        with self._lock:
            self.killed.append(handle.name)
        handle.die("killed")

    def shortage(self, ask):
        return ""


def _copied(value):
    """As it arrives in another process."""
    return ForkingPickler.loads(bytes(ForkingPickler.dumps(value)))


class _Handle:
    def __init__(self, name, host, thread, has_place) -> None:
        self.name, self.host, self.thread, self.has_place = name, host, thread, has_place
        self.open: list[Future] = []
        self.is_dead = False
        self.lock = threading.RLock()

    def ask(self, work, unpack):
        future: Future = Future()
        with self.lock:
            if self.is_dead:
                future.set_exception(WorkerLostError("dead"))
                return future
            self.open.append(future)

        def run():
            try:
                result = unpack(work())
            except Death as death:
                self.die(str(death))
                return
            except Exception as raised:
                error = raised
                self._end(future, lambda: future.set_exception(error))
                return
            self._end(future, lambda: future.set_result(result))

        self.thread.submit(run)
        return future

    def _end(self, future, settle):
        with self.lock:
            if future not in self.open:
                return
            self.open.remove(future)
        settle()

    def die(self, why):
        with self.lock:
            self.is_dead = True
            futures, self.open = self.open, []
        self.thread.shutdown(wait=False, cancel_futures=True)
        for future in futures:
            future.set_exception(WorkerLostError(why, with_node=why == "node"))
