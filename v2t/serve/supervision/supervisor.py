"""One engine, kept running: started, watched, started again when it dies or hangs, ended without a trace.

In: an `EngineCommand`. Out: an HTTP client to it, and what state it is in. The engine is a process group of its own; it
ends when this process does, whatever the reason (`v2t.serve.supervision.tether`). All methods belong to one event loop.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cineloop.errors import MissingDependencyError
from cineloop.log import printable
from v2t.serve.engine import State
from v2t.serve.supervision import group as process_group
from v2t.serve.supervision.child import PREFIX, EngineCommand

if TYPE_CHECKING:
    import httpx

_LAST_LINES, _TAIL_BYTES, _MOST_LOG = 12, 8192, 16 << 20
_REAP_S = 10.0
_SHARED_EVERY_S = 30.0
_WRITE_S, _CONNECT_S = 60.0, 10.0


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How closely an engine is watched; all in seconds.

    Attributes:
        poll_s: between two looks at the process. health_s: between two questions to it.
        hang_s: without an answer to them, after which it is ended.
        first_s, most_s: the wait before it is started again, doubled each time.
        steady_s: of health, after which the wait is short again.
    """

    poll_s: float = 0.2
    health_s: float = 2.0
    hang_s: float = 15.0
    first_s: float = 1.0
    most_s: float = 30.0
    steady_s: float = 60.0


class EngineProcess:
    """One supervised child.

    Args:
        command: what to run, and the socket it will listen at; the socket's folder goes with the engine when it is one
            of `v2t.serve.supervision.child.private_folder`.
        say: told what the operator should know, in plain words.
        pace: how closely it is watched.

    Attributes:
        state: "starting" until it first answers, "restarting" from a death to the next answer.
        restarts: how often it was started again.
        client: speaks to it at "http://engine", over restarts. Raises httpx.TransportError when it dies.
    """

    def __init__(self, command: EngineCommand, *, say: Callable[[str], None], pace: Pace = Pace()) -> None:
        self.command, self.pace = command, pace
        self.state: State = "starting"
        self.restarts = 0
        self.client = _client(command, num=2 * command.in_flight + 8, read_s=command.answer_s)
        self._asker = _client(command, num=4, read_s=2 * pace.hang_s)
        self._say = say
        self._folder = command.socket.parent
        self._log = self._folder / "engine.log"
        self._child: subprocess.Popen[bytes] | None = None
        self._lifeline: int | None = None
        self._task: asyncio.Task[None] | None = None
        self._failure: MissingDependencyError | None = None
        self._changed, self._look = asyncio.Event(), asyncio.Event()
        self._at_work = 0
        self._shared: set[Path] = set()
        self._foreign_shared: set[Path] = set()
        self._adopted_before: bool | None = None

    async def start(self) -> None:
        """Start it and begin to watch it; returns at once.

        Raises:
            RuntimeError: it was started before.
        """
        if self._task is not None or self.state == "stopped":
            raise RuntimeError("an engine is started once")
        self._adopted_before = process_group.adopt(True)
        self._task = asyncio.create_task(self._run(), name="engine")

    async def ready(self, timeout_s: float) -> None:
        """Return when it answers.

        Raises:
            MissingDependencyError: it ended at its first start, or does not answer in time; with its last words.
        """
        try:
            async with asyncio.timeout(timeout_s):
                while self.state in ("starting", "restarting"):
                    await self._changed.wait()
        except TimeoutError:
            raise self._failed(f"did not answer within {timeout_s:.0f} s") from None
        if self.state == "stopped":
            raise self._failure or MissingDependencyError(f"the engine {self.command.name} is stopped", code="ENGINE")

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        """It has been asked something: one that works no step in all the time an answer may take is started again."""
        self._at_work += 1
        try:
            yield
        finally:
            self._at_work -= 1

    def note_broken(self) -> None:
        """A request saw its connection break: look at the process now."""
        if self.state == "ready" and self._ended() is not None:
            self._become("restarting")
        self._look.set()

    async def stop(self) -> None:
        """End it and all it left: its process group, socket, folder, shared memory. May be called more than once."""
        task, self._task = self._task, None
        self._become("stopped")
        try:
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            await self._clear(self.command.stop_s)
        finally:
            if self._child is not None:  # this was cut short itself
                process_group.send(self._child.pid, signal.SIGKILL)
                self._child.wait()
            self._cut_lifeline()
            if self._folder.name.startswith(PREFIX):
                shutil.rmtree(self._folder, ignore_errors=True)
            if self._adopted_before is not None:
                process_group.adopt(self._adopted_before)
                self._adopted_before = None
            await self.client.aclose()
            await self._asker.aclose()

    def _become(self, state: State) -> None:
        self.state = state
        self._changed.set()
        self._changed = asyncio.Event()

    async def _run(self) -> None:
        """Start, watch, end and start again, for as long as nobody stops it."""
        wait_s, name = self.pace.first_s, f"engine {self.command.name}"
        while True:
            begun = time.monotonic()
            why = self._spawn() or await self._starting()
            if why is None:
                begun, since = time.monotonic(), begun
                self._become("ready")
                self._say(f"{name}: ready after {begun - since:.0f} s")
                why = await self._serving()
                wait_s = self.pace.first_s if time.monotonic() - begun >= self.pace.steady_s else wait_s
            elif self.restarts == 0 and self.state == "starting":
                self._failure = self._failed(why)
                await self._clear(0)
                return self._become("stopped")
            self._become("restarting")
            words = self._last_words()
            await self._clear(0)
            self._say(f"{name} {why}; starting it again in {wait_s:g} s. Its last words:\n{words}")
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, self.pace.most_s)
            self.restarts += 1

    def _spawn(self) -> str | None:
        """Start the process; why that failed, or None."""
        self.command.socket.unlink(missing_ok=True)
        self._shared, self._foreign_shared = set(), process_group.shared_entries()
        line, self._lifeline = os.pipe()
        folder = str(self._folder) if self._folder.name.startswith(PREFIX) else ""
        tether = [sys.executable, "-P", "-m", "v2t.serve.supervision.tether", str(line), folder]
        try:
            with open(self._log, "ab", buffering=0) as log:
                log.truncate(0)
                self._child = subprocess.Popen(
                    [*tether, *self.command.argv],
                    env=self.command.env,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=(line,),
                    start_new_session=True,
                )
        except OSError as error:
            return f"could not be started: {error}"
        finally:
            os.close(line)
        return None

    async def _starting(self) -> str | None:
        """None once it answers; else why it will not."""
        deadline = time.monotonic() + self.command.starts_in_s
        while time.monotonic() < deadline:
            if (ended := self._ended()) is not None:
                return ended
            if self.command.socket.exists() and await self._answers():
                return None
            await self._pause()
        return f"did not answer within {self.command.starts_in_s:.0f} s"

    async def _serving(self) -> str:
        """Returns when it is lost, with the reason."""
        asked: asyncio.Task[tuple[bool, float | None]] | None = None
        # Seconds without an answer, and without a step while it had work, as they were watched: where this process
        # itself stood still, little is counted.
        unanswered_s, idle_s, steps, most_idle_s = 0.0, 0.0, None, self.command.answer_s
        looked, ask_at, look_at = time.monotonic(), 0.0, 0.0
        try:
            while True:
                now = time.monotonic()
                passed_s, looked = min(now - looked, 5 * self.pace.poll_s), now
                unanswered_s += passed_s
                idle_s += passed_s if self._at_work else 0.0
                if (ended := self._ended()) is not None:
                    return ended
                if asked is not None and asked.done():
                    is_well, worked = asked.result()
                    unanswered_s = 0.0 if is_well else unanswered_s
                    if worked is not None and worked != steps:
                        idle_s, steps = 0.0, worked
                    asked, ask_at = None, now + self.pace.health_s
                if unanswered_s >= self.pace.hang_s:
                    return f"gave no sign of health for {unanswered_s:.0f} s and was ended"
                if idle_s >= most_idle_s and steps is not None:
                    return f"was asked and worked on nothing for {idle_s:.0f} s, and was ended"
                if asked is None and now >= ask_at:
                    asked = asyncio.create_task(self._signs(count=idle_s >= min(self.pace.hang_s, most_idle_s / 4)))
                if now >= look_at:
                    look_at = now + _SHARED_EVERY_S
                    self._take_stock()
                await self._pause()
        finally:
            if asked is not None:
                asked.cancel()
                await asyncio.gather(asked, return_exceptions=True)

    async def _signs(self, *, count: bool) -> tuple[bool, float | None]:
        """(whether it answers, how many steps it has worked; None if that is not to be counted or not known)."""
        import httpx

        is_well = await self._answers()
        if not is_well or not count or self.command.steps is None:
            return is_well, None
        try:
            return True, self.command.steps((await self._asker.get("/metrics")).text)
        except (httpx.HTTPError, OSError):
            return True, None

    async def _answers(self) -> bool:
        import httpx

        try:
            return (await self._asker.get("/health")).status_code == 200
        except (httpx.HTTPError, OSError):
            return False

    async def _pause(self) -> None:
        """Until the next look, or until somebody asks for one."""
        try:
            async with asyncio.timeout(self.pace.poll_s):
                await self._look.wait()
        except TimeoutError:
            return
        self._look.clear()

    def _ended(self) -> str | None:
        status = self._child.poll() if self._child is not None else None
        if status is None:
            return None
        if status >= 0:
            return f"ended with status {status}"
        try:
            return f"was killed by {signal.Signals(-status).name}"
        except ValueError:
            return f"was killed by signal {-status}"

    def _take_stock(self) -> None:
        """Note the shared memory it holds now, for later it may be too late; keep its log short."""
        if self._child is not None:
            self._shared |= process_group.shared_memory(self._child.pid) - self._foreign_shared
        with suppress(OSError):  # who clears old files away may have taken it
            if self._log.stat().st_size > _MOST_LOG:
                os.truncate(self._log, 0)

    async def _clear(self, grace_s: float) -> None:
        """End the process group, in peace within `grace_s`, and remove what it leaves outside the folder."""
        child = self._child
        if child is None:
            return
        self._take_stock()
        if grace_s and child.poll() is None:
            process_group.send(child.pid, signal.SIGTERM)
            deadline = time.monotonic() + grace_s
            while child.poll() is None and time.monotonic() < deadline:
                await asyncio.sleep(0.05)
        process_group.send(child.pid, signal.SIGKILL)
        deadline = time.monotonic() + _REAP_S
        while child.poll() is None or not process_group.is_gone(child.pid):
            if time.monotonic() > deadline:  # stuck in the kernel: a device that does not answer
                self._say(f"engine {self.command.name}: some of its processes {process_group.members(child.pid)} stay")
                break
            await asyncio.sleep(0.02)
        for entry in self._shared:
            entry.unlink(missing_ok=True)
        self.command.socket.unlink(missing_ok=True)
        self._cut_lifeline()
        self._child = None

    def _cut_lifeline(self) -> None:
        if self._lifeline is not None:
            os.close(self._lifeline)
            self._lifeline = None

    def _failed(self, why: str) -> MissingDependencyError:
        return MissingDependencyError(
            f"the engine {self.command.name} {why}. Its last words:\n{self._last_words()}", code="ENGINE"
        )

    def _last_words(self) -> str:
        try:
            with open(self._log, "rb") as log:
                log.seek(max(0, os.fstat(log.fileno()).st_size - _TAIL_BYTES))
                lines = log.read().decode("utf-8", "replace").splitlines()
        except OSError:
            lines = []
        told = [f"  {printable(line, 300)}" for line in lines if line.strip()][-_LAST_LINES:]
        return "\n".join(told) or "  (none)"


def _client(command: EngineCommand, *, num: int, read_s: float) -> httpx.AsyncClient:
    import httpx

    # A connection for each request: one that is kept may be closed by the engine just as the next request is sent.
    limits = httpx.Limits(max_connections=num, max_keepalive_connections=0)
    return httpx.AsyncClient(
        base_url="http://engine",
        transport=httpx.AsyncHTTPTransport(uds=str(command.socket), limits=limits),
        timeout=httpx.Timeout(_CONNECT_S, read=read_s, write=_WRITE_S),
        trust_env=False,  # no proxy of the environment stands before a socket file
    )
