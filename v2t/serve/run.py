"""Run the gateway and the engine behind it until a signal comes or the engine fails.

In: a `ServeConfig`. Out: the exit code; on stdout one line with the address, once it is ready. After a first
SIGTERM or Ctrl-C no connection is accepted, and requests in flight get `limits.drain_s` to end. A second one stops at
once. Engine and decoders end with the gateway.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import TYPE_CHECKING

from cineloop.errors import EXIT_INTERRUPTED, EXIT_OK, MissingDependencyError
from cineloop.log import logger
from v2t import doctor
from v2t.serve.engines import MODEL_THREAD
from v2t.serve.served import ServedModel, read
from v2t.serve.settings import ServeConfig

if TYPE_CHECKING:
    import uvicorn
    from starlette.applications import Starlette

    from v2t.serve.engines import ServeEngine

_KEEP_ALIVE_S = 30.0
_STILL_S = 10.0  # between two lines of the log while the model is loaded


def run(config: ServeConfig) -> int:
    """Serve until a signal; returns the exit code. Raises MissingDependencyError: no model, no package, the port is
    taken, or the engine does not start or fails; UsageError: a setting that does not fit the model."""
    try:
        import httpx  # noqa: F401
        import prometheus_client  # noqa: F401
        import python_multipart  # noqa: F401
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(f"serving needs {error.name}", hint="pip install 'cineloop[serve]'") from error
    logger.info("starting to serve %s", config.engine if config.is_relay else config.model)
    served = read(config)
    for line in doctor.vulnerable():
        logger.warning("%s", line)
    with listening(config) as port:
        code = asyncio.run(_serve(config, served, port))
    if any(thread.name.startswith(MODEL_THREAD) for thread in threading.enumerate()):
        # In the middle of a long step: unwinding the thread below torch at interpreter exit would abort.
        logging.shutdown()
        sys.stdout.flush()
        os._exit(code)
    return code


@contextmanager
def listening(config: ServeConfig) -> Iterator[socket.socket]:
    """The socket clients connect to. Raises MissingDependencyError PORT: the address is in use or invalid."""
    try:
        addresses = socket.getaddrinfo(config.host, config.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = addresses[0]
        port = socket.create_server(address, family=family, backlog=1024)
    except OSError as error:
        why = (error.strerror or str(error)).partition(" (while")[0]  # without the address, which `socket` adds
        raise MissingDependencyError(
            f"cannot listen at {config.host} port {config.port}: {why}",
            code="PORT",
            hint="choose another --port; --port 0 takes a free one",
        ) from error
    with port:
        yield port


def url_of(config: ServeConfig, port: socket.socket) -> str:
    """The address for a browser."""
    host = f"[{config.host.strip('[]')}]" if ":" in config.host else config.host
    return f"http://{host}:{port.getsockname()[1]}"


async def _serve(config: ServeConfig, served: ServedModel, port: socket.socket) -> int:
    """See `run`."""
    from v2t.serve import engines
    from v2t.serve.app import create_app
    from v2t.serve.media import Media

    signals: list[signal.Signals] = []
    async with AsyncExitStack() as stack:
        media = await stack.enter_async_context(Media(config, served))
        engine = engines.create(config, served)
        stack.push_async_callback(engine.stop)
        app = create_app(config, served, engine, media)
        if app.state.films is not None:
            stack.callback(app.state.films.close)
        server = server_of(config, app)
        serving = asyncio.create_task(server.serve(sockets=[port]))

        def stop(number: signal.Signals) -> None:
            server.should_exit = True
            if signals:
                serving.cancel()
            signals.append(number)

        for each in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(each, stop, each)
        working = asyncio.create_task(_work(engine, config, served, url_of(config, port)))
        await asyncio.wait({serving, working}, return_when=asyncio.FIRST_COMPLETED)
        server.should_exit = True
        await asyncio.wait({serving})
        working.cancel()
        await asyncio.wait({working})
        if not working.cancelled():
            working.result()
    return EXIT_INTERRUPTED if signals and signals[0] == signal.SIGINT else EXIT_OK


async def _work(engine: ServeEngine, config: ServeConfig, served: ServedModel, url: str) -> None:
    """Start the engine and wait until it fails. Raises CineloopError then."""
    begun = time.monotonic()
    await engine.start()
    name = served.name or "of another server"
    logger.info("%s accepts connections; loading the model %s (engine %s)", url, name, engine.name)
    loading = asyncio.ensure_future(engine.ready())
    try:
        while not (await asyncio.wait({loading}, timeout=_STILL_S))[0]:
            logger.info("still loading the model, after %.0f s", time.monotonic() - begun)
        loading.result()
    finally:
        loading.cancel()
    where = f"; page: {url}/" if config.page else ""
    print(f"serving {name} at {url} (engine {engine.name}){where}", flush=True)
    await engine.until_failure()


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
            timeout_graceful_shutdown=math.ceil(config.limits.drain_s),
            proxy_headers=False,
            server_header=False,
            log_config=None,
            access_log=False,
        )
    )
