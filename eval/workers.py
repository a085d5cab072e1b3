"""Measuring in several processes, each with its own metrics and decoder, that take samples as they become free.

In: tasks. Out: their outcomes in any order, the same bits as in one process. A process that dies (native code, memory)
costs the sample it was at, with code WORKER_DIED, and is started again. The processes are spawned, since threads and
GPU contexts do not survive a fork; Ctrl-C is for the parent alone, and they end when it does.
"""

from __future__ import annotations

import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import Any

from cineloop.config import to_dict
from cineloop.errors import CineloopError, MissingDependencyError
from cineloop.log import logger
from cineloop.plugin import source
from v2t_eval import models
from v2t_eval.measure import AHEAD, Begun, ClipLimits, Failure, Measurer, Outcome, Task
from v2t_eval.metric import BaseMetric, load_metric

_STARTS = 3  # tries of a process that dies before its first sample
_POLL_S = 0.2


class Worker:
    """One process, the pipe to it, and the tasks it has in hand, the first one being measured."""

    def __init__(self, metrics: Sequence[BaseMetric], limits: ClipLimits, device: str) -> None:
        context = get_context("spawn")
        self.pipe, theirs = context.Pipe()
        made = [(source(type(metric)) or type(metric), to_dict(metric.settings)) for metric in metrics]
        self.process = context.Process(target=_work, args=(theirs, made, limits, device), daemon=True)
        with _no_interrupt():
            self.process.start()
        theirs.close()
        self.tasks: deque[Task] = deque()
        self.ready = False

    def give(self, task: Task) -> None:
        """Send a task."""
        self.tasks.append(task)
        with suppress(OSError):  # it died: its tasks are dealt with when that is seen
            self.pipe.send(task)

    def end(self) -> str:
        """End the process; in words, how it ended."""
        self.pipe.close()
        self.process.join(timeout=_POLL_S)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        code = self.process.exitcode or 0
        return f"signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"exit code {code}"


def measured_by(
    num: int,
    metrics: Sequence[BaseMetric],
    limits: ClipLimits,
    tasks: Iterable[Task],
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Outcome]:
    """Outcomes of the tasks from up to `num` processes, as they come; no new tasks are given when asked to stop.

    Raises:
        MissingDependencyError: a process does not start, or there is no decoder.
    """
    pool = _Pool(num, metrics, limits)
    source, again = iter(tasks), deque[Task]()
    try:
        more = True
        while more or pool.busy or again:
            while more or again:
                free = pool.free()
                if free is None or (stop() and not again):
                    break
                task = again.popleft() if again else next(source, None)
                if task is None:
                    more = False
                else:
                    free.give(task)
            if stop():
                more = False
            yield from pool.outcomes(again)
    finally:
        pool.close()


class _Pool:
    """The processes."""

    def __init__(self, num: int, metrics: Sequence[BaseMetric], limits: ClipLimits) -> None:
        self.num, self.metrics, self.limits = num, metrics, limits
        self.workers: list[Worker] = []
        self.devices = models.shared_gpus() or [models.chosen_device()]
        self.false_starts = 0

    @property
    def busy(self) -> bool:
        return any(worker.tasks for worker in self.workers)

    def free(self) -> Worker | None:
        """The process with least in hand, a new one where that is not none and more may be started."""
        least = min(self.workers, key=lambda worker: len(worker.tasks), default=None)
        if (least is None or least.tasks) and len(self.workers) < self.num:
            device = self.devices[len(self.workers) % len(self.devices)]
            least = Worker(self.metrics, self.limits, device)
            self.workers.append(least)
        return least if least is not None and len(least.tasks) < AHEAD else None

    def outcomes(self, again: deque[Task]) -> Iterator[Outcome]:
        """What has come in; tasks of a dead process go to `again`, but for the one it died of."""
        pipes: dict[Any, Worker] = {worker.pipe: worker for worker in self.workers if worker.tasks}
        for pipe in wait(list(pipes), timeout=_POLL_S) if pipes else ():
            worker = pipes[pipe]
            try:
                reply = worker.pipe.recv()
            except (EOFError, OSError):
                yield from self._bury(worker, again)
                continue
            if isinstance(reply, Outcome):
                self.false_starts = 0
                worker.tasks.popleft()
                yield reply
            elif isinstance(reply, Exception):
                raise reply
            else:
                worker.ready = True

    def _bury(self, worker: Worker, again: deque[Task]) -> Iterator[Outcome]:
        """Put away a dead process: its first task is what it died of, unless it never began."""
        self.workers.remove(worker)
        how = worker.end()
        again.extend(worker.tasks)
        if not worker.ready:
            self.false_starts += 1
            if self.false_starts >= _STARTS:
                raise MissingDependencyError(
                    f"a measuring process ended before it began, {_STARTS} times ({how})",
                    hint="--workers 1 measures in this process and shows why",
                )
            return
        task = worker.tasks[0]
        again.remove(task)
        logger.warning("the process that measured %s died (%s); another goes on", task.sample.id, how)
        failure = Failure("WORKER_DIED", f"the process that measured it ended with {how}", "memory may be short")
        yield Outcome(task.number, failures=dict.fromkeys(task.metrics, failure))

    def close(self) -> None:
        """End all processes."""
        for worker in self.workers:
            worker.end()


def _work(
    pipe: Connection, made: list[tuple[type[BaseMetric] | str, dict[str, Any]]], limits: ClipLimits, device: str
) -> None:
    """The process: load the metrics, then answer every task, reading one clip ahead."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    begun: deque[Begun] = deque()
    with ExitStack() as stack, suppress(EOFError, BrokenPipeError):
        try:
            stack.enter_context(models.on_device(device))
            metrics = [(load_metric(k) if isinstance(k, str) else k)(**settings) for k, settings in made]
            for metric in metrics:
                metric.prepare()
            pipe.send("ready")
            with Measurer(metrics, limits) as measurer:
                while True:
                    while not begun or (len(begun) < AHEAD and pipe.poll()):
                        begun.append(measurer.begin(pipe.recv()))
                    pipe.send(measurer.finish(begun.popleft()))
        except (EOFError, BrokenPipeError):  # the parent needs no more
            raise
        except CineloopError as error:
            pipe.send(error)
        except Exception as error:  # of any class, also of one that could not be sent
            pipe.send(RuntimeError(f"{type(error).__name__}: {error}"))


class _no_interrupt:
    """Children that start within the block ignore Ctrl-C from their first moment."""

    def __enter__(self) -> None:
        self._before = None
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, signal.SIG_IGN)

    def __exit__(self, *exc: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
