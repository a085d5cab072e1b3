"""Measure in several processes, each a worker of its own, which take samples as they become free.

In: jobs. Out: the same jobs with replies, in any order, with the same bits as in one process. A process that crashes
(native code, memory) loses its current sample, with code WORKER_DIED, and is restarted. The processes are spawned,
since threads and GPU contexts do not survive a fork; they ignore Ctrl-C, and end with the parent.
"""

from __future__ import annotations

import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import Any

from cineloop.errors import CineloopError, MissingDependencyError
from cineloop.log import logger
from v2t_eval.core import models
from v2t_eval.core.worker import AHEAD, Error, Job, MeasurementWorker, PendingJob, Reply, WorkerSpec

_STARTS = 3  # tries of a process that dies before its first sample
_POLL_S = 0.2


class _Process:
    """One process, the pipe to it, and its queue of jobs, the first one being measured."""

    def __init__(self, spec: WorkerSpec) -> None:
        context = get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, spec), daemon=True)
        with _no_interrupt():
            self.process.start()
        theirs.close()
        self.jobs: deque[Job] = deque()
        self.ready = False

    def give(self, job: Job) -> None:
        """Send a job."""
        self.jobs.append(job)
        with suppress(OSError):  # it died: handled in `results`
            self.pipe.send(job.request())

    def end(self) -> str:
        """End the process; returns how it ended as text."""
        self.pipe.close()
        self.process.join(timeout=_POLL_S)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        code = self.process.exitcode or 0
        return f"signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"exit code {code}"


def run(
    num: int, worker: MeasurementWorker, jobs: Iterator[Job], stop: Callable[[], bool]
) -> Iterator[tuple[Job, Reply]]:
    """The jobs with their replies, as up to `num` processes finish them; no new ones start after a stop.

    Raises:
        MissingDependencyError: a process does not start, or there is no decoder.
    """
    pool, again = _Pool(num, worker), deque[Job]()
    try:
        more = True
        while more or pool.busy or again:
            while more or again:
                free = pool.free()
                if free is None or (stop() and not again):
                    break
                job = again.popleft() if again else next(jobs, None)
                if job is None:
                    more = False
                else:
                    free.give(job)
            if stop():
                more = False
            yield from pool.results(again)
    finally:
        pool.close()


class _Pool:
    """The processes."""

    def __init__(self, num: int, worker: MeasurementWorker) -> None:
        self.num = num
        self.processes: list[_Process] = []
        self.specs = [worker.spec(device) for device in models.shared_gpus() or [models.chosen_device()]]
        self.false_starts = 0

    @property
    def busy(self) -> bool:
        return any(process.jobs for process in self.processes)

    def free(self) -> _Process | None:
        """The process with the shortest queue; a new one if all are busy and more may be started."""
        least = min(self.processes, key=lambda process: len(process.jobs), default=None)
        if (least is None or least.jobs) and len(self.processes) < self.num:
            least = _Process(self.specs[len(self.processes) % len(self.specs)])
            self.processes.append(least)
        return least if least is not None and len(least.jobs) < AHEAD else None

    def results(self, again: deque[Job]) -> Iterator[tuple[Job, Reply]]:
        """What has come in; jobs of a dead process go to `again`, except its current one."""
        pipes: dict[Any, _Process] = {process.pipe: process for process in self.processes if process.jobs}
        for pipe in wait(list(pipes), timeout=_POLL_S) if pipes else ():
            process = pipes[pipe]
            try:
                reply = process.pipe.recv()
            except (EOFError, OSError):
                yield from self._reap(process, again)
                continue
            if isinstance(reply, Reply):
                self.false_starts = 0
                yield process.jobs.popleft(), reply
            elif isinstance(reply, Exception):
                raise reply
            else:
                process.ready = True

    def _reap(self, process: _Process, again: deque[Job]) -> Iterator[tuple[Job, Reply]]:
        """Reap a crashed process; its current job is marked failed unless it never began."""
        self.processes.remove(process)
        how = process.end()
        again.extend(process.jobs)
        if not process.ready:
            self.false_starts += 1
            if self.false_starts >= _STARTS:
                raise MissingDependencyError(
                    f"a measuring process ended before it began, {_STARTS} times ({how})",
                    hint="--workers 1 measures in this process and shows why",
                )
            return
        job = process.jobs[0]
        again.remove(job)
        logger.warning("the process that measured %s died (%s); another one continues", job.sample.id, how)
        message = f"the process that measured it ended with {how}"
        error: Error = {"code": "WORKER_DIED", "message": message, "hint": "memory may be short"}
        yield job, Reply(errors=dict.fromkeys(job.todo, error))

    def close(self) -> None:
        for process in self.processes:
            process.end()


def _work(pipe: Connection, spec: WorkerSpec) -> None:
    """The process: load the measurements, then answer every job, reading one clip ahead."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    begun: deque[PendingJob] = deque()
    with ExitStack() as stack, suppress(EOFError, BrokenPipeError):
        try:
            worker = stack.enter_context(spec.open())
            pipe.send("ready")
            while True:
                while not begun or (len(begun) < AHEAD and pipe.poll()):
                    begun.append(worker.begin(pipe.recv()))
                pipe.send(worker.finish(begun.popleft()))
        except (EOFError, BrokenPipeError):  # the parent has closed the pipe
            raise
        except CineloopError as error:
            pipe.send(error)
        except Exception as error:  # of any class, even one that cannot be pickled
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
