"""An engine of workers in threads of this process: what `cineloop.cluster.pool` is tested with, without ray."""

from __future__ import annotations

import dataclasses
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.reduction import ForkingPickler

from cineloop.cluster.node import Driver, Host, Kept
from cineloop.cluster.pool import WorkerLostError


class Death(BaseException):
    """Raised by a step: the worker it runs on dies."""


class Engine:
    """As `cineloop.cluster.ray_engine.RayEngine`; `kill` answers calls that never return."""

    num_cpus, num_gpus, num_nodes = 2, 0, 2

    def __init__(self, driver: Driver | None = None, room: int = 100) -> None:
        self.driver, self.room = driver or Driver.here(()), room  # `room` workers find a place
        self.started: list[str] = []
        self.killed: list[str] = []
        self._lock = threading.Lock()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        pass

    def start(self, step, name, ask):
        step = _copied(step) if dataclasses.is_dataclass(step) else step
        with self._lock:
            self.started.append(name)
        has_place = len(self.started) - len(self.killed) <= self.room
        return _Handle(name, Host(step, name, self.driver), ThreadPoolExecutor(1), has_place)

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
            return [Kept(results[0], bulk)] if is_kept else results

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
