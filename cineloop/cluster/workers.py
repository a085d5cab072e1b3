"""The workers of a run: pools that decode and pools that run the model, on the cluster of a `ClusterConfig`.

In: what makes a run's `ModelWorker`, and what makes its `DecodeWorker` where it reads videos; both are pickled. Out:
pools to submit calls to, and `run_tasks`, which keeps a bounded number of calls in flight; `retry_inputs` begins a task
again whose frames went with their machine. A model worker journals its
answers (`cineloop.cluster.journals`) before the driver hears of them.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from cineloop.cluster import journals
from cineloop.cluster.node import PlacedResult
from cineloop.cluster.pool import Ask, InputLostError, Pool, Step, worker_died
from cineloop.cluster.settings import ClusterConfig, Size, parse_size
from cineloop.errors import ItemError
from cineloop.store import StoredFolder
from cineloop.video.frames import Frames

R = TypeVar("R")
Task = Generator[Future[Any], Any, R]  # yields each future that it waits for, and gets its result or its error
_POLL_S = 0.2
_TRIES = 3  # of what is lost with its machine


@dataclass
class Workers:
    """The open pools of a run. `num_twice`: items that were answered twice because of lost workers, at its end."""

    models: Pool
    decoders: Pool | None
    num_twice: int = 0


class Session(ExitStack):
    """One engine for the runs of a job, one after another: the first starts it, and it ends with the block."""

    _engine: Any = None

    def engine(self, paths: Sequence[Path]) -> Any:
        """The engine, whose new workers look for these paths."""
        from cineloop.cluster.node import Driver
        from cineloop.cluster.ray_engine import RayEngine

        driver = Driver.here(paths)
        self._engine = self._engine or self.enter_context(RayEngine(driver))
        self._engine.driver = driver
        return self._engine


@contextmanager
def open_workers(
    config: ClusterConfig,
    state: Path,
    model: Callable[[], ModelWorker],
    decoder: Callable[[], DecodeWorker] | None,
    answers: journals.Names,
    *,
    paths: Sequence[Path] = (),
    session: Session | None = None,
    store: StoredFolder | None = None,
) -> Iterator[Workers]:
    """Open the pools of a run. The workers' journals are removed when the block ends well: the driver has saved what
    is in them.

    Args:
        config: with an engine.
        state: folder for the journals, seen by every machine.
        model: makes the object of a model worker.
        decoder: of a decoding worker; None for a job that decodes nothing.
        answers: what an entry of a journal answers.
        paths: further files and folders that every machine must see as this one does.
        session: of several runs; None for an engine that ends with this one.
        store: where the journals are, in place of `state`.

    Raises:
        MissingDependencyError: no ray, no cluster. UsageError: an address of no cluster. Later errors (a machine that
            lacks the model, a package or the paths) come from the futures of the pools.
    """
    run = journals.new_run(state)
    step = _ModelStep(model, store.address(run) if store else run.resolve())
    with ExitStack() as stack:
        engine = (session or stack.enter_context(Session())).engine([*([] if store else [run]), *paths])
        gpus = config.gpus_per_worker
        if gpus is None:
            gpus = 1.0 if engine.num_gpus else 0.0
        models = Size(1, max(1, int(engine.num_gpus / gpus) if gpus else engine.num_nodes))
        if config.model_workers:
            models = parse_size("model_workers", config.model_workers)
        decoders = Size(1, engine.num_cpus)
        if config.decode_workers:
            decoders = parse_size("decode_workers", config.decode_workers)

        def open_pool(step: Step, kind: str, size: Size, ask: Ask, limit_s: float) -> Pool:
            return stack.enter_context(Pool(engine, step, kind=kind, size=size, ask=ask, limit_s=limit_s))

        asks = Ask(cpus=config.cpus_per_worker)  # a decoding worker has the limits of its child process
        workers = Workers(
            open_pool(step, "model", models, Ask(cpus=config.cpus_per_worker, gpus=gpus), config.item_limit_s),
            open_pool(_DecodeStep(decoder), "decode", decoders, asks, math.inf) if decoder else None,
        )
        yield workers
    if workers.models.deaths:
        if store:
            store.pull(lambda name: f"/{run.name}/" in name)
        workers.num_twice = journals.count_twice(run, answers)
    journals.remove(state)
    if store:
        store.remove(run)


def run_tasks(tasks: Iterator[Task[R]], most: int, stop: Callable[[], bool] = lambda: False) -> Iterator[R]:
    """What the tasks return, as they end, at most `most` of them at a time; no new ones begin after a stop."""
    waiting: dict[Future[Any], Task[R]] = {}
    ended: deque[R] = deque()

    def go_on(task: Task[R], send: Callable[[], Future[Any]]) -> None:
        try:
            waiting[send()] = task
        except StopIteration as end:
            ended.append(end.value)

    more = True
    while more or waiting:
        while (more := more and not stop()) and len(waiting) < most:
            if (task := next(tasks, None)) is None:
                more = False
            else:
                go_on(task, partial(next, task))
        for future in wait(waiting, timeout=_POLL_S, return_when=FIRST_COMPLETED).done:
            task, error = waiting.pop(future), future.exception()
            go_on(task, partial(task.send, future.result()) if error is None else partial(task.throw, error))
        while ended:
            yield ended.popleft()


def retry_inputs(begin: Callable[[], Task[R]]) -> Task[R]:
    """A task that begins anew where what it sent was lost with the machine that held it.

    Raises:
        ItemError: WORKER_DIED, lost each time.
    """
    lost = ""
    for _ in range(_TRIES):
        try:
            return (yield from begin())
        except InputLostError as error:
            lost = str(error)
    raise worker_died(f"its frames were lost {_TRIES} times with the machines that held them: {lost}")


# ---- on the workers


class ModelWorker(ABC):
    """The object of a model worker: rows for items."""

    journal: journals.WorkerJournal

    def answer(self, items: Sequence[Any], bulks: Sequence[Any]) -> list[Any]:
        """As `handle`; the ids of the items are in the journal before the model sees them."""
        self.journal.begin(self.names(items))
        return self.handle(items, bulks)

    @abstractmethod
    def names(self, items: Sequence[Any]) -> list[str]:
        """The ids of the items."""

    @abstractmethod
    def handle(self, items: Sequence[Any], bulks: Sequence[Any]) -> list[Any]:
        """For each item a row, or the `ItemError` that ended it; the entries of all rows are in the journal then."""


@dataclass(frozen=True)
class _ModelStep:
    make: Callable[[], ModelWorker]
    run: Path | str  # of the journals: the folder of `new_run`, or the address of one

    def __call__(self, name: str) -> ModelWorker:
        worker = self.make()
        worker.journal = journals.WorkerJournal(self.run, name)
        return worker


class DecodeWorker:
    """The object of a decoding worker, over a pool of killable children as in a run on one machine: each method takes
    one item, the arguments of the pool's method. Pixels stay on this machine."""

    def __init__(self, pool: Any) -> None:
        self.pool = pool

    def decode(self, items: Sequence[tuple[Any, ...]], bulks: Sequence[Any]) -> list[Any]:
        """A `PlacedResult` for `read_frames`."""

        def read() -> PlacedResult:
            frames = self.pool.submit(*items[0]).result()
            return PlacedResult((frames.pixels.shape, frames.about()), frames.pixels)

        return or_error(read)

    def job(self, items: Sequence[tuple[Any, ...]], bulks: Sequence[Any]) -> list[Any]:
        """A `PlacedResult` of the JSON values and the arrays of a job, see `DecoderPool.submit_job`."""
        return or_error(lambda: self.pool.submit_job(*items[0], PlacedResult).result())

    def probe(self, items: Sequence[tuple[Any, ...]], bulks: Sequence[Any]) -> list[Any]:
        return or_error(lambda: self.pool.probe(*items[0]))

    def cuts(self, items: Sequence[tuple[Any, ...]], bulks: Sequence[Any]) -> list[Any]:
        return or_error(lambda: self.pool.cuts(*items[0]))


@dataclass(frozen=True)
class _DecodeStep:
    make: Callable[[], DecodeWorker]

    def __call__(self, name: str) -> DecodeWorker:
        return self.make()


def read_frames(about: dict[str, Any], pixels: np.ndarray) -> Frames:
    """The frames of a decoding worker on the worker that got their pixels."""
    return Frames.read(pixels.copy(), about)  # the store's own is read-only


def or_error(work: Callable[[], Any]) -> list[Any]:
    """The one result of a call: what `work` returns, or its `ItemError`."""
    try:
        return [work()]
    except ItemError as error:
        return [error]
