"""Measure in several processes, each with its own metrics and decoder, which take samples as they become free.

In: jobs. Out: the same jobs, measured, in any order, with the same bits as in one process. A process that crashes
(native code, memory) loses its current sample, with code WORKER_DIED, and is restarted. The processes are spawned,
since threads and GPU contexts do not survive a fork; they ignore Ctrl-C, and end with the parent.
"""

from __future__ import annotations

import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import Any

from cineloop.config import to_dict
from cineloop.errors import CineloopError, MissingDependencyError
from cineloop.log import logger
from cineloop.plugin import source
from v2t_eval.core import models
from v2t_eval.core.measure import AHEAD, NOT_PENDING, ClipLimits, Engine, Error, Job
from v2t_eval.core.measurement import Measurement
from v2t_eval.core.metric import load_metric
from v2t_eval.core.sample import Sample

_STARTS = 3  # tries of a process that dies before its first sample
_POLL_S = 0.2


class Worker:
    """One process, the pipe to it, and its queue of jobs, the first one being measured."""

    def __init__(self, metrics: Sequence[Measurement], limits: ClipLimits, device: str) -> None:
        context = get_context("spawn")
        self.pipe, theirs = context.Pipe()
        specs = [(source(type(metric)) or type(metric), to_dict(metric.settings)) for metric in metrics]
        self.process = context.Process(target=_work, args=(theirs, specs, limits, device), daemon=True)
        with _no_interrupt():
            self.process.start()
        theirs.close()
        self.jobs: deque[Job] = deque()
        self.ready = False

    def give(self, job: Job) -> None:
        """Send a job, without its cached evidence."""
        self.jobs.append(job)
        with suppress(OSError):  # it died: handled in `finished`
            self.pipe.send(replace(job, keys={}, evidence={}, errors={}))

    def end(self) -> str:
        """End the process; returns how it ended as text."""
        self.pipe.close()
        self.process.join(timeout=_POLL_S)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        code = self.process.exitcode or 0
        return f"signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"exit code {code}"


def measured_by(
    num: int,
    metrics: Sequence[Measurement],
    limits: ClipLimits,
    jobs: Iterable[Job],
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Job]:
    """The jobs, measured by up to `num` processes, as they finish; no new ones start after a stop.

    Raises:
        MissingDependencyError: a process does not start, or there is no decoder.
    """
    pool = _Pool(num, metrics, limits)
    source, again = iter(jobs), deque[Job]()
    try:
        more = True
        while more or pool.busy or again:
            while more or again:
                free = pool.free()
                if free is None or (stop() and not again):
                    break
                job = again.popleft() if again else next(source, None)
                if job is None:
                    more = False
                else:
                    free.give(job)
            if stop():
                more = False
            yield from pool.finished(again)
    finally:
        pool.close()


class _Pool:
    """The processes."""

    def __init__(self, num: int, metrics: Sequence[Measurement], limits: ClipLimits) -> None:
        self.num, self.metrics, self.limits = num, metrics, limits
        self.workers: list[Worker] = []
        self.devices = models.shared_gpus() or [models.chosen_device()]
        self.false_starts = 0

    @property
    def busy(self) -> bool:
        return any(worker.jobs for worker in self.workers)

    def free(self) -> Worker | None:
        """The process with the shortest queue; a new one if all are busy and more may be started."""
        least = min(self.workers, key=lambda worker: len(worker.jobs), default=None)
        if (least is None or least.jobs) and len(self.workers) < self.num:
            device = self.devices[len(self.workers) % len(self.devices)]
            least = Worker(self.metrics, self.limits, device)
            self.workers.append(least)
        return least if least is not None and len(least.jobs) < AHEAD else None

    def finished(self, again: deque[Job]) -> Iterator[Job]:
        """What has come in; jobs of a dead process go to `again`, except its current one."""
        pipes: dict[Any, Worker] = {worker.pipe: worker for worker in self.workers if worker.jobs}
        for pipe in wait(list(pipes), timeout=_POLL_S) if pipes else ():
            worker = pipes[pipe]
            try:
                reply = worker.pipe.recv()
            except (EOFError, OSError):
                yield from self._reap(worker, again)
                continue
            if isinstance(reply, Job):
                self.false_starts = 0
                job = worker.jobs.popleft()
                job.evidence |= reply.evidence
                job.errors |= reply.errors
                job.about, job.error = reply.about or job.about, reply.error or job.error
                yield job
            elif isinstance(reply, Exception):
                raise reply
            else:
                worker.ready = True

    def _reap(self, worker: Worker, again: deque[Job]) -> Iterator[Job]:
        """Reap a crashed process; its current job is marked failed unless it never began."""
        self.workers.remove(worker)
        how = worker.end()
        again.extend(worker.jobs)
        if not worker.ready:
            self.false_starts += 1
            if self.false_starts >= _STARTS:
                raise MissingDependencyError(
                    f"a measuring process ended before it began, {_STARTS} times ({how})",
                    hint="--workers 1 measures in this process and shows why",
                )
            return
        job = worker.jobs[0]
        again.remove(job)
        logger.warning("the process that measured %s died (%s); another one continues", job.sample.id, how)
        message = f"the process that measured it ended with {how}"
        error: Error = {"code": "WORKER_DIED", "message": message, "hint": "memory may be short"}
        job.errors |= dict.fromkeys(job.todo, error)
        yield job

    def close(self) -> None:
        for worker in self.workers:
            worker.end()


def _work(
    pipe: Connection, specs: list[tuple[type[Measurement] | str, dict[str, Any]]], limits: ClipLimits, device: str
) -> None:
    """The process: load the metrics, then answer every job, reading one clip ahead."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    begun: deque[Job] = deque()
    with ExitStack() as stack, suppress(EOFError, BrokenPipeError):
        try:
            stack.enter_context(models.on_device(device))
            metrics = [(load_metric(k) if isinstance(k, str) else k)(**settings) for k, settings in specs]
            for metric in metrics:
                metric.prepare()
            pipe.send("ready")
            with Engine(metrics, limits) as engine:
                while True:
                    while not begun or (len(begun) < AHEAD and pipe.poll()):
                        begun.append(engine.begin(pipe.recv()))
                    done = engine.finish(begun.popleft())
                    pipe.send(replace(done, sample=Sample(id=done.sample.id), **NOT_PENDING))
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
