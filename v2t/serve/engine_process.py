"""An engine as a child process: start, health checks, termination with all its descendants.

In: an `EngineCommand`. Out: an HTTP client to it, its state, and the reason of a failure. The engine is a separate
process group, which ends with this process, however that ends. An engine that dies or hangs ends the server,
whose service manager starts both again (`configs/serve`).
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from cineloop.errors import MissingDependencyError
from cineloop.log import logger, printable
from v2t.serve.engines import State

_LONGEST_FOLDER = 60  # characters: file names in it have up to 40, and a socket's path at most 107
_LOG_LINES, _TAIL_BYTES, _MAX_LOG_BYTES = 12, 8192, 16 << 20
_START_POLL_S, _MAX_FAILED_CHECKS = 0.2, 3
_CONNECT_S, _REAP_S = 5.0, 10.0
# The shell becomes the program. In the same process group, a subshell waits at a pipe that breaks when this process
# ends, SIGKILL included, and then ends the group. A parent-death signal would reach the program only, not its
# own children. $0 is the private folder.
_DIES_WITH_PARENT = """exec 3<&0 </dev/null
(trap '' HUP INT TERM; cat <&3 >/dev/null 2>&1; kill -TERM 0; sleep 5; rm -rf "$0"; kill -KILL 0) &
exec "$@" 3<&-"""


@dataclass(frozen=True, kw_only=True)
class EngineCommand:
    """A program that serves HTTP on a socket file, in a `private_folder` that is removed with the engine; its whole
    environment may hold secrets. `starts_in_s` limits a start; it gets `stop_s` seconds to end by itself."""

    argv: tuple[str, ...]
    env: dict[str, str] = field(repr=False)
    name: str
    socket: Path
    starts_in_s: float
    stop_s: float = 5.0
    in_flight: int = 64


class EngineProcess:
    """One child process; of one event loop.

    Args:
        command: what to run.
        check_s: seconds between two health checks, and the timeout of one; three failed in a row end the engine.

    Attributes:
        state: "starting" until the first health check succeeds, "stopped" once the process has ended.
        client: sends requests to it, at "http://engine". Raises httpx.TransportError when the process dies.
    """

    def __init__(self, command: EngineCommand, *, check_s: float = 5.0) -> None:
        self.command = command
        self.state: State = "starting"
        # The gateway limits the time of an answer.
        self.client = _client(command.socket, 2 * command.in_flight + 8, httpx.Timeout(None, connect=_CONNECT_S))
        self._health = _client(command.socket, 4, httpx.Timeout(check_s))
        self._check_s = check_s
        self._folder = command.socket.parent
        self._log = self._folder / "engine.log"
        self._child: asyncio.subprocess.Process | None = None
        self._watch: asyncio.Task[str] | None = None

    @property
    def pid(self) -> int | None:
        """Of the process and its group; None before the start."""
        return self._child.pid if self._child is not None else None

    async def start(self) -> None:
        """Start it and its health checks. Raises MissingDependencyError: there is no shell; RuntimeError: it was
        started before."""
        if self._watch is not None or self.state == "stopped":
            raise RuntimeError("an engine is started once")
        with open(self._log, "ab", buffering=0) as log:
            try:
                self._child = await asyncio.create_subprocess_exec(
                    *("/bin/sh", "-c", _DIES_WITH_PARENT, str(self._folder), *self.command.argv),
                    env=self.command.env,
                    stdin=asyncio.subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            except OSError as error:
                raise self._failure(f"could not be started: {error}") from error
        self._watch = asyncio.create_task(self._until_broken(self._child), name="engine")

    async def ready(self) -> None:
        """Return when it is ready. Raises MissingDependencyError: it ended, or does not answer in time; with the last
        lines of its log."""
        while self.state == "starting":
            await asyncio.sleep(_START_POLL_S)
        if self.state != "ready":
            await self.until_failure()

    async def until_failure(self) -> None:
        """Never returns while the engine runs. Raises MissingDependencyError once it died or hangs."""
        if self._watch is None or self._watch.cancelled():
            raise MissingDependencyError(f"the engine {self.command.name} is stopped", code="ENGINE")
        raise self._failure(await asyncio.shield(self._watch))

    async def stop(self) -> None:
        """End its process group and remove its folder. May be called more than once."""
        self.state = "stopped"
        try:
            if self._watch is not None:
                self._watch.cancel()
                await asyncio.wait({self._watch})
            await self._end(self.command.stop_s)
        finally:
            self._signal(signal.SIGKILL)  # in case this was cancelled
            shutil.rmtree(self._folder, ignore_errors=True)
            await self.client.aclose()
            await self._health.aclose()

    async def _until_broken(self, child: asyncio.subprocess.Process) -> str:
        """Watch process and health; returns the reason once it ended or was terminated."""
        ended, unhealthy = asyncio.ensure_future(child.wait()), asyncio.ensure_future(self._until_unhealthy())
        try:
            await asyncio.wait({ended, unhealthy}, return_when=asyncio.FIRST_COMPLETED)
            why = _describe(ended.result()) if ended.done() else unhealthy.result()
        finally:
            ended.cancel()
            unhealthy.cancel()
        self.state = "stopped"
        await self._end(0.0)
        return why

    async def _until_unhealthy(self) -> str:
        begun = time.monotonic()
        while not await self._is_healthy():
            if time.monotonic() - begun > self.command.starts_in_s:
                return f"did not answer within {self.command.starts_in_s:.0f} s"
            await asyncio.sleep(_START_POLL_S)
        self.state = "ready"
        logger.info("engine %s: ready after %.0f s", self.command.name, time.monotonic() - begun)
        failed = 0  # checks, not seconds: this process may have been suspended itself
        while failed < _MAX_FAILED_CHECKS:
            await asyncio.sleep(self._check_s)
            failed = 0 if await self._is_healthy() else failed + 1
            with suppress(OSError):  # the log may have been removed
                if self._log.stat().st_size > _MAX_LOG_BYTES:
                    os.truncate(self._log, 0)
        return f"failed {failed} health checks in a row and was terminated"

    async def _is_healthy(self) -> bool:
        try:
            return (await self._health.get("/health")).status_code == 200
        except (httpx.HTTPError, OSError):
            return False

    async def _end(self, grace_s: float) -> None:
        """End the process group: SIGTERM, and SIGKILL after `grace_s`."""
        child = self._child
        if child is None:
            return
        if grace_s and child.returncode is None:
            self._signal(signal.SIGTERM)
            with suppress(TimeoutError):
                await asyncio.wait_for(child.wait(), grace_s)
        self._signal(signal.SIGKILL)
        deadline = time.monotonic() + _REAP_S
        while child.returncode is None or not _is_gone(child.pid):
            if time.monotonic() > deadline:  # stuck in the kernel: a device that does not answer
                logger.warning("engine %s: process group %d does not end", self.command.name, child.pid)
                break
            await asyncio.sleep(0.02)

    def _signal(self, number: signal.Signals) -> None:
        if self._child is not None:
            with suppress(ProcessLookupError, PermissionError):  # none left; on macOS only zombies
                os.killpg(self._child.pid, number)

    def _failure(self, why: str) -> MissingDependencyError:
        try:
            with open(self._log, "rb") as log:
                log.seek(max(0, os.fstat(log.fileno()).st_size - _TAIL_BYTES))
                lines = log.read().decode("utf-8", "replace").splitlines()
        except OSError:
            lines = []
        tail = [f"  {printable(line, 300)}" for line in lines if line.strip()][-_LOG_LINES:]
        message = f"the engine {self.command.name} {why}. Last lines of its log:\n" + ("\n".join(tail) or "  (none)")
        return MissingDependencyError(message, code="ENGINE")


def private_folder() -> Path:
    """A new folder that only this user can enter, its path short enough for a socket's."""
    parent = tempfile.gettempdir()
    if len(parent) + len("v2t-") + 9 > _LONGEST_FOLDER and Path("/tmp").is_dir():
        parent = "/tmp"
    return Path(tempfile.mkdtemp(prefix="v2t-", dir=parent))


def _is_gone(group: int) -> bool:
    """Whether no process of the group is left; its orphans that became ours (in a container) are reaped."""
    with suppress(ChildProcessError):
        while os.waitpid(-group, os.WNOHANG)[0]:
            continue
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return True
    return False


def _describe(status: int) -> str:
    if status >= 0:
        return f"ended with status {status}"
    with suppress(ValueError):
        return f"was killed by {signal.Signals(-status).name}"
    return f"was killed by signal {-status}"


def _client(path: Path, num: int, timeout: httpx.Timeout) -> httpx.AsyncClient:
    # A connection for each request: one that is kept may be closed by the engine just as the next request is sent.
    limits = httpx.Limits(max_connections=num, max_keepalive_connections=0)
    return httpx.AsyncClient(
        base_url="http://engine",
        transport=httpx.AsyncHTTPTransport(uds=str(path), limits=limits),
        timeout=timeout,
        trust_env=False,
    )
