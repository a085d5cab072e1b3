"""Ray, the engine that places workers on machines: the only module that imports it.

In: the cluster of RAY_ADDRESS, or a local one that is started here and ends with this process. Out: an `Engine`.
Ray core and not Ray Data: what we need is a queue that counts the deaths of each item, kills what exceeds its time and
tells one clip's failure from another's. Ray Data retries whole blocks, drops or fails all of one, has no time limit,
and hangs with a dead actor in a fixed pool (ray #62746, #45661); its place in memory grows with the rows. Restarts and
retries are ours (`max_restarts` and `max_task_retries` are 0), so that a clip that kills its worker is known by name.
"""

from __future__ import annotations

import atexit
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from cineloop.cluster.node import Driver, Host, PlacedResult
from cineloop.cluster.pool import Ask, InputLostError, Step, WorkerLostError
from cineloop.errors import EXIT_ENVIRONMENT, MissingDependencyError, UsageError
from cineloop.log import logger, printable

_STORE_BYTES = 2 << 30  # frames in flight on a local cluster; more would go to disk
_CONNECT_S = 10.0
_WATCH_S = 1.0  # between two looks of a worker for its raylet
_GRACE_S = 30.0  # ray needs 15 s to see that a raylet is gone; a worker that ends before counts as killed by its clip
_STARTS = 2  # on a busy machine a node may miss ray's own time limits


class RayHost(Host):
    """A `Host` in a process of ray's. It ends soon after the raylet that started it: by then ray has given its calls to
    another worker, and would leave this one for ever, with its GPU and memory."""

    def __init__(self, step: Step, name: str, driver: Driver) -> None:
        super().__init__(step, name, driver)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's, which drains
        threading.Thread(target=_end_after, args=(os.getppid(),), name="raylet-watch", daemon=True).start()


class RayEngine:
    """A connection to a cluster; a context manager. See `Engine` for its methods.

    Args:
        driver: what workers compare their machine with.

    Raises (on entering):
        MissingDependencyError: ray is not installed, the cluster cannot be reached, or none can be started.
        UsageError: the address of a client.
    """

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self._differences: set[str] = set()

    def __enter__(self) -> RayEngine:
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # before the import: ray reports usage to its makers by default
        try:
            import ray
        except ImportError as error:
            text = "needs ray: pip install 'cineloop[cluster]'"
            raise MissingDependencyError(text, code="CLUSTER") from error
        self._ray = ray
        with _kept_signals():
            self._connect(os.environ.get("RAY_ADDRESS", ""))
        # Ray prints what it says of lost nodes on stdout, among our records, and has no setting for it.
        worker = sys.modules.get("ray._private.worker")
        if hasattr(worker, "print_to_stdstream"):
            setattr(worker, "print_to_stdstream", lambda data, **_: logger.debug("ray: %s", data.get("lines")))  # noqa: B010
        self._lost: MissingDependencyError | None = None
        self._waiting: set[Future[Any]] = set()
        self._closed = threading.Event()
        if (raylet := _local_raylet(worker)) is not None:
            threading.Thread(target=self._watch, args=(raylet,), name="raylet-watch", daemon=True).start()
        self._answers = SimpleQueue[tuple[Future[Any], Future[Any], Callable[[Any], Any]] | None]()
        self._settler = threading.Thread(target=self._settle, name="ray-answers", daemon=True)
        self._settler.start()
        self._actor = ray.remote(max_restarts=0, max_task_retries=0, scheduling_strategy="SPREAD")(RayHost)
        return self

    def __exit__(self, *exc: object) -> None:
        self._closed.set()
        self._answers.put(None)
        self._settler.join()
        if self._lost is not None:
            _abandon(sys.modules.get("ray._private.worker"))
            return
        with _kept_signals():
            self._ray.shutdown()

    @property
    def num_cpus(self) -> int:
        """CPUs of the cluster now."""
        return int(self._ray.cluster_resources().get("CPU", 1))

    @property
    def num_gpus(self) -> int:
        """GPUs of the cluster now."""
        return int(self._ray.cluster_resources().get("GPU", 0))

    @property
    def num_nodes(self) -> int:
        """Machines that are alive now and take work."""
        return sum(node["Alive"] and node["Resources"].get("CPU", 0) > 0 for node in self._ray.nodes())

    def start(self, step: Step, name: str, ask: Ask) -> Any:
        """See `Engine`."""
        return self._actor.options(num_cpus=ask.cpus, num_gpus=ask.gpus).remote(step, name, self.driver)

    def ready(self, handle: Any) -> Future[str]:
        """See `Engine`."""

        def unpack(reply: tuple[Exception | None, str, list[str]]) -> str:
            error, node, differences = reply
            if error is not None:
                raise error
            for difference in set(differences) - self._differences:
                logger.warning("node %s has %s", node, difference)
            self._differences.update(differences)
            return node

        return self._future(handle.ready.remote(), unpack)

    def call(self, handle: Any, method: str, items: Sequence[Any], bulks: Sequence[Any]) -> Future[list[Any]]:
        """See `Engine`."""
        small, bulk = handle.call.options(num_returns=2).remote(method, list(items), *bulks)

        def unpack(reply: tuple[Exception | None, list[Any], bool]) -> list[Any]:
            error, results, is_kept = reply
            if error is not None:
                raise error
            return [PlacedResult(results[0], bulk)] if is_kept else results

        return self._future(small, unpack)

    def kill(self, handle: Any) -> None:
        """See `Engine`."""
        if self._lost is not None:
            return
        try:
            self._ray.kill(handle, no_restart=True)
        except Exception as error:  # it is gone, or the cluster is
            logger.debug("a worker could not be killed: %s", error)

    def shortage(self, ask: Ask) -> str:
        """See `Engine`."""
        free = self._ray.available_resources()
        lacking = [
            f"it asks for {wanted:g} {name}, {free.get(name, 0):g} are free"
            for name, wanted in (("CPU", ask.cpus), ("GPU", ask.gpus))
            if free.get(name, 0) < wanted
        ]
        return "; ".join(lacking)

    def _connect(self, address: str) -> None:
        if address.startswith("ray://"):
            hint = "run on a machine of the cluster, or submit: ray job submit -- v2t caption ..."
            raise UsageError(f"RAY_ADDRESS is {printable(address)}: a client cannot place workers", hint=hint)
        host, colon, port = address.rpartition(":")
        if colon and port.isdigit():
            try:
                socket.create_connection((host, int(port)), timeout=_CONNECT_S).close()
            except OSError as error:
                raise _unreachable(address, error) from error
        options: dict[str, Any] = {"address": address or "local", "log_to_driver": False}
        options |= {"logging_level": logging.ERROR, "include_dashboard": False if not address else None}
        if not address:
            options["object_store_memory"] = min(_STORE_BYTES, _free_shared_memory() // 2)
        for tries_left in reversed(range(1 if address else _STARTS)):
            try:
                self._ray.init(**{name: value for name, value in options.items() if value is not None})
                return
            except Exception as error:  # ray raises bare Exception when a node does not start in time
                self._ray.shutdown()
                if address:
                    raise _unreachable(address, error) from error
                if not tries_left:
                    raise MissingDependencyError(
                        f"ray did not start on this machine: {printable(str(error), 300)}; {_last_words()}",
                        code="CLUSTER",
                        hint="a busy machine may exceed ray's time limits: try again, or run without --cluster",
                    ) from error
                logger.info("ray did not start; trying once more")

    def _future(self, ref: Any, unpack: Callable[[Any], Any]) -> Future[Any]:
        """A future of `unpack(value)`, with the errors of `Engine`."""
        future: Future[Any] = Future()
        self._waiting.add(future)
        ref.future().add_done_callback(lambda done: self._answers.put((done, future, unpack)))
        return future

    def _settle(self) -> None:
        """Settle futures in a thread of ours: the callbacks of a pool start and kill workers, and in ray's own thread
        that would wait for the thread itself, for ever."""
        while (answer := self._answers.get()) is not None:
            done, future, unpack = answer
            if future not in self._waiting:  # it failed with the node
                continue
            self._waiting.discard(future)
            error = done.exception()
            try:
                if isinstance(error, MissingDependencyError):
                    raise error
                if error is not None:
                    raise self._translate(error)
                future.set_result(unpack(done.result()))
            except Exception as problem:
                future.set_exception(problem)

    def _watch(self, raylet: Any) -> None:
        """Fail what waits when the raylet of this machine dies: seconds later ray's own code ends this process, without
        an exception and with nothing that says which run it was."""
        while raylet.poll() is None:
            if self._closed.wait(_WATCH_S):
                return
        if self._closed.is_set():
            return
        self._lost = MissingDependencyError(
            f"ray's node on this machine ended (raylet, exit {raylet.returncode}); what was finished is saved",
            code="CLUSTER",
            hint="run the same command again; often the machine was out of memory: fewer --cluster workers",
        )
        for future in list(self._waiting):
            ended: Future[Any] = Future()
            ended.set_exception(self._lost)
            self._answers.put((ended, future, lambda value: value))

    def _translate(self, error: BaseException) -> Exception:
        exceptions = self._ray.exceptions
        cause = getattr(error, "cause", None) or error
        if isinstance(error, exceptions.ObjectLostError) or isinstance(cause, exceptions.ObjectLostError):
            return InputLostError(str(error))
        text = " ".join(str(error).split())
        is_node = "its node has died" in text or "actor's node was" in text
        place = max(text.find("The actor is dead"), text.find("The actor died because"), 0)
        return WorkerLostError(printable(text[place:], 200), with_node=is_node)


def _local_raylet(worker: Any) -> Any:
    """The process of the raylet that this process started; None on a cluster of others."""
    processes = getattr(getattr(worker, "_global_node", None), "all_processes", {})
    return next((info.process for info in processes.get("raylet", [])), None)


def _abandon(worker: Any) -> None:
    """Leave a cluster without its raylet: ray's own shutdown would wait for it, and what ray leaves to the end of the
    process aborts it there, so that this process ends without it."""
    atexit.unregister(worker.shutdown)
    worker._global_node.kill_all_processes(check_alive=False, allow_graceful=False)
    atexit.register(_leave)


def _leave() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(EXIT_ENVIRONMENT)


def _end_after(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_WATCH_S)
    time.sleep(_GRACE_S)
    os._exit(1)


def _unreachable(address: str, error: Exception) -> MissingDependencyError:
    return MissingDependencyError(
        f"no ray cluster answers at RAY_ADDRESS={printable(address)}: {printable(str(error), 300)}",
        code="CLUSTER",
        hint="check the address (host:6379 of the head), or unset it for a cluster on this machine",
    )


def _last_words() -> str:
    """The last line that a node that did not start wrote."""
    folder = Path(os.environ.get("RAY_TMPDIR", "/tmp")) / "ray" / "session_latest" / "logs"
    try:
        lines = (folder / "raylet.err").read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except OSError:
        lines = []
    return printable(lines[-1], 300) if lines else f"no log in {printable(str(folder))}"


def _free_shared_memory() -> int:
    try:
        memory = os.statvfs("/dev/shm")
    except OSError:
        return _STORE_BYTES
    return memory.f_bavail * memory.f_frsize


class _kept_signals:
    """Handlers of signals as they were: ray sets its own, and ours drain a run."""

    def __enter__(self) -> None:
        self._before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def __exit__(self, *exc: object) -> None:
        if threading.current_thread() is threading.main_thread():
            for number, handler in self._before.items():
                signal.signal(number, handler)
