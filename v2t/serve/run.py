"""Run the gateway and the engine behind it until a signal comes or the engine fails.

In: a `ServeConfig`. Out: the exit code; on stdout one line with the address, once it is ready. A first
SIGTERM or Ctrl-C drains: new requests are refused, those in flight get `limits.drain_s` to end. A second one stops at
once. Engine and decoders end with the gateway.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Coroutine, Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from cineloop.errors import EXIT_INTERRUPTED, EXIT_OK, MissingDependencyError
from cineloop.log import logger
from v2t import doctor
from v2t.serve.engines import MODEL_THREAD
from v2t.serve.served import Served, read
from v2t.serve.settings import ServeConfig

if TYPE_CHECKING:
    import uvicorn
    from starlette.applications import Starlette

    from v2t.serve.app import Gateway

_POLL_S = 0.1
_CLOSE_S = 5.0  # for connections once no request is in flight
_KEEP_ALIVE_S = 30.0


def run(config: ServeConfig) -> int:
    """Serve until a signal; returns the exit code.

    Raises:
        MissingDependencyError: no model, no package, the port is taken, or the engine does not start or fails.
        UsageError: a setting that does not fit the model.
    """
    try:
        import httpx  # noqa: F401
        import prometheus_client  # noqa: F401
        import python_multipart  # noqa: F401
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(f"serving needs {error.name}", hint="pip install 'cineloop[serve]'") from error
    served = read(config)
    for line in doctor.vulnerable():
        logger.warning("%s", line)
    with listening(config) as port:
        code = asyncio.run(_Serving(config, served, port).run())
    if any(thread.name == MODEL_THREAD for thread in threading.enumerate()):
        # In the middle of a long step: unwinding the thread below torch at interpreter exit would abort.
        logging.shutdown()
        sys.stdout.flush()
        os._exit(code)
    return code


@contextmanager
def listening(config: ServeConfig) -> Iterator[socket.socket]:
    """The socket clients connect to.

    Raises:
        MissingDependencyError: PORT, the address is in use or invalid.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            config.host, config.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        port = socket.socket(family, kind)
    except OSError as error:
        raise _no_port(config, error) from error
    with port:
        try:
            port.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                port.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            port.bind(address)
            port.listen(1024)
        except OSError as error:
            raise _no_port(config, error) from error
        yield port


def _no_port(config: ServeConfig, error: OSError) -> MissingDependencyError:
    return MissingDependencyError(
        f"cannot listen at {config.host} port {config.port}: {error.strerror or error}",
        code="PORT",
        hint="choose another --port; --port 0 takes a free one",
    )


def url_of(config: ServeConfig, port: socket.socket) -> str:
    """The address for a browser."""
    host = f"[{config.host.strip('[]')}]" if ":" in config.host else config.host
    return f"http://{host}:{port.getsockname()[1]}"


class _Serving:
    """One run of the server."""

    def __init__(self, config: ServeConfig, served: Served, port: socket.socket) -> None:
        self._config, self._served, self._port = config, served, port
        self._signals: list[signal.Signals] = []
        self._stop, self._stop_now = asyncio.Event(), asyncio.Event()

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for each in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(each, self._signalled, each)
        async with AsyncExitStack() as stack:
            await self._serve(stack)
        return EXIT_INTERRUPTED if self._signals and self._signals[0] == signal.SIGINT else EXIT_OK

    def _signalled(self, number: signal.Signals) -> None:
        self._signals.append(number)
        (self._stop_now if self._stop.is_set() else self._stop).set()

    async def _serve(self, stack: AsyncExitStack) -> None:
        from v2t.serve import engines
        from v2t.serve.app import create_app
        from v2t.serve.media import Media

        config, served = self._config, self._served
        media = await stack.enter_async_context(Media(config, served))
        engine = engines.create(config, served, lambda text: logger.info("%s", text))
        stack.push_async_callback(engine.stop)
        app = create_app(config, served, engine, media, created=int(time.time()))
        server = server_of(config, app)
        serving = asyncio.create_task(server.serve(sockets=[self._port]))
        stack.push_async_callback(self._close, server, serving)
        await engine.start()
        if not await self._unless_stopped(engine.ready()):
            return
        url = url_of(config, self._port)
        where = f"; page: {url}/" if config.page else ""
        print(f"serving {served.name} at {url} (engine {engine.name}){where}", flush=True)
        await self._unless_stopped(engine.failed())
        await self._drain(app.state.gateway)

    # The stack then closes the server, the engine and the decoders, in this order.

    async def _unless_stopped(self, work: Coroutine[Any, Any, None]) -> bool:
        """Whether `work` finished before a signal."""
        task, stop = asyncio.ensure_future(work), asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                task.result()
                return True
            return False
        finally:
            task.cancel()
            stop.cancel()
            await asyncio.wait({task, stop})

    async def _drain(self, gateway: Gateway) -> None:
        gateway.is_draining = True
        limit_s = self._config.limits.drain_s
        under_way = gateway.queue.taken + gateway.queue.waiting
        if under_way:
            logger.info("stopping: %d requests in flight get %.0f s to end", under_way, limit_s)
        end = time.monotonic() + limit_s
        while gateway.queue.taken + gateway.queue.waiting and time.monotonic() < end and not self._stop_now.is_set():
            await asyncio.sleep(_POLL_S)

    async def _close(self, server: uvicorn.Server, serving: asyncio.Task[None]) -> None:
        server.should_exit = True
        now = asyncio.ensure_future(self._stop_now.wait())
        await asyncio.wait({serving, now}, timeout=2 * _CLOSE_S, return_when=asyncio.FIRST_COMPLETED)
        for each in (serving, now):
            each.cancel()
        await asyncio.wait({serving, now})


def server_of(config: ServeConfig, app: Starlette) -> uvicorn.Server:
    """The HTTP server of an application; it handles no signals and writes no log."""
    import uvicorn

    from cineloop.web.connection import MAX_HEAD, protocol

    class Server(uvicorn.Server):
        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            """Nothing: this module handles signals."""
            yield

    logging.getLogger("uvicorn").propagate = False
    logging.getLogger("uvicorn").addHandler(logging.NullHandler())
    return Server(
        uvicorn.Config(
            app,
            http=protocol(config.limits.in_flight),
            ws="none",
            lifespan="off",
            loop="asyncio",
            h11_max_incomplete_event_size=MAX_HEAD,
            timeout_keep_alive=int(_KEEP_ALIVE_S),
            timeout_graceful_shutdown=int(_CLOSE_S),
            proxy_headers=False,
            server_header=False,
            log_config=None,
            access_log=False,
        )
    )
