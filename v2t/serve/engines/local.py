"""This project's own captioner as an engine: a thread of the gateway's process.

In: requests with their frames, handed over as they are. Out: answers. The gateway goes on listening while the model is
loaded and while it works; a crash of the model ends the server, and whatever started that starts it again.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable
from typing import TYPE_CHECKING

from cineloop.errors import CineloopError, MissingDependencyError, UsageError
from v2t.captioners import CaptionOutput
from v2t.serve.engine import MODEL_THREAD, EngineRequest, State, down
from v2t.serve.served import Served
from v2t.serve.settings import ServeConfig

if TYPE_CHECKING:
    from v2t.serve.local.captioner import ServedCaptioner
    from v2t.serve.local.scheduler import Scheduler

_STOP_S, _POLL_S = 5.0, 0.02


def create(config: ServeConfig, served: Served, say: Callable[[str], None]) -> LocalEngine:
    """See `v2t.serve.engines.create`."""
    from v2t.serve.local.captioner import ServedCaptioner

    command_line(config, served)
    return LocalEngine(
        ServedCaptioner(served.source, device=config.device, dtype=config.dtype, max_model_len=config.max_model_len),
        say=say,
    )


def command_line(config: ServeConfig, served: Served) -> tuple[str, ...]:
    """Nothing: there is no process to start.

    Raises:
        UsageError: what only vLLM can do was asked for.
    """
    for name, is_set in (
        ("engine_args", bool(config.engine_args)),
        ("tensor_parallel", config.tensor_parallel > 1),
        ("pipeline_parallel", config.pipeline_parallel > 1),
        ("adapters", bool(served.adapters)),
        ("model", not served.is_ours),
    ):
        if is_set:
            raise UsageError(f"{name}: only vLLM can do that", hint="--engine vllm")
    return ()


class LocalEngine:
    """See `v2t.serve.engine.Engine`.

    Args:
        captioner: not loaded yet. say: takes what the operator should know.
    """

    name, restarts = "local", 0

    def __init__(self, captioner: ServedCaptioner, *, say: Callable[[str], None]) -> None:
        self._captioner, self._say = captioner, say
        self._scheduler: Scheduler | None = None
        self._loader: threading.Thread | None = None
        self._loaded: asyncio.Future[None] | None = None
        self._is_stopped = False

    @property
    def state(self) -> State:
        """See `Engine`."""
        if self._is_stopped:
            return "stopped"
        if self._scheduler is None:
            return "starting"
        if not self._scheduler.is_alive:
            return "stopped"
        return "failing" if self._scheduler.is_failing else "ready"

    async def start(self) -> None:
        """See `Engine`."""
        loop = asyncio.get_running_loop()
        self._loaded = loop.create_future()
        self._loaded.add_done_callback(lambda future: future.exception())  # seen, also when nobody waits any more
        self._loader = threading.Thread(target=self._load, args=(loop, self._loaded), name=MODEL_THREAD, daemon=True)
        self._loader.start()

    async def ready(self) -> None:
        """See `Engine`."""
        if self._loaded is None:
            raise RuntimeError("start() the engine first")
        begun = time.monotonic()
        await asyncio.shield(self._loaded)
        self._say(f"engine local: ready after {time.monotonic() - begun:.0f} s")

    async def generate(self, request: EngineRequest) -> AsyncGenerator[str | CaptionOutput, None]:
        """See `Engine`."""
        if self._scheduler is None:
            raise down("it is starting")
        replies = self._scheduler.generate(request)
        try:
            async for reply in replies:
                yield reply
        finally:
            await replies.aclose()

    async def stop(self) -> None:
        """See `Engine`. A model in the middle of a long step is waited for a short while; its thread ends with the
        process."""
        self._is_stopped = True
        if self._scheduler is not None:
            self._scheduler.close()
        deadline = time.monotonic() + _STOP_S
        while time.monotonic() < deadline and self._is_working():
            await asyncio.sleep(_POLL_S)

    def _is_working(self) -> bool:
        is_loading = self._loader is not None and self._loader.is_alive()
        return is_loading or (self._scheduler is not None and self._scheduler.is_alive)

    def _load(self, loop: asyncio.AbstractEventLoop, loaded: asyncio.Future[None]) -> None:
        from v2t.serve.local.scheduler import Scheduler

        problem: CineloopError | None = None
        try:
            self._captioner.load()
            if not self._is_stopped:
                self._scheduler = Scheduler(self._captioner)
        except CineloopError as error:
            problem = error
        except Exception as error:
            problem = MissingDependencyError(f"the engine local cannot load its model: {error}", code="ENGINE")

        def tell() -> None:
            if problem is None:
                loaded.set_result(None)
            else:
                loaded.set_exception(problem)

        try:
            loop.call_soon_threadsafe(tell)
        except RuntimeError:  # the server was stopped meanwhile
            return
